"""What is done to a photo so that the API takes it and sees it right. Pure arithmetic of sizes; nothing is decoded."""

from __future__ import annotations

from math import ceil, sqrt
from typing import TYPE_CHECKING, Final

from fluxbatch.model.job import Fitting

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fluxbatch.formats import ImageFacts
    from fluxbatch.model.job import Fit, Photo

__all__ = [
    "DECODABLE",
    "LARGEST_FILE",
    "LARGEST_SOURCE",
    "MEGAPIXEL",
    "MOST_DECODED",
    "MOST_PIXELS",
    "SHRUNK_ABOVE",
    "SMALLEST_SIDE",
    "TAKEN",
    "common_cap",
    "fitting_of",
    "sent_bytes",
    "sent_pixels",
    "sent_size",
]

MEGAPIXEL: Final = 1024 * 1024
"""Pixels: the API's "4 MP" are 2048×2048."""
LARGEST_FILE: Final = 20 << 20
"""Bytes of one reference image, by the API reference."""
MOST_PIXELS: Final = 20 * MEGAPIXEL
SMALLEST_SIDE: Final = 64
TAKEN: Final = frozenset({"image/jpeg", "image/png", "image/webp"})
DECODABLE: Final = frozenset({"avif", "bmp", "gif", "heic", "tiff"})
"""Kinds, as ``formats.recognise`` has them, that a ``Decoder`` may know."""
SHRUNK_ABOVE: Final = 4 * MEGAPIXEL
"""Pixels: the service makes larger inputs smaller by itself."""
MOST_DECODED: Final = 200 * MEGAPIXEL
"""Pixels of a photo that is made fit; a small file may claim any number of them."""
LARGEST_SOURCE: Final = 1 << 30
"""Bytes of a photo that is made fit."""

_BACK: Final = 1e-9  # what a product of floats may fall short of the whole number that is meant
_JPEG_WEIGHT: Final = 0.7  # bytes a pixel, a guess on the high side
_PNG_WEIGHT: Final = 2.0


def fitting_of(facts: ImageFacts, size: int, fit: Fit, cap_pixels: int | None = None) -> Fitting | None:
    """What is to be done to a photo; None if it goes byte for byte.

    It is never made larger. A side of 64 pixels or more stays so, even if that leaves the photo above a limit.

    Args:
        facts: by its bytes.
        size: bytes.
        fit: what the user wants.
        cap_pixels: a limit besides those of ``fit`` and of the API.
    """
    if fit.off:
        return None
    width, height = _upright(facts)
    wide, high = _scaled(width, height, _most_pixels(facts, size, fit, cap_pixels), fit)
    crop_wide, crop_high = _cropped(wide, fit.multiple_of), _cropped(high, fit.multiple_of)
    background = fit.background or "" if facts.alpha else ""
    mime = "image/png" if facts.alpha and not background else "image/jpeg"
    why = [*_mended(facts, mime)]
    if (wide, high) != (width, height):
        why.append(f"scaled from {width}×{height} to {wide}×{high}")
    elif size > LARGEST_FILE:
        why.append(f"written anew, {size / (1 << 20):.1f} MB are too large")
    if (crop_wide, crop_high) != (wide, high):
        why.append(f"cropped to multiples of {fit.multiple_of}")
    if background:
        why.append(f"{background} put behind what is transparent")
    return Fitting(wide, high, crop_wide, crop_high, mime, background, tuple(why)) if why else None


def common_cap(pixels: Sequence[int], limit: int) -> int | None:
    """The largest number of pixels that, if no photo has more, brings them below a limit together.

    None if nothing has to be done, or nothing can be.
    """
    if sum(pixels) <= limit or limit <= 0:
        return None
    left = limit
    ascending = sorted(pixels)
    for number, one in enumerate(ascending):
        share = left // (len(ascending) - number)
        if one > share:
            return share or None
        left -= one
    return None


def sent_size(photo: Photo) -> tuple[int, int]:
    """Width and height of a photo as it is sent."""
    fitting = photo.fitting
    return (photo.width, photo.height) if fitting is None else (fitting.crop_width, fitting.crop_height)


def sent_pixels(photo: Photo) -> int:
    """Pixels of a photo as it is sent."""
    width, height = sent_size(photo)
    return width * height


def sent_bytes(photo: Photo) -> int:
    """Bytes of a photo as it is sent, about."""
    if photo.fitting is None:
        return photo.size
    return int(sent_pixels(photo) * (_PNG_WEIGHT if photo.fitting.mime == "image/png" else _JPEG_WEIGHT))


def _upright(facts: ImageFacts) -> tuple[int, int]:
    return (facts.height, facts.width) if facts.orientation >= 5 else (facts.width, facts.height)


def _mended(facts: ImageFacts, mime: str) -> Iterator[str]:
    """What services refuse or see wrongly, as users of the API report."""
    if facts.mime not in TAKEN:
        target = "PNG" if mime == "image/png" else "JPEG"
        yield f"{facts.extension.upper()} to {target}"
    if facts.orientation != 1:
        yield "turned upright (EXIF)"
    if facts.multi_picture:
        yield "first picture of several (MPO)" if facts.mime == "image/jpeg" else "first picture of several"
    if facts.animated:
        yield "first frame of an animation"
    if facts.cmyk:
        yield "CMYK to RGB"
    if facts.arithmetic:
        yield "arithmetic coding to Huffman coding"
    if facts.palette and facts.mime in TAKEN:
        yield "palette to RGB"
    if facts.bits > 8 and facts.mime != "image/jpeg":  # a JPEG of 12 bits can't be decoded here
        yield f"{facts.bits} to 8 bits"


def _most_pixels(facts: ImageFacts, size: int, fit: Fit, cap_pixels: int | None) -> int:
    limits = [facts.width * facts.height]
    if size > LARGEST_FILE or limits[0] > MOST_PIXELS:
        limits.append(SHRUNK_ABOVE)
    if fit.max_megapixels is not None:
        limits.append(int(fit.max_megapixels * MEGAPIXEL))
    if cap_pixels is not None:
        limits.append(cap_pixels)
    return min(limits)


def _scaled(width: int, height: int, most_pixels: int, fit: Fit) -> tuple[int, int]:
    scale = sqrt(most_pixels / (width * height))
    if fit.long_edge is not None:
        scale = min(scale, fit.long_edge / max(width, height))
    scale = max(scale, _least_side(min(width, height), fit.multiple_of) / min(width, height))
    if scale >= 1:
        return width, height
    return int(width * scale + _BACK), int(height * scale + _BACK)


def _least_side(side: int, multiple: int | None) -> int:
    """What the shorter side may be made at least: 64 pixels, and so that cropping leaves as many."""
    least = ceil(SMALLEST_SIDE / multiple) * multiple if multiple else SMALLEST_SIDE
    return least if side >= least else min(side, SMALLEST_SIDE)


def _cropped(side: int, multiple: int | None) -> int:
    """The multiple below; a side that would be too small then is left as it is."""
    if not multiple:
        return side
    least = min(side, SMALLEST_SIDE)
    cropped = side - side % multiple
    return cropped if cropped >= least else side
