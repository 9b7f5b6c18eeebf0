"""The ``Decoder`` port: headers of images of other kinds, as Pillow reads them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fluxbatch.adapters.fitting.plugins import decoding, open_image
from fluxbatch.adapters.fitting.whole import check_whole
from fluxbatch.formats import ImageFacts, NotAnImage, inspect_image, recognise
from fluxbatch.policy.fitting import TAKEN

if TYPE_CHECKING:
    from typing import BinaryIO

    from PIL.ImageFile import ImageFile

__all__ = ["PillowDecoder", "facts_of"]

_ORIENTATION: Final = 0x0112
_BITS: Final = 258
_WIDTH: Final = 256
_NEW_SUBFILE_TYPE: Final = 254
_DNG_VERSION: Final = 50706
_WITH_ALPHA: Final = frozenset({"LA", "La", "PA", "RGBA", "RGBa"})


class PillowDecoder:
    """What Pillow reads: AVIF, BMP, GIF, TIFF, HEIC with ``pillow_heif``, and what the API takes."""

    def measure(self, path: str) -> ImageFacts:
        """The facts of a whole image file."""
        with Path(path).open("rb") as file:
            return facts_of(file)


def facts_of(file: BinaryIO) -> ImageFacts:
    """The facts of an open image file.

    Raises:
        NotAnImage: it can't be decoded, is damaged or cut short.
        OSError: it can't be read.
    """
    file.seek(0)
    head = file.read(64)
    kind = recognise(head)
    if f"image/{kind}" in TAKEN:
        return inspect_image(file)
    if kind == "tiff" and head[8:10] == b"CR":
        raise _raw()
    with open_image(file, kind) as image, decoding(kind):
        check_whole(file, kind, image)
        return _tiff_facts(image) if kind == "tiff" else _facts(image, kind)


def _facts(image: ImageFile, kind: str) -> ImageFacts:
    frames = getattr(image, "n_frames", 1)
    return ImageFacts(
        mime=f"image/{kind}",
        extension=kind,
        width=image.width,
        height=image.height,
        components=len(image.getbands()),
        bits=image.info.get("bit_depth", 8),
        palette=image.mode == "P",
        alpha=_has_alpha(image),
        orientation=_orientation(image) if kind == "avif" else 1,
        animated=frames > 1 and kind != "heic",
        multi_picture=frames > 1 and kind == "heic",
    )


def _tiff_facts(image: ImageFile) -> ImageFacts:
    """As it is once it is loaded: Pillow turns a TIFF upright by itself."""
    tags: Any = image.tag_v2  # type: ignore[attr-defined]  # it is a TIFF
    if _DNG_VERSION in tags or tags.get(_NEW_SUBFILE_TYPE, 0) & 1:
        raise _raw()
    width, height = image.size
    if tags.get(_ORIENTATION, 1) >= 5 and width == tags[_WIDTH]:  # not every version tells so before loading
        width, height = height, width
    return ImageFacts(
        mime="image/tiff",
        extension="tiff",
        width=width,
        height=height,
        components=len(image.getbands()),
        bits=max(tags.get(_BITS, (8,))),
        palette=image.mode == "P",
        alpha=_has_alpha(image),
        multi_picture=getattr(image, "n_frames", 1) > 1,
    )


def _orientation(image: ImageFile) -> int:
    value = image.getexif().get(_ORIENTATION, 1)
    return value if value in range(1, 9) else 1


def _has_alpha(image: ImageFile) -> bool:
    return image.mode in _WITH_ALPHA or "transparency" in image.info


def _raw() -> NotAnImage:
    """What Pillow finds in a camera raw file is a thumbnail."""
    message = "it is a camera raw image, whose picture is still to be developed"
    return NotAnImage(message, kind="raw", remedy="export it as JPEG or TIFF")
