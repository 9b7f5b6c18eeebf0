"""What can be told of an image without looking at its pixels: its size, and whether it is worth a look. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from fluxbatch.model.job import Photo

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fluxbatch.model.job import Json, Record, Stored

__all__ = ["may_be_blank", "same_size_inputs", "size_asked", "wrong_size"]

_TWO_NUMBERS: Final = re.compile(r"(\d{1,5})[x:](\d{1,5})")
_STEP: Final = 16
"""pixels: the API rounds sides to multiples of it"""
_RATIO_OFF: Final = 0.06
"""kontext answers 16:9 with 1392×752, which is 4 % off; the closest ratios of the reference are 6.7 % apart"""
_BLANK_WEIGHT: Final = 0.06
"""bytes a pixel: a picture of one colour takes half of it at most, as a JPEG that wastes what it can"""
_WRAPPING: Final = 4 << 10
"""bytes that may be no pixels at all: tables, a profile; a signed manifest fits into what a megapixel leaves"""


def size_asked(fields: Mapping[str, Json]) -> str:
    """What a job says about dimensions, as ``1024x768`` or ``16:9``; empty if it says nothing."""
    width, height = fields.get("width"), fields.get("height")
    if width is not None and height is not None:
        return f"{width}x{height}"
    asked = fields.get("size") or fields.get("aspect_ratio")
    return asked if isinstance(asked, str) else ""


def wrong_size(asked: str, width: int, height: int) -> bool:
    """Whether pixels are not what was asked for, by more than the API's own rounding; nonsense is never wrong."""
    found = _TWO_NUMBERS.fullmatch(asked)
    if found is None:
        return False
    across, down = int(found[1]), int(found[2])
    if "x" in asked:
        return max(abs(width - across), abs(height - down)) > _STEP
    if not (across and down and width and height):
        return False
    ratio, wanted = width / height, across / down
    if max(ratio / wanted, wanted / ratio) <= 1 + _RATIO_OFF:
        return False
    least, most = (width - _STEP) / (height + _STEP), (width + _STEP) / max(1, height - _STEP)
    return not least <= wanted <= most


def may_be_blank(stored: Stored) -> bool:
    """Whether so few bytes may hold a picture of one colour: a cheap look that spares decoding nearly all others."""
    return stored.bytes <= stored.width * stored.height * _BLANK_WEIGHT + _WRAPPING


def same_size_inputs(record: Record) -> dict[int, Photo]:
    """Photos of a stored job, by number from 1, that have as many bytes as its image: only these can be the same."""
    size = record.stored.bytes if record.stored is not None else -1
    return {
        number: image
        for number, image in enumerate(record.job.images, 1)
        if isinstance(image, Photo) and image.size == size
    }
