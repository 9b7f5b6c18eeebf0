"""The one EXIF tag that matters here: how the picture is to be turned."""

from __future__ import annotations

import struct
from typing import Final

__all__ = ["orientation"]

_ORIENTATION: Final = 0x0112
_SHORT: Final = 3
_MOST_ENTRIES: Final = 512


def orientation(exif: bytes) -> int:
    """EXIF orientation, 1 to 8, of a TIFF-shaped block, with or without its EXIF mark; 1 if it says nothing."""
    tiff = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return 1
    try:
        (at,) = struct.unpack_from(f"{order}I", tiff, 4)
        (entries,) = struct.unpack_from(f"{order}H", tiff, at)
        for entry in range(min(entries, _MOST_ENTRIES)):
            tag, kind, _, value = struct.unpack_from(f"{order}HHIH", tiff, at + 2 + 12 * entry)
            if tag == _ORIENTATION:
                return value if kind == _SHORT and 1 <= value <= 8 else 1
    except struct.error:  # a damaged block is no reason to refuse the photo
        return 1
    return 1
