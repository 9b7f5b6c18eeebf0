"""Pictures that tests make up."""

from __future__ import annotations

import io
from typing import Any

from PIL import Image

__all__ = ["saved", "scene"]


def scene(size: tuple[int, int] = (96, 64)) -> Image.Image:
    """Every corner of another colour, so that no turn is like another."""
    corners = Image.new("RGB", (2, 2))
    for number, colour in enumerate([(220, 30, 30), (30, 200, 30), (30, 30, 220), (220, 220, 220)]):
        corners.putpixel((number % 2, number // 2), colour)
    return corners.resize(size, Image.Resampling.NEAREST)


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    """Its bytes as a file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()
