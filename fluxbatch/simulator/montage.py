"""The picture that stands for a result: its inputs in order, labelled, with what was asked for below.

Blocking: call it in a thread. The same order gives the same bytes.
"""

from __future__ import annotations

import colorsys
import hashlib
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFilter, ImageOps
from PIL.PngImagePlugin import PngInfo

from .layout import Box, arrange
from .text import Typesetter, drawable_text
from .tiles import label, placeholder, rounded, watermark

if TYPE_CHECKING:
    from .inputs import InputImage
    from .rules import Order

TINY = 160
"""Below this side (pixels) there is no room for a caption."""
MAKER = "fluxbatch simulator: simulated image"


@dataclass(frozen=True, slots=True)
class _Style:
    """Measures in pixels and colours, from size and content."""

    unit: int
    paper: tuple[int, int, int]
    ink: tuple[int, int, int]
    quiet: tuple[int, int, int]
    accent: tuple[int, int, int]


def render(order: Order, inputs: tuple[InputImage, ...], size: tuple[int, int]) -> bytes:
    """The encoded result in the size and format asked for."""
    canvas = Image.new("RGB", size)
    style = _style(order, size)
    canvas.paste(style.paper, (0, 0, *size))
    if min(size) < TINY:
        _pictures(canvas, inputs, Box(0, 0, *size), style, order)
    else:
        margin = style.unit
        caption = _caption_height(order, inputs, size, style)
        area = Box(margin, margin, size[0] - 2 * margin, size[1] - caption - margin)
        _pictures(canvas, inputs, area, style, order)
        _caption(canvas, order, inputs, Box(margin, size[1] - caption, size[0] - 2 * margin, caption), style)
    return encode(canvas, order.output_format)


def render_plain(order: Order, size: tuple[int, int]) -> bytes:
    """One colour in the size and format asked for: the cheapest real image."""
    return encode(Image.new("RGB", size, _style(order, size).accent), order.output_format)


def encode(picture: Image.Image, output_format: str) -> bytes:
    """JPEG or PNG bytes that say in their metadata that they are simulated."""
    target = io.BytesIO()
    if output_format == "png":
        info = PngInfo()
        info.add_text("Software", MAKER)
        picture.save(target, "PNG", pnginfo=info, compress_level=3)
    else:
        picture.save(target, "JPEG", quality=90, comment=MAKER)
    return target.getvalue()


def _style(order: Order, size: tuple[int, int]) -> _Style:
    """A quiet dark paper; prompt and seed choose the hue, so that another seed is another picture."""
    digest = hashlib.sha256(f"{order.model.name}\n{order.seed}\n{order.prompt}".encode("utf-8", "replace")).digest()
    hue = digest[0] / 256

    def colour(saturation: float, value: float) -> tuple[int, int, int]:
        red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
        return round(red * 255), round(green * 255), round(blue * 255)

    unit = max(round(min(size) / 44), 3)
    return _Style(unit, colour(0.35, 0.11), (244, 244, 246), colour(0.16, 0.72), colour(0.58, 0.92))


