"""Reference images as they arrive: strict base64, true type by magic bytes, full decode.

Blocking: call it in a thread.
"""

from __future__ import annotations

import binascii
import hashlib
import io
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pybase64
from PIL import Image, UnidentifiedImageError

from . import sizes
from .catalog import IMAGE_FIELDS
from .errors import refuse
from .rules import DATA_URL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .rules import Order

MAX_BYTES = 20 * 1024 * 1024
MAX_PIXELS = 20 * sizes.MEGAPIXEL
"""Limits of one reference image: 20 MB or 20 MP (api reference)."""
MIN_INPUT_SIDE = 64
PLACEHOLDER_SIZE = (1024, 1024)
"""Size that stands for a picture behind a URL, which is never fetched."""


@dataclass(frozen=True, slots=True)
class InputImage:
    """One reference image, decoded; `tile` is what upstream would see of it, None for a URL."""

    number: int
    width: int
    height: int
    mime: str = ""
    sha256: str = ""
    size_bytes: int = 0
    url: str | None = None
    tile: Image.Image | None = field(default=None, repr=False, compare=False)

    def record(self) -> dict[str, object]:
        """What the call log keeps of it."""
        if self.url is not None:
            return {"url": self.url}
        return {"sha256": self.sha256, "bytes": self.size_bytes, "mime": self.mime}


def decode_inputs(order: Order, *, strict_dimensions: bool) -> tuple[InputImage, ...]:
    """All reference images of an order, in order.

    :raises ApiError: naming the field of the first image that the API would not take.
    """
    return tuple(_decode_all(order, strict_dimensions=strict_dimensions))


def output_size(order: Order, inputs: tuple[InputImage, ...]) -> tuple[int, int]:
    """Size of the result: as asked, else that of image 1, else 1024x1024 (api reference).

    :raises ApiError: inputs and output are together more megapixels than the model takes.
    """
    size = order.size
    if size is None:
        size = sizes.size_like(inputs[0].width, inputs[0].height) if inputs else sizes.DEFAULT_SIZE
    limit = order.model.total_megapixels
    total = (size[0] * size[1] + sum(image.width * image.height for image in inputs)) / sizes.MEGAPIXEL
    if limit is not None and total > limit:
        message = (
            f"inputs and output of {order.model.name} are {total:.2f} MP together, at most {limit:g} MP are allowed"
        )
        raise refuse("input_image", message)
    return size


def _decode_all(order: Order, *, strict_dimensions: bool) -> Iterator[InputImage]:
    for number, (name, value) in enumerate(zip(IMAGE_FIELDS, order.images, strict=False), start=1):
        if not value.startswith("data:"):
            yield InputImage(number, *PLACEHOLDER_SIZE, url=value)
            continue
        mime, data = _unwrap(name, value)
        picture = _open(name, mime, data)
        width, height = sizes.as_upstream_sees(*picture.size)
        if strict_dimensions and (width, height) != picture.size:
            message = f"{name} is {_size(picture)}: its sides must be multiples of 16, at most 4 MP"
            raise refuse(name, message)
        tile = _as_seen(_load(name, picture), width, height)
        digest = hashlib.sha256(data).hexdigest()
        yield InputImage(number, width, height, mime, digest, len(data), tile=tile)


def _unwrap(name: str, value: str) -> tuple[str, bytes]:
    match = DATA_URL.match(value, 0, 64)
    assert match, "the rules let data URLs through only"
    text = value[match.end() :]
    if len(text) % 4:
        raise refuse(name, f"{name} is no valid base64: {len(text)} characters are no multiple of 4")
    try:
        data = pybase64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise refuse(name, f"{name} is no valid base64: {error}") from error
    if not data:
        raise refuse(name, f"{name} is an empty data URL")
    if len(data) > MAX_BYTES:
        raise refuse(name, f"{name} has {len(data) / 2**20:.1f} MB, at most 20 MB are allowed")
    declared, actual = f"image/{match[1]}", _sniff(data)
    if actual != declared:
        raise refuse(name, f"{name} says {declared} but its bytes are {actual or 'none of png, jpeg, webp'}")
    return declared, data


def _sniff(data: bytes) -> str | None:
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return None


def _open(name: str, mime: str, data: bytes) -> Image.Image:
    """Read the header only, and refuse by what it says, before any pixel is decoded."""
    try:
        picture = Image.open(io.BytesIO(data), formats=(mime.removeprefix("image/").upper(),))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise refuse(name, f"{name} has far more than the 20 MP that are allowed") from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise refuse(name, f"{name} can't be decoded as {mime}") from error
    if picture.format == "MPO":
        raise refuse(name, f"{name} is an MPO (several pictures in one JPEG), not a plain JPEG")
    if picture.width * picture.height > MAX_PIXELS:
        raise refuse(name, f"{name} is {_size(picture)}, at most 20 MP are allowed")
    if min(picture.size) < MIN_INPUT_SIDE:
        raise refuse(name, f"{name} is {_size(picture)}, at least 64x64 is needed")
    if getattr(picture, "is_animated", False):
        raise refuse(name, f"{name} is animated: send one still picture")
    if picture.mode == "CMYK":
        raise refuse(name, f"{name} is CMYK: convert it to RGB")
    return picture


def _load(name: str, picture: Image.Image) -> Image.Image:
    try:
        picture.load()
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise refuse(name, f"{name} can't be decoded: {error}") from error
    return picture


def _as_seen(picture: Image.Image, width: int, height: int) -> Image.Image:
    """Shrunk and cropped as upstream does; EXIF rotation is ignored there, so it is here."""
    if "A" in picture.getbands() or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        paper = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(paper, picture)
    rgb = picture.convert("RGB")
    scale = max(width / rgb.width, height / rgb.height)
    if scale < 1 and rgb.width * rgb.height > sizes.MAX_IMAGE_PIXELS:
        rgb = rgb.resize((max(width, round(rgb.width * scale)), max(height, round(rgb.height * scale))), reducing_gap=2)
    left, top = (rgb.width - width) // 2, (rgb.height - height) // 2
    return rgb.crop((left, top, left + width, top + height))


def _size(picture: Image.Image) -> str:
    return f"{picture.width}x{picture.height}"
