"""Whether a workbook fits into memory, found out before it is read: what reads it would end the whole process."""

from __future__ import annotations

import copy
import errno
import re
import zipfile
import zlib
from typing import TYPE_CHECKING, Final
from xml.parsers import expat

from fluxbatch.planning.flaw import Unreadable, shown

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from zipfile import ZipFile, ZipInfo

__all__ = ["check_workbook"]

_MOST_OF_ONE: Final = 1 << 30
_MOST: Final = 2 << 30
_SUSPICIOUS: Final = 100 << 20
_MOST_RATIO: Final = 200
"""Long tables of equal rows shrink to a fiftieth; a bomb to a thousandth."""
_MOST_CELLS: Final = 1 << 26
_PIECE: Final = 1 << 20
_LONGEST_TAG: Final = 1 << 16
_READ: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_OLD_CONTAINER: Final = b"\xd0\xcf\x11\xe0"
_DAMAGED: Final = (zipfile.BadZipFile, zlib.error, expat.ExpatError, EOFError, RuntimeError, ValueError)
# A cell in a column of two letters or a row of seven digits, and one that doesn't begin by saying where it is.
_ODD: Final = re.compile(rb'<(?:c(?! r="[A-Z][1-9][0-9]{0,5}")|row(?! r="[1-9][0-9]{0,5}"))[\s/>]|:(?:c|row)[\s/>]')
_ROW: Final = re.compile(r"[1-9][0-9]{0,8}")
_PLACE: Final = re.compile(r"([A-Za-z]{1,6})([1-9][0-9]{0,8})")


def check_workbook(path: Path) -> None:
    """Refuse a workbook that unpacks to more than 1 GB in one part or 2 GB in all, or spans more than 67 million cells.

    What is no workbook at all is left to its reader.

    Raises:
        Unreadable: it is too large, or damaged.
        OSError: it can't be read.
    """
    with path.open("rb") as file:
        if file.read(4) == _OLD_CONTAINER:  # as those with a password are kept
            return
    try:
        with zipfile.ZipFile(path) as book:
            parts = [part for part in book.infolist() if part.compress_type in _READ and not _is_left_alone(part)]
            _check_sizes([(part.file_size, part.compress_size) for part in parts])
            # The directory may lie, so what is read is unpacked once, a piece at a time.
            left = _most_unpacked(sum(part.compress_size for part in parts))
            for part in parts:
                left -= _checked_size(book, part, left)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a directory that points to before the file
            raise
        raise _damaged(error) from None
    except _DAMAGED as error:
        raise _damaged(error) from None


def _most_unpacked(packed: int) -> int:
    """Bytes that all parts together may have: a lying directory must not buy each of them a bomb's worth."""
    return min(_MOST, max(_SUSPICIOUS, packed * _MOST_RATIO))


def _damaged(error: Exception) -> Unreadable:
    return Unreadable(0, f"is not a workbook of Excel: {error}", "save it as .xlsx, or as 'CSV UTF-8'")


def _check_sizes(sizes: list[tuple[int, int]]) -> None:
    """Look at bytes unpacked and packed of each part."""
    total = sum(unpacked for unpacked, _ in sizes)
    if total > _MOST:
        raise _too_large(total, sum(packed for _, packed in sizes))
    for unpacked, packed in sizes:
        _check_size(unpacked, packed)


def _check_size(unpacked: int, packed: int) -> None:
    if unpacked > _MOST_OF_ONE or unpacked > max(_SUSPICIOUS, packed * _MOST_RATIO):
        raise _too_large(unpacked, packed)


def _too_large(unpacked: int, packed: int) -> Unreadable:
    message = f"unpacks to {_size(unpacked)} from {_size(packed)}, more than a table needs"
    return Unreadable(0, message, "save the table as 'CSV UTF-8'")


def _size(count: int) -> str:
    for unit, name in ((1 << 30, "GB"), (1 << 20, "MB")):
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{count / (1 << 10):.1f} KB"