def _pictures(canvas: Image.Image, inputs: tuple[InputImage, ...], area: Box, style: _Style, order: Order) -> None:
    if not inputs:
        _artwork(canvas, area, style, order)
        return
    gap = max(style.unit // 2, 2)
    boxes = arrange([min(max(image.width / image.height, 0.35), 2.9) for image in inputs], area, gap)
    for image, box in zip(inputs, boxes, strict=True):
        picture = placeholder(image, box) if image.tile is None else _fitted(image.tile, box)
        canvas.paste(picture, (box.left, box.top), rounded(box, style.unit * 2 // 3))
    watermark(canvas, area)
    smallest = min(min(box.width, box.height) for box in boxes)
    for image, box in zip(inputs, boxes, strict=True):
        label(canvas, box, image.number, style.accent, max(min(smallest // 9, style.unit * 3 // 2), 9))


def _fitted(tile: Image.Image, box: Box) -> Image.Image:
    """Cover the box if little is lost, else show all of it on a blurred copy of itself."""
    size = (box.width, box.height)
    stretch = (tile.width / tile.height) / (box.width / box.height)
    if 0.62 < stretch < 1.6:
        return ImageOps.fit(tile, size, Image.Resampling.LANCZOS, centering=(0.5, 0.4))
    small = ImageOps.fit(tile, (max(box.width // 8, 1), max(box.height // 8, 1)))
    back = small.filter(ImageFilter.GaussianBlur(4)).resize(size, Image.Resampling.BICUBIC).point(lambda v: v * 0.55)
    front = ImageOps.contain(tile, size, Image.Resampling.LANCZOS)
    back.paste(front, ((box.width - front.width) // 2, (box.height - front.height) // 2))
    return back


def _artwork(canvas: Image.Image, area: Box, style: _Style, order: Order) -> None:
    """Text to image: soft light in colours of its own, chosen by prompt and seed."""
    digest = hashlib.sha256(f"{order.seed}\n{order.prompt}".encode("utf-8", "replace")).digest()
    width, height = max(area.width // 16, 2), max(area.height // 16, 2)
    small = Image.new("RGB", (width, height), tuple(channel // 3 for channel in style.accent))
    draw = ImageDraw.Draw(small)
    for x, y, radius, hue in zip(digest[0::4], digest[1::4], digest[2::4], digest[3::4], strict=True):
        red, green, blue = colorsys.hsv_to_rgb((digest[0] + hue * 0.35) / 256 % 1, 0.62, 0.95)
        reach = (0.12 + radius / 255 * 0.2) * max(width, height)
        centre = (x / 255 * width, y / 255 * height)
        box = (centre[0] - reach, centre[1] - reach, centre[0] + reach, centre[1] + reach)
        draw.ellipse(box, fill=(round(red * 255), round(green * 255), round(blue * 255)))
    soft = small.filter(ImageFilter.GaussianBlur(max(width, height) / 9))
    picture = soft.resize((area.width, area.height), Image.Resampling.BICUBIC)
    canvas.paste(picture, (area.left, area.top), rounded(area, style.unit * 2 // 3))
    watermark(canvas, area)


def _prompt_setting(order: Order, size: tuple[int, int], style: _Style) -> tuple[Typesetter, int]:
    """Type size and lines for the prompt: long prompts get smaller type and more room."""
    largest = max(round(style.unit * 1.5), 9)
    width, most = size[0] - 2 * style.unit, size[1] * 0.3
    settings = []
    for factor in (1, 0.85, 0.7, 0.58):
        setter = Typesetter(max(round(largest * factor), 8))
        settings.append((setter, max(int(most // setter.line_height), 1)))
    # a text this long is cut in any setting: no need to try
    if len(order.prompt) < 4000:
        for setter, lines in settings:
            if len(setter.wrap(order.prompt, width, lines + 1)) <= lines:
                return setter, lines
    return settings[-1]


def _caption_height(order: Order, inputs: tuple[InputImage, ...], size: tuple[int, int], style: _Style) -> int:
    setter, lines = _prompt_setting(order, size, style)
    shown = len(setter.wrap(order.prompt, size[0] - 2 * style.unit, lines))
    facts = Typesetter(_facts_size(style))
    fact_lines = len(facts.wrap(_facts(order, inputs, size), size[0] - 2 * style.unit, 2))
    return round(style.unit * 1.6) + shown * setter.line_height + fact_lines * facts.line_height


def _facts_size(style: _Style) -> int:
    return max(round(style.unit * 0.95), 8)


def _facts(order: Order, inputs: tuple[InputImage, ...], size: tuple[int, int]) -> str:
    count = f"{len(inputs)} image{'' if len(inputs) == 1 else 's'}" if inputs else "text to image"
    seed = "no seed" if order.seed is None else f"seed {order.seed}"
    return f"{order.model.name}  ·  {seed}  ·  {size[0]}x{size[1]} {order.output_format}  ·  {count}  ·  SIMULATED"


def _caption(canvas: Image.Image, order: Order, inputs: tuple[InputImage, ...], box: Box, style: _Style) -> None:
    draw = ImageDraw.Draw(canvas)
    setter, lines = _prompt_setting(order, canvas.size, style)
    facts = Typesetter(_facts_size(style))
    y = box.top + style.unit * 0.7 + setter.size
    for line in setter.wrap(order.prompt, box.width, lines):
        setter.draw(draw, (box.left, y), line, style.ink)
        y += setter.line_height
    y += style.unit * 0.2 + facts.line_height - setter.line_height + setter.size * 0.3
    for line in facts.wrap(drawable_text(_facts(order, inputs, canvas.size)), box.width, 2):
        facts.draw(draw, (box.left, y), line, style.quiet)
        y += facts.line_height
