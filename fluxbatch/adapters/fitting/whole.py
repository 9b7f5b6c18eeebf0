"""Whether a file of a kind that the API doesn't take is all there, as far as its structure tells. Decodes nothing."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from fluxbatch.formats import NotAnImage

if TYPE_CHECKING:
    from typing import BinaryIO

    from PIL.ImageFile import ImageFile

__all__ = ["check_whole"]

_MOST_BLOCKS: Final = 2_000_000
_TIFF_PLACES: Final = ((273, 279), (324, 325))  # offsets and sizes of strips, and of tiles


def check_whole(file: BinaryIO, kind: str, image: ImageFile) -> None:
    """Complain about a file that is cut short.

    Args:
        file: open for reading.
        kind: as ``formats.recognise`` has it.
        image: the header of it.

    Raises:
        NotAnImage: it is cut short.
    """
    size = os.fstat(file.fileno()).st_size
    if kind == "gif":
        _check_gif(file, size)
    elif kind in {"avif", "heic"}:
        _check_boxes(file, size)
    elif kind == "tiff":
        _check_strips(image, size)
    elif kind == "bmp":
        _check_rows(image, size)


def _check_gif(file: BinaryIO, size: int) -> None:
    """Walk the blocks to the end of the first picture (GIF89a)."""
    at = 13 + _table(_byte(file, 10, size))
    for _ in range(_MOST_BLOCKS):
        block = _byte(file, at, size)
        if block == 0x2C:
            _skip(file, at + 11 + _table(_byte(file, at + 9, size)), size)
            return
        if block != 0x21:
            break
        at = _skip(file, at + 2, size)
    raise NotAnImage("it is a GIF image without a picture", kind="damaged")


def _table(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _skip(file: BinaryIO, at: int, size: int) -> int:
    """Skip pieces of data, each with its length in front."""
    for _ in range(_MOST_BLOCKS):
        length = _byte(file, at, size)
        at += 1 + length
        if not length:
            return at
    raise NotAnImage("its GIF data never ends", kind="damaged")


def _byte(file: BinaryIO, at: int, size: int) -> int:
    file.seek(at)
    found = file.read(1)
    if not found:
        raise _cut(size)
    return found[0]


def _check_boxes(file: BinaryIO, size: int) -> None:
    """Walk the outermost boxes (ISO/IEC 14496-12)."""
    at = 0
    while at + 8 <= size:
        file.seek(at)
        head = file.read(16)
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if length < 8:  # 0: the last one; anything else is none
            return
        at += length
    if at > size:
        raise _cut(size)


def _check_strips(image: ImageFile, size: int) -> None:
    tags: Any = image.tag_v2  # type: ignore[attr-defined]  # it is a TIFF
    for offsets, sizes in _TIFF_PLACES:
        places = zip(tags.get(offsets, ()), tags.get(sizes, ()), strict=False)
        if any(offset + count > size for offset, count in places):
            raise _cut(size)


def _check_rows(image: ImageFile, size: int) -> None:
    for tile in image.tile:
        if tile.codec_name == "raw" and isinstance(tile.args, tuple):
            stride = tile.args[1]
            if tile.offset + stride * image.height > size:
                raise _cut(size)


def _cut(size: int) -> NotAnImage:
    return NotAnImage(f"it is cut short: {size:,} bytes are not the whole image", kind="cut")
