"""Photos to send and images that come back: noise, which no compression on the way makes cheaper."""

from __future__ import annotations

import io
import random
import struct
import zlib
from typing import TYPE_CHECKING, Final

from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path

_SIDES: Final = {"12 KB": (64, 64), "60 KB": (160, 128), "20 MB": (2560, 2500)}
_RESULTS: Final = {
    "10 KB": (160, 96, 75),
    "100 KB": (480, 344, 75),
    "2 MB": (2048, 1600, 75),
    "20 MB": (3520, 2880, 100),
}
"""width, height, quality"""
_LARGE: Final = "20 MB"
_MOST_LARGE: Final = 64
"""different ones, after which they come again: 1.3 GB on disk"""


class Photos:
    """Makes each photo once; no two are alike."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, kind: str, number: int) -> Path:
        number = number % _MOST_LARGE if kind == _LARGE else number
        path = self._folder / f"{kind.replace(' ', '')}-{number}.png"
        if not path.exists():
            path.write_bytes(_stored_png(*_SIDES[kind], random.Random(f"{kind} {number}")))
        return path


class Images:
    """Makes each result once: valid JPEGs."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, kind: str = "100 KB") -> Path:
        path = self._folder / f"result-{kind.replace(' ', '')}.jpg"
        if not path.exists():
            path.write_bytes(_noise_jpeg(*_RESULTS[kind]))
        return path


def _noise_jpeg(width: int, height: int, quality: int) -> bytes:
    noise = random.Random("result").randbytes(3 * width * height)
    target = io.BytesIO()
    Image.frombytes("RGB", (width, height), noise).save(target, "JPEG", quality=quality, subsampling=2)
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
