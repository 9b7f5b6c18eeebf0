"""Pieces of a montage: rounded corners, labels, the watermark, and the stand-in for a picture behind a URL."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from PIL import Image, ImageDraw

from .layout import Box
from .text import Typesetter, drawable_text

if TYPE_CHECKING:
    from .inputs import InputImage

WATERMARK = "simulated"


def rounded(box: Box, radius: int) -> Image.Image:
    """A mask of the box with round, smooth corners."""
    scale = 3
    mask = Image.new("L", (box.width, box.height), 255)
    radius = min(radius, box.width // 2, box.height // 2)
    if radius < 2:
        return mask
    disc = Image.new("L", (2 * radius * scale, 2 * radius * scale), 0)
    ImageDraw.Draw(disc).ellipse((0, 0, disc.width - 1, disc.height - 1), fill=255)
    disc = disc.resize((2 * radius, 2 * radius), Image.Resampling.LANCZOS)
    right, bottom = box.width - radius, box.height - radius
    mask.paste(disc.crop((0, 0, radius, radius)), (0, 0))
    mask.paste(disc.crop((radius, 0, 2 * radius, radius)), (right, 0))
    mask.paste(disc.crop((0, radius, radius, 2 * radius)), (0, bottom))
    mask.paste(disc.crop((radius, radius, 2 * radius, 2 * radius)), (right, bottom))
    return mask


def label(canvas: Image.Image, box: Box, number: int, accent: tuple[int, int, int], size: int) -> None:
    """`image N` in the upper left corner of a tile; just N where there is little room."""
    setter = Typesetter(size)
    pad, height = max(size * 0.55, 2), size * 1.6
    text = f"image {number}"
    if setter.width(text) + 4 * pad > box.width or height * 3 > box.height:
        text = str(number)
    width = setter.width(text) + 2 * pad
    if width > box.width or height > box.height:
        return
    inset = min(size * 0.5, (box.width - width) / 6, (box.height - height) / 6)
    left, top = box.left + inset, box.top + inset
    plate = Box(round(left), round(top), round(width), round(height))
    shade = rounded(plate, round(height * 0.32)).point([value * 4 // 5 for value in range(256)])
    canvas.paste((12, 12, 16), (plate.left, plate.top), shade)
    setter.draw(ImageDraw.Draw(canvas, "RGBA"), (left + pad, top + height * 0.5 + size * 0.36), text, (*accent, 255))


def watermark(canvas: Image.Image, area: Box) -> None:
    """The word "simulated" across the pictures, light enough to judge them by."""
    reach = math.hypot(area.width, area.height)
    size = max(round(reach / 7.5), 8)
    setter = Typesetter(size)
    if setter.width(WATERMARK) > reach * 0.8:
        setter = Typesetter(max(round(size * reach * 0.8 / setter.width(WATERMARK)), 6))
    width, height = round(setter.width(WATERMARK)) + 8, round(setter.size * 1.5)
    word = Image.new("L", (width, height), 0)
    setter.draw(ImageDraw.Draw(word), (4, setter.size * 1.1), WATERMARK, (255,))
    angle = math.degrees(math.atan2(area.height, area.width))
    word = word.rotate(angle, expand=True, resample=Image.Resampling.BICUBIC)
    mask = Image.new("L", (area.width, area.height), 0)
    mask.paste(word, ((area.width - word.width) // 2, (area.height - word.height) // 2))
    place = (area.left, area.top)
    offset = max(setter.size // 40, 1)
    canvas.paste((0, 0, 0), (place[0] + offset, place[1] + offset), mask.point(lambda v: v * 0.16))
    canvas.paste((255, 255, 255), place, mask.point(lambda v: v * 0.30))


def placeholder(image: InputImage, box: Box) -> Image.Image:
    """Stands for a picture behind a URL: its address, and that nobody fetched it."""
    tile = Image.new("RGB", (box.width, box.height), (222, 224, 229))
    draw = ImageDraw.Draw(tile)
    step = max(min(box.width, box.height) // 9, 6)
    for x in range(-box.height, box.width, step * 2):
        draw.polygon(
            [(x, box.height), (x + step, box.height), (x + step + box.height, 0), (x + box.height, 0)],
            fill=(229, 231, 236),
        )
    parts = urlsplit(image.url or "")
    setter = Typesetter(max(min(box.width // 17, box.height // 9), 8))
    room = box.width - 2 * setter.size
    if room < setter.size * 4 or box.height < setter.line_height * 4:
        return tile
    lines = [
        *((line, (52, 56, 68)) for line in setter.wrap(drawable_text(parts.hostname or ""), room, 2)),
        *((line, (120, 126, 142)) for line in setter.wrap(drawable_text(parts.path), room, 2)),
        ("URL, not fetched", (176, 92, 40)),
    ]
    y = (box.height - len(lines) * setter.line_height) / 2 + setter.size
    for text, fill in lines:
        setter.draw(draw, ((box.width - setter.width(text)) / 2, y), text, fill)
        y += setter.line_height
    return tile
