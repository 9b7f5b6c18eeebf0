"""The parts of Pillow that read images, by kind of file. Whatever else Pillow can read is not let near a file.

Its readers are asked directly: ``Image.open`` judges sizes by a setting of the whole process, which is not ours.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from fluxbatch.adapters.fitting.quiet import quiet
from fluxbatch.formats import NotAnImage, describe
from fluxbatch.policy.fitting import MEGAPIXEL, MOST_DECODED

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from PIL.ImageFile import ImageFile

__all__ = ["decoding", "open_image"]

_MODES: Final = frozenset(
    {"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "I", "I;16", "I;16L", "I;16B"}
)


def open_image(file: BinaryIO, kind: str) -> ImageFile:
    """The image in an open file, of which only the header is read.

    Raises:
        NotAnImage: it can't be decoded.
        OSError: it can't be read.
    """
    reader = _reader(kind)
    with decoding(kind):
        file.seek(0)
        image = reader(file)
    pixels = image.width * image.height
    if not pixels:
        raise NotAnImage(f"it is {describe(kind)} without width or height", kind="damaged")
    if pixels > MOST_DECODED:
        what = f"{image.width}×{image.height} are {pixels / MEGAPIXEL:.0f} MP"
        message = f"{what}, more than the {MOST_DECODED // MEGAPIXEL} that can be made smaller here"
        raise NotAnImage(message, kind="too_many_pixels")
    if image.mode not in _MODES:
        raise NotAnImage(f"it is {describe(kind)} with colours of a kind that can't be read ({image.mode})", kind=kind)
    return image


@contextmanager
def decoding(kind: str) -> Iterator[None]:
    """What a reader of Pillow complains of becomes ``NotAnImage``, but for trouble with the disk.

    What it only warns of is left alone: it has read the image all the same.
    """
    try:
        with quiet():
            yield
    except NotAnImage:
        raise
    except OSError as error:
        if error.errno is not None:
            raise
        raise _damaged(kind, error) from error
    except MemoryError as error:
        raise NotAnImage("there is not enough memory to decode it", kind="too_many_pixels") from error
    except Exception as error:  # on hostile bytes its readers raise whatever they come across
        raise _damaged(kind, error) from error


def _damaged(kind: str, error: Exception) -> NotAnImage:
    said = " ".join(str(error).split())[:100]
    return NotAnImage(f"it is {describe(kind)} that can't be decoded{said and f': {said}'}", kind="damaged")


def _reader(kind: str) -> type[ImageFile]:
    if kind == "heic":
        return _heif_reader()
    if kind == "avif":
        return _avif_reader()
    from PIL.BmpImagePlugin import BmpImageFile
    from PIL.GifImagePlugin import GifImageFile
    from PIL.JpegImagePlugin import JpegImageFile
    from PIL.PngImagePlugin import PngImageFile
    from PIL.TiffImagePlugin import TiffImageFile
    from PIL.WebPImagePlugin import WebPImageFile

    readers: dict[str, type[ImageFile]] = {
        "bmp": BmpImageFile,
        "gif": GifImageFile,
        "jpeg": JpegImageFile,  # of an MPO, that is the first picture
        "png": PngImageFile,
        "tiff": TiffImageFile,
        "webp": WebPImageFile,
    }
    if kind not in readers:
        raise NotAnImage(f"it is {describe(kind)}, not an image that can be read", kind=kind)
    return readers[kind]


def _heif_reader() -> type[ImageFile]:
    try:
        from pillow_heif import HeifImageFile
    except ImportError:
        message = "it is a HEIC photo, and what reads those is not installed"
        raise NotAnImage(message, kind="heic", remedy="pip install 'fluxbatch[heic]'") from None
    return HeifImageFile


def _avif_reader() -> type[ImageFile]:
    from PIL import features

    if not features.check("avif"):
        message = "it is an AVIF image, which this Pillow can't read"
        raise NotAnImage(message, kind="avif", remedy="pip install --upgrade pillow")
    from PIL.AvifImagePlugin import AvifImageFile

    return AvifImageFile
