"""Small images that are valid down to the last byte, made without an imaging library."""

from __future__ import annotations

import struct
import zlib
from typing import Final

__all__ = ["make_jpeg", "make_png"]


def make_png(seed: int = 0, *, width: int = 8, height: int = 8) -> bytes:
    """A PNG of one colour, another for each ``seed``."""
    colour = (seed & 0xFFFFFF).to_bytes(3, "big")
    rows = (b"\0" + colour * width) * height
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = (b"IHDR", header), (b"tEXt", b"seed\0%d" % seed), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, data) for name, data in chunks)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


# Tables of the smallest baseline JPEG: one quantisation table of ones, Huffman tables with one code each, so that a
# block of one colour is a single bit pattern.
_QUANTISATION: Final = b"\xff\xdb\x00\x43\x00" + b"\x01" * 64
_HUFFMAN_DC: Final = b"\xff\xc4\x00\x14\x00" + b"\x01" + b"\x00" * 15 + b"\x00"
_HUFFMAN_AC: Final = b"\xff\xc4\x00\x14\x10" + b"\x01" + b"\x00" * 15 + b"\x00"
_SCAN: Final = b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00"


def make_jpeg(seed: int = 0, *, width: int = 8, height: int = 8) -> bytes:
    """A grey baseline JPEG; ``seed`` is told in a comment, so that no two are the same file."""
    note = b"seed %d" % seed
    comment = b"\xff\xfe" + struct.pack(">H", len(note) + 2) + note
    frame = b"\xff\xc0\x00\x0b\x08" + struct.pack(">HH", height, width) + b"\x01\x01\x11\x00"
    blocks = -(-width // 8) * -(-height // 8)
    # a block is two zero bits (no change of brightness, end of block); the rest of the last byte is ones
    whole, rest = divmod(2 * blocks, 8)
    data = b"\x00" * whole + (bytes([0xFF >> rest]) if rest else b"")
    return b"\xff\xd8" + comment + _QUANTISATION + frame + _HUFFMAN_DC + _HUFFMAN_AC + _SCAN + data + b"\xff\xd9"
