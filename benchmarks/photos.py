"""Photos to send and the image that comes back: noise, which no compression on the way makes cheaper."""

from __future__ import annotations

import io
import random
import struct
import zlib
from typing import TYPE_CHECKING, Final

from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path

_SIDES: Final = {"60 KB": (160, 128), "20 MB": (2560, 2500)}
_RESULT_SIDES: Final = (480, 344)


class Photos:
    """Makes each photo once; no two are alike."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, kind: str, number: int) -> Path:
        path = self._folder / f"{kind.replace(' ', '')}-{number}.png"
        if not path.exists():
            path.write_bytes(_stored_png(*_SIDES[kind], random.Random(f"{kind} {number}")))
        return path

    def drop(self, kind: str) -> None:
        for path in self._folder.glob(f"{kind.replace(' ', '')}-*.png"):
            path.unlink()


def result_jpeg() -> bytes:
    """A valid JPEG of about 100 KB."""
    width, height = _RESULT_SIDES
    noise = random.Random("result").randbytes(3 * width * height)
    target = io.BytesIO()
    Image.frombytes("RGB", (width, height), noise).save(target, "JPEG", quality=75)
    return target.getvalue()


def _stored_png(width: int, height: int, rng: random.Random) -> bytes:
    row = 1 + 3 * width
    pixels = bytearray(rng.randbytes(row * height))
    pixels[::row] = bytes(height)  # each row: no filter
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(pixels, 0)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, data) for name, data in chunks)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