def _is_left_alone(part: ZipInfo) -> bool:
    """Whether the reader of tables never looks at it: pictures may be large, or damaged."""
    return part.filename.lower().startswith("xl/media/")


def _checked_size(book: ZipFile, part: ZipInfo, most: int) -> int:
    """The bytes of a part, counted; if it is a sheet with cells in odd places, those are looked at as well."""
    size, rest, sheet, odd = 0, b"", False, False
    for piece in _pieces(book, part):
        size += len(piece)
        _check_size(size, part.compress_size)
        if size > most:
            raise _too_large(size, part.compress_size)
        whole, rest = _whole_tags(rest + piece)
        sheet = sheet or b"sheetData" in whole
        odd = odd or len(rest) > _LONGEST_TAG or _ODD.search(whole) is not None
        rest = rest[:_LONGEST_TAG]
    if sheet and odd:
        _check_cells(_pieces(book, part))
    return size


def _whole_tags(text: bytes) -> tuple[bytes, bytes]:
    """A text up to the tag that it ends in the middle of, and the rest."""
    begun = text.rfind(b"<")
    return (text[:begun], text[begun:]) if begun > text.rfind(b">") else (text, b"")


def _pieces(book: ZipFile, part: ZipInfo) -> Iterator[bytes]:
    part = copy.copy(part)
    part.file_size = _MOST  # no more is read than this, which is what the directory said
    with book.open(part) as file:
        while piece := file.read(_PIECE):
            yield piece


def _check_cells(pieces: Iterator[bytes]) -> None:
    """The reader makes room for all cells between the outermost ones with a value, empty or not."""
    sheet = _Sheet()
    parser = expat.ParserCreate()
    parser.StartElementHandler = sheet.begin
    for piece in pieces:
        parser.Parse(piece)
    count = (sheet.right - sheet.left + 1) * (sheet.bottom - sheet.top + 1)
    if sheet.right >= 0 and count > _MOST_CELLS:
        corners = f"{_name(sheet.left)}{sheet.top} to {_name(sheet.right)}{sheet.bottom}"
        remedy = "clear what stands far from the table, or save the table as 'CSV UTF-8'"
        raise Unreadable(0, f"{corners} are {count:,} cells, the limit is {_MOST_CELLS:,}", remedy)


class _Sheet:
    """Where the outermost cells with a value are: columns from 0, rows from 1; a cell may leave out where it is."""

    def __init__(self) -> None:
        self.left = self.top = 1 << 62
        self.right = self.bottom = -1
        self._row, self._column = 0, -1

    def begin(self, name: str, attributes: dict[str, str]) -> None:
        """Take the start of an element."""
        tag, place = name.rpartition(":")[2], attributes.get("r", "")
        if tag == "row":
            self._row, self._column = (int(_matched(_ROW, place)[0]) if place else self._row + 1), -1
        elif tag == "c" and place:
            found = _matched(_PLACE, place)
            self._row, self._column = int(found[2]), _number(found[1])
        elif tag == "c":
            self._column += 1
        elif tag in {"v", "is"} and self._column >= 0:
            self.left, self.right = min(self.left, self._column), max(self.right, self._column)
            self.top, self.bottom = min(self.top, self._row), max(self.bottom, self._row)


def _matched(pattern: re.Pattern[str], place: str) -> re.Match[str]:
    found = pattern.fullmatch(place)
    if found is None:  # numbers that the reader would not count as we do
        raise ValueError(f"{shown(place)} is no place in a sheet")
    return found


def _number(letters: str) -> int:
    """A column by its letters, A = 0."""
    number = 0
    for letter in letters.upper():
        number = number * 26 + ord(letter) - ord("A") + 1
    return number - 1


def _name(number: int) -> str:
    """The letters of a column."""
    letters, number = "", number + 1
    while number:
        number, rest = divmod(number - 1, 26)
        letters = chr(ord("A") + rest) + letters
    return letters
