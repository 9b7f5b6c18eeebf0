"""WebP: the RIFF container and the first bytes of its bitstream (RFC 9649)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fluxbatch.formats.exif import orientation
from fluxbatch.formats.facts import ImageFacts, NotAnImage

if TYPE_CHECKING:
    from fluxbatch.formats.window import Window

__all__ = ["inspect_webp"]

_MOST_CHUNKS: Final = 100_000
_MOST_EXIF: Final = 64 * 1024


@dataclass(slots=True)
class _Header:
    width: int = 0
    height: int = 0
    alpha: bool = False
    animated: bool = False
    orientation: int = 1
    data: bool = False


def inspect_webp(window: Window) -> ImageFacts:
    """The facts of a complete WebP.

    Raises:
        NotAnImage: it is damaged or cut short.
    """
    end = 8 + int.from_bytes(window.at(4, 4), "little")
    if end > window.size:
        raise window.cut_short()
    header = _Header()
    _walk(window, end, header)
    if not (header.data and header.width and header.height):
        raise NotAnImage("it is a WebP without image data", kind="damaged")
    return ImageFacts(
        mime="image/webp",
        extension="webp",
        width=header.width,
        height=header.height,
        components=4 if header.alpha else 3,
        alpha=header.alpha,
        orientation=header.orientation,
        animated=header.animated,
    )


def _walk(window: Window, end: int, header: _Header) -> None:
    offset = 12
    for _ in range(_MOST_CHUNKS):
        if offset + 8 > end:
            return
        chunk = window.at(offset, 8)
        length = int.from_bytes(chunk[4:], "little")
        if offset + 8 + length > end:
            raise NotAnImage(f"its WebP chunks are damaged at byte {offset:,}", kind="damaged")
        _read_chunk(window, chunk[:4], offset + 8, length, header)
        offset += 8 + length + (length & 1)
    raise NotAnImage("its WebP chunks never end", kind="damaged")


def _read_chunk(window: Window, name: bytes, offset: int, length: int, header: _Header) -> None:
    if name == b"VP8X":
        _extended(window.at(offset, min(length, 10)), header)
    elif name == b"VP8 ":
        _lossy(window.at(offset, min(length, 10)), header)
    elif name == b"VP8L":
        _lossless(window.at(offset, min(length, 5)), header)
    elif name == b"ANMF":
        header.data = header.animated = True
    elif name == b"EXIF" and length <= _MOST_EXIF:
        header.orientation = orientation(window.at(offset, length))


def _extended(start: bytes, header: _Header) -> None:
    if len(start) < 10:
        raise NotAnImage("its WebP header is damaged", kind="damaged")
    header.alpha = bool(start[0] & 0x10)
    header.animated = bool(start[0] & 0x02)
    header.width = 1 + int.from_bytes(start[4:7], "little")
    header.height = 1 + int.from_bytes(start[7:10], "little")


def _lossy(start: bytes, header: _Header) -> None:
    if len(start) < 10 or start[3:6] != b"\x9d\x01\x2a":
        raise NotAnImage("its WebP image data is damaged", kind="damaged")
    width, height = int.from_bytes(start[6:8], "little") & 0x3FFF, int.from_bytes(start[8:10], "little") & 0x3FFF
    _bitstream(width, height, header)


def _lossless(start: bytes, header: _Header) -> None:
    if len(start) < 5 or start[0] != 0x2F:
        raise NotAnImage("its WebP image data is damaged", kind="damaged")
    bits = int.from_bytes(start[1:5], "little")
    header.alpha = header.alpha or bool(bits >> 28 & 1)
    _bitstream((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, header)


def _bitstream(width: int, height: int, header: _Header) -> None:
    header.data = True
    if not header.width:  # an extended header, if there is one, came first and counts
        header.width, header.height = width, height
