"""Records of CSV and TSV as spreadsheets write them, streamed, with the line that each begins on."""

from __future__ import annotations

import csv
import io
import re
from itertools import chain
from typing import TYPE_CHECKING, BinaryIO, Final

from fluxbatch.planning.flaw import Unreadable
from fluxbatch.planning.reading.encoding import LONGEST_LINE, detected

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["delimited_records"]

_SEPARATORS: Final = ",;\t"
_QUOTED: Final = re.compile(r'"(?:[^"]|"")*"')
_SAID: Final = re.compile(r'"?sep=([,;\t|])"?\s*')
_MOST_HEADER_LINES: Final = 200
_WIDE: Final = ("utf-16", "utf-32")


def delimited_records(path: Path, encoding: str = "") -> Iterator[tuple[int, list[str]]]:
    """The records that are not empty, the header first, each with the line that it begins on.

    Args:
        path: of a file whose extension is ``.tsv`` for tabs; else the header tells what is between the cells.
        encoding: of the text; empty to find out.

    Raises:
        Unreadable: from here on, nothing can be read.
    """
    found = encoding or detected(path)
    with path.open("rb") as file:
        lines = _wide_lines(file, found) if found.startswith(_WIDE) else _lines(file, found, told=bool(encoding))
        head, separator, skipped = _head(lines)
        if path.suffix.lower() == ".tsv":
            separator = "\t"
        yield from _records(chain(head, lines), separator, skipped)


def _lines(file: BinaryIO, encoding: str, *, told: bool) -> Iterator[str]:
    number = 0
    while line := file.readline(LONGEST_LINE):
        number += 1
        if len(line) == LONGEST_LINE:
            raise _too_long(number)
        try:
            text = line.decode() if line.isascii() else line.decode(encoding)
        except UnicodeError as error:
            raise _not_decodable(error, number, encoding, told=told) from None
        yield text if number > 1 else text.removeprefix("\ufeff")


def _wide_lines(file: BinaryIO, encoding: str) -> Iterator[str]:
    """Lines of an encoding whose line breaks can't be found among the bytes."""
    number = 0
    text = io.TextIOWrapper(file, encoding=encoding, newline="\n")
    try:
        while line := text.readline(LONGEST_LINE):
            number += 1
            if len(line) == LONGEST_LINE:
                raise _too_long(number)
            yield line if number > 1 else line.removeprefix("\ufeff")
    except UnicodeError:
        name = encoding.upper()
        raise Unreadable(number + 1, f"is not {name} text from here on", "save it as 'CSV UTF-8'") from None
    finally:
        text.detach()


def _too_long(number: int) -> Unreadable:
    return Unreadable(number, f"the line is longer than {LONGEST_LINE >> 20} MB", "is this a table?")


def _not_decodable(error: UnicodeError, number: int, encoding: str, *, told: bool) -> Unreadable:
    byte = f": byte 0x{error.object[error.start]:02x}" if isinstance(error, UnicodeDecodeError) else ""
    name = encoding.upper() if encoding.startswith("utf") else encoding
    remedy = "check its 'encoding:'" if told else "save it as 'CSV UTF-8'; a catalog may say 'encoding: cp1252'"
    return Unreadable(number, f"is not {name} text{byte}", remedy)


def _head(lines: Iterator[str]) -> tuple[list[str], str, int]:
    """The lines of the header, the separator of its cells, and how many lines before it are no part of the table."""
    head: list[str] = []
    skipped = 0
    for line in lines:
        said = _SAID.fullmatch(line) if not head else None
        if said:  # a line that Excel writes for itself
            return head, said[1], skipped + 1
        head.append(line)
        text = "".join(head)
        if (text.strip() and text.count('"') % 2 == 0) or len(head) == _MOST_HEADER_LINES:
            break
    bare = _QUOTED.sub("", "".join(head))
    return head, max(_SEPARATORS, key=bare.count), skipped


def _records(lines: Iterator[str], separator: str, skipped: int) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(lines, delimiter=separator, strict=True)
    before = 0
    try:
        for cells in reader:
            line, before = before + 1, reader.line_num
            if any(cells):
                yield skipped + line, cells
    except csv.Error as error:
        raise _syntax_error(error, skipped + before + 1) from None


def _syntax_error(error: csv.Error, line: int) -> Unreadable:
    message = str(error)
    if "unexpected end of data" in message or "field larger" in message:
        return Unreadable(line, "a quote that opens here is never closed", 'close it, or write " as ""')
    if "expected after" in message:
        return Unreadable(line, "text follows a closing quote", 'write " within a cell as ""')
    if "new-line character" in message:
        return Unreadable(line, "has line ends of old Macs", "save it with usual line ends")
    return Unreadable(line, f"is not a valid row: {message}")
