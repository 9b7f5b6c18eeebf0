"""CSV and TSV: a row a job, streamed, with the line that each row begins on."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, BinaryIO, Final

from fluxbatch.planning.fields import JOB_KEYS
from fluxbatch.planning.flaw import Unreadable, shown
from fluxbatch.planning.keys import unknown_column
from fluxbatch.planning.reading.draft import Draft, Fault, Opened
from fluxbatch.planning.reading.text import decoded, require_file, wide_encoding

if TYPE_CHECKING:
    from _csv import Reader
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["open_table"]

_BOM: Final = b"\xef\xbb\xbf"
_LONGEST_LINE: Final = 4 << 20


def open_table(path: Path, label: str) -> Opened:
    """Open a table and stream its rows.

    Raises:
        Unreadable: it can't be read.
    """
    require_file(path)
    opened = Opened(label, path.parent, ())
    opened.drafts = _drafts(path, opened)
    return opened


def _drafts(path: Path, opened: Opened) -> Iterator[Draft | Unreadable]:
    with path.open("rb") as file:
        start = file.read(4096)
        file.seek(len(_BOM) if start.startswith(_BOM) else 0)
        if encoding := wide_encoding(start):
            raise Unreadable(0, f"is {encoding} text", "save it as UTF-8 ('CSV UTF-8' in Excel)")
        reader = csv.reader(_text_lines(file), delimiter=_delimiter(path, start), strict=True)
        yield from _rows(reader, opened)


def _delimiter(path: Path, start: bytes) -> str:
    if path.suffix.lower() == ".tsv":
        return "\t"
    header = start.partition(b"\n")[0]
    # Spreadsheets of half of Europe write CSV with semicolons.
    return ";" if b";" in header and b"," not in header else ","


def _text_lines(file: BinaryIO) -> Iterator[str]:
    number = 0
    while line := file.readline(_LONGEST_LINE):
        number += 1
        if len(line) == _LONGEST_LINE:
            raise Unreadable(number, f"the line is longer than {_LONGEST_LINE >> 20} MB", "is this a table?")
        yield line.decode() if line.isascii() else decoded(line, number)


def _rows(reader: Reader, opened: Opened) -> Iterator[Draft | Unreadable]:
    columns: list[str] | None = None
    count = before = 0
    try:
        for cells in reader:
            line, before = before + 1, reader.line_num
            if not any(cells):
                continue
            if columns is None:
                columns = _header(cells, line, opened)
                continue
            count += 1
            yield _row(columns, cells, line)
    except csv.Error as error:
        raise _syntax_error(error, before + 1) from None
    if not count:
        opened.faults.append(Fault(0, "has no rows", "write a header, then a row for each job"))


def _row(columns: list[str], cells: list[str], line: int) -> Draft | Unreadable:
    if len(cells) > len(columns) and any(cells[len(columns) :]):
        message = f"the row has {len(cells)} cells, the header {len(columns)}"
        return Unreadable(line, message, 'a cell that contains the separator goes in "quotes"')
    # An empty column name stands for a column that is not used.
    return Draft(line, {key: cell for key, cell in zip(columns, cells, strict=False) if cell and key}, row=True)


def _header(cells: list[str], line: int, opened: Opened) -> list[str]:
    """The names of the columns; one that is wrong is reported once and then left out (an empty name)."""
    columns: list[str] = []
    for number, cell in enumerate(cells, 1):
        fault = _column_fault(cell, number, columns)
        if fault is None:
            columns.append(cell)
            continue
        columns.append("")
        message, remedy = fault
        opened.faults.append(Fault(line, message, remedy, cell.strip() or f"column {number}"))
    if not JOB_KEYS.intersection(cells):
        found = ", ".join(shown(cell) for cell in cells[:5])
        remedy = "the first row names the columns: id, prompt, images …"
        opened.faults.append(Fault(line, f"no column is a field of a job: {found}", remedy))
    return columns


def _column_fault(cell: str, number: int, before: list[str]) -> tuple[str, str] | None:
    if cell in before:
        return f"the column {cell!r} stands twice", "rename one"
    if not cell.strip():
        return f"column {number} has no name", "name it, or remove it"
    if cell in JOB_KEYS:
        return None
    flaw = unknown_column(cell)
    return (flaw.message, flaw.remedy) if flaw else None


def _syntax_error(error: csv.Error, line: int) -> Unreadable:
    message = str(error)
    if "unexpected end of data" in message or "field larger" in message:
        return Unreadable(line, "a quote that opens here is never closed", 'close it, or write " as ""')
    if "expected after" in message:
        return Unreadable(line, "text follows a closing quote", 'write " within a cell as ""')
    if "new-line character" in message:
        return Unreadable(line, "has line ends of old Macs", "save it with usual line ends")
    return Unreadable(line, f"is not a valid row: {message}")
