"""From an image file to the pixels that are sent, and from those to bytes."""

from __future__ import annotations

import io
from math import sqrt
from typing import TYPE_CHECKING, Final

from fluxbatch.adapters.fitting.decoder import facts_of
from fluxbatch.adapters.fitting.plugins import decoding, open_image
from fluxbatch.formats import recognise
from fluxbatch.policy.fitting import SHRUNK_ABOVE

if TYPE_CHECKING:
    from typing import BinaryIO

    from PIL.Image import Image

    from fluxbatch.model.job import Fitting

__all__ = ["rendered", "shrunk", "write"]

_DEEP: Final = frozenset({"I", "I;16", "I;16L", "I;16B"})
_CLOSEST: Final = {"1": "L", "La": "LA", "P": "RGB", "RGBX": "RGB", "RGBa": "RGBA", "YCbCr": "RGB"}
_WHITE: Final = "#FFFFFF"


def rendered(file: BinaryIO, fitting: Fitting) -> Image:
    """The pixels of an open image file, fitted: RGB, or RGBA if something is transparent and no background is set.

    Raises:
        NotAnImage: it can't be decoded.
        OSError: it can't be read.
    """
    from PIL.Image import Resampling
    from PIL.JpegImagePlugin import JpegImageFile

    facts = facts_of(file)
    file.seek(0)
    kind = recognise(file.read(64))
    lying = facts.orientation >= 5
    size = (fitting.height, fitting.width) if lying else (fitting.width, fitting.height)
    with open_image(file, kind) as opened, decoding(kind):
        if isinstance(opened, JpegImageFile):
            opened.draft(None, size)  # decodes no more of it than is needed
        opened.load()
        profile = opened.info.get("icc_profile")
        if facts.bits > 8:
            opened.info.pop("transparency", None)  # a colour of 16 bits, which no longer tells anything
        image = _direct(opened)
        if image.size != size:
            image = image.resize(size, Resampling.LANCZOS)
        image = _turned(image, facts.orientation)
        return _cropped(_backed(_in_srgb(image, profile), fitting), fitting)


def shrunk(image: Image) -> Image:
    """An image made as small as the service would make it."""
    from PIL.Image import Resampling

    scale = min(1.0, sqrt(SHRUNK_ABOVE / (image.width * image.height)))
    return image.resize((max(1, int(image.width * scale)), max(1, int(image.height * scale))), Resampling.LANCZOS)


def write(image: Image, mime: str, quality: int, file: BinaryIO) -> None:
    """Write an image without any metadata.

    Raises:
        OSError: there is no room.
    """
    image.info = {}
    if mime == "image/png":
        image.save(file, "PNG")
    else:
        image.save(file, "JPEG", quality=quality, subsampling=0)


def _direct(image: Image) -> Image:
    """Eight bits a channel and no palette, so that it can be scaled: L, LA, RGB, RGBA or CMYK."""
    if image.mode in _DEEP:
        return image.convert("I").point(lambda value: value * (1 / 257)).convert("L")
    if "transparency" in image.info or (image.mode in {"P", "PA"} and image.has_transparency_data):
        return image.convert("RGBA")
    mode = _CLOSEST.get(image.mode)
    return image if mode is None else image.convert(mode)


def _turned(image: Image, orientation: int) -> Image:
    from PIL.Image import Transpose

    how = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }.get(orientation)
    return image if how is None else image.transpose(how)


def _in_srgb(image: Image, profile: bytes | None) -> Image:
    alpha = image.getchannel("A") if image.mode in {"LA", "RGBA"} else None
    base = image.convert(image.mode[:-1]) if alpha is not None else image
    rgb = _managed(base, profile) if profile else None
    if rgb is None:
        rgb = base.convert("RGB")
    if alpha is not None:
        rgb.putalpha(alpha)
    return rgb


def _managed(image: Image, profile: bytes) -> Image | None:
    """By the profile that came with it; None if that is of no use."""
    from PIL import ImageCms

    try:
        return ImageCms.profileToProfile(
            image,
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            outputMode="RGB",
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImageCms.PyCMSError, ImportError, OSError, TypeError, ValueError):
        return None


def _backed(image: Image, fitting: Fitting) -> Image:
    if image.mode != "RGBA" or (fitting.mime == "image/png" and not fitting.background):
        return image
    from PIL import Image as pillow  # noqa: N813  # the module; the class is a type here

    canvas = pillow.new("RGB", image.size, fitting.background or _WHITE)
    canvas.paste(image, mask=image)
    return canvas


def _cropped(image: Image, fitting: Fitting) -> Image:
    if image.size == (fitting.crop_width, fitting.crop_height):
        return image
    left = (image.width - fitting.crop_width) // 2
    top = (image.height - fitting.crop_height) // 2
    return image.crop((left, top, left + fitting.crop_width, top + fitting.crop_height))
