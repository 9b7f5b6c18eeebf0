"""JPEG: segments up to the image data, then the end marker (ITU-T T.81, annex B; MPO by CIPA DC-007)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fluxbatch.formats.exif import orientation
from fluxbatch.formats.facts import ImageFacts, NotAnImage

if TYPE_CHECKING:
    from fluxbatch.formats.window import Window

__all__ = ["inspect_jpeg"]

_SOS: Final = 0xDA
_EOI: Final = 0xD9
_APP1: Final = 0xE1
_APP2: Final = 0xE2
_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_ARITHMETIC: Final = frozenset({0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})
_STANDALONE: Final = frozenset({0x01, *range(0xD0, 0xD8)})
_MOST_SEGMENTS: Final = 20_000
_TAIL: Final = 4096
_STRIDE: Final = 128 * 1024
# In image data 0xFF is followed by 0 (a byte of data) or a restart marker; all else begins a segment or is the end.
_MARKER_IN_DATA: Final = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")


@dataclass(slots=True)
class _Header:
    width: int = 0
    height: int = 0
    components: int = 0
    bits: int = 8
    arithmetic: bool = False
    orientation: int = 1
    multi_picture: bool = False


def inspect_jpeg(window: Window) -> ImageFacts:
    """The facts of a complete JPEG.

    Raises:
        NotAnImage: it is damaged or cut short.
    """
    header = _Header()
    data_at = _read_header(window, header)
    if not (header.width and header.height):
        raise NotAnImage("its JPEG header gives no width and height", kind="damaged")
    _find_end(window, data_at)
    return ImageFacts(
        mime="image/jpeg",
        extension="jpg",
        width=header.width,
        height=header.height,
        components=header.components,
        bits=header.bits,
        orientation=header.orientation,
        multi_picture=header.multi_picture,
        arithmetic=header.arithmetic,
    )


def _read_header(window: Window, header: _Header) -> int:
    """Walk the segments before the image data; embedded thumbnails are inside of segments and never looked at."""
    offset = 2
    for _ in range(_MOST_SEGMENTS):
        mark = window.at(offset, 2)
        if mark[0] != 0xFF:
            raise NotAnImage(f"its JPEG segments are damaged at byte {offset:,}", kind="damaged")
        marker = mark[1]
        if marker == 0xFF:  # a fill byte
            offset += 1
        elif marker in _STANDALONE:
            offset += 2
        elif marker == _EOI:
            raise NotAnImage("it is a JPEG without image data", kind="damaged")
        else:
            length = _segment_length(window, offset)
            if marker == _SOS:
                return offset + 2 + length
            _read_segment(window, marker, offset + 4, length - 2, header)
            offset += 2 + length
    raise NotAnImage("its JPEG header never ends", kind="damaged")


def _segment_length(window: Window, offset: int) -> int:
    length = int.from_bytes(window.at(offset + 2, 2), "big")
    if length < 2:
        raise NotAnImage(f"its JPEG segments are damaged at byte {offset:,}", kind="damaged")
    if offset + 2 + length > window.size:
        raise window.cut_short()
    return length


def _read_segment(window: Window, marker: int, offset: int, length: int, header: _Header) -> None:
    if marker in _FRAMES:
        frame = window.at(offset, length)[:6]
        if len(frame) < 6:
            raise NotAnImage("its JPEG frame header is damaged", kind="damaged")
        header.bits = frame[0]
        header.height = int.from_bytes(frame[1:3], "big")
        header.width = int.from_bytes(frame[3:5], "big")
        header.components = frame[5]
        header.arithmetic = marker in _ARITHMETIC
    elif marker == _APP1 and length > 6 and window.at(offset, 6) == b"Exif\0\0":
        header.orientation = orientation(window.at(offset, length))
    elif marker == _APP2 and length >= 4 and window.at(offset, 4) == b"MPF\0":
        header.multi_picture = True


def _find_end(window: Window, data_at: int) -> None:
    """Find the end marker behind the image data that begins at ``data_at``.

    Nearly always the file ends with it, or with it and padding. If not, the data is searched: phones append films
    and notes of their own behind the end marker.
    """
    tail_at = max(data_at, window.size - _TAIL)
    if window.at(tail_at, window.size - tail_at).rstrip(b"\0").endswith(b"\xff\xd9"):
        return
    offset = data_at
    for _ in range(_MOST_SEGMENTS):
        offset = _next_marker(window, offset)
        if window.at(offset + 1, 1)[0] == _EOI:
            return
        offset += 2 + _segment_length(window, offset)
    raise NotAnImage("its JPEG data never ends", kind="damaged")


def _next_marker(window: Window, offset: int) -> int:
    while offset < window.size:
        count = min(_STRIDE, window.size - offset)
        found = _MARKER_IN_DATA.search(b"".join(window.pieces(offset, count)))
        if found:
            return offset + found.start()
        if offset + count == window.size:
            break
        offset += count - 1  # the last byte may be the first half of a marker
    raise window.cut_short()
