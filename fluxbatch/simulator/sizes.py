"""Picture sizes: what the API reference allows, and what upstream makes of others."""

from __future__ import annotations

import math

MEGAPIXEL = 1024 * 1024
"""Pixels of a megapixel: the documents call 2048x2048 "4 MP"."""
MAX_IMAGE_PIXELS = 4 * MEGAPIXEL
MIN_SIDE, MAX_SIDE = 64, 2048
"""Sides of an output, in pixels (documented by BFL)."""
DEFAULT_SIZE = (1024, 1024)

FLUX2_RATIOS = ("1:1", "16:9", "9:16", "4:3", "3:4", "3:2", "2:3", "5:4", "4:5", "21:9", "9:21")
"""The first seven are listed in the API reference, which ends the list in "…"; the last four are assumed."""


def floor16(side: int) -> int:
    """The greatest multiple of 16 that is not above `side`, at least 16."""
    return max(side // 16 * 16, 16)


def as_upstream_sees(width: int, height: int) -> tuple[int, int]:
    """Size of an input after BFL has shrunk it to 4 MP and cropped its sides to multiples of 16."""
    pixels = width * height
    if pixels > MAX_IMAGE_PIXELS:
        scale = math.sqrt(MAX_IMAGE_PIXELS / pixels)
        width, height = int(width * scale), int(height * scale)
    return floor16(width), floor16(height)


def size_of_ratio(across: int, down: int) -> tuple[int, int]:
    """Output size of an aspect ratio: about one megapixel, sides multiples of 16."""
    width = math.sqrt(MEGAPIXEL * across / down)
    return _clamp(round(width / 16) * 16), _clamp(round(MEGAPIXEL / width / 16) * 16)


def size_like(width: int, height: int) -> tuple[int, int]:
    """Output size that follows an input: the same, within the sides that an output may have."""
    scale = min(1.0, MAX_SIDE / max(width, height))
    return _clamp(int(width * scale)), _clamp(int(height * scale))


def _clamp(side: int) -> int:
    return floor16(min(max(side, MIN_SIDE), MAX_SIDE))
