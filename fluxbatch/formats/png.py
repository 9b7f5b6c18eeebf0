"""PNG: chunks with their CRCs up to the last one (W3C PNG, third edition, with APNG)."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fluxbatch.formats.exif import orientation
from fluxbatch.formats.facts import ImageFacts, NotAnImage

if TYPE_CHECKING:
    from fluxbatch.formats.window import Window

__all__ = ["inspect_png"]

_COMPONENTS: Final = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
_PALETTE: Final = 3
_ALPHA: Final = frozenset({4, 6})
_MOST_CHUNKS: Final = 200_000
_MOST_EXIF: Final = 64 * 1024


@dataclass(slots=True)
class _Found:
    orientation: int = 1
    animated: bool = False
    transparency: bool = False


def inspect_png(window: Window) -> ImageFacts:
    """The facts of a complete PNG, all CRCs checked.

    Raises:
        NotAnImage: it is damaged or cut short.
    """
    length, name = _chunk_header(window, 8)
    if name != b"IHDR" or length != 13:
        raise NotAnImage("its PNG header is damaged", kind="damaged")
    width, height, bits, colour = struct.unpack_from(">IIBB", window.at(16, 13))
    if not (0 < width < 1 << 31 and 0 < height < 1 << 31 and colour in _COMPONENTS):
        raise NotAnImage("its PNG header gives no usable width, height and colour type", kind="damaged")
    found = _walk(window)
    return ImageFacts(
        mime="image/png",
        extension="png",
        width=width,
        height=height,
        components=_COMPONENTS[colour],
        bits=bits,
        palette=colour == _PALETTE,
        alpha=colour in _ALPHA or found.transparency,
        orientation=found.orientation,
        animated=found.animated,
    )


def _walk(window: Window) -> _Found:
    """Check all chunks, and find what is told by them."""
    offset, data, found = 8, False, _Found()
    for _ in range(_MOST_CHUNKS):
        length, name = _chunk_header(window, offset)
        _check_crc(window, offset, length, name)
        if name == b"IEND":
            if not data:
                raise NotAnImage("it is a PNG without image data", kind="damaged")
            return found
        if name == b"IDAT":
            data = True
        elif name == b"acTL":
            found.animated = True
        elif name == b"tRNS":
            found.transparency = True
        elif name == b"eXIf" and length <= _MOST_EXIF:
            found.orientation = orientation(window.at(offset + 8, length))
        offset += 12 + length
    raise NotAnImage("its PNG chunks never end", kind="damaged")


def _chunk_header(window: Window, offset: int) -> tuple[int, bytes]:
    header = window.at(offset, 8)
    length, name = int.from_bytes(header[:4], "big"), header[4:]
    if length >= 1 << 31 or not name.isalpha():
        raise NotAnImage(f"its PNG chunks are damaged at byte {offset:,}", kind="damaged")
    if offset + 12 + length > window.size:
        raise window.cut_short()
    return length, name


def _check_crc(window: Window, offset: int, length: int, name: bytes) -> None:
    crc = 0
    for piece in window.pieces(offset + 4, length + 4):
        crc = zlib.crc32(piece, crc)
    if crc != int.from_bytes(window.at(offset + 8 + length, 4), "big"):
        where = f"chunk {name.decode()} at byte {offset:,}"
        raise NotAnImage(f"its bytes are damaged: wrong checksum of PNG {where}", kind="damaged")
