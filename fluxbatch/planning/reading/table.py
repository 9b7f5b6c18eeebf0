"""Tables (CSV, TSV, Excel, Parquet): a row a job, with the line that each row begins on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fluxbatch.planning.flaw import Unreadable, shown
from fluxbatch.planning.keys import unknown_column
from fluxbatch.planning.names import JOB_KEYS
from fluxbatch.planning.reading.draft import Draft, Fault, Opened
from fluxbatch.planning.reading.text import require_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

__all__ = ["open_table", "table_records"]


def open_table(path: Path, label: str) -> Opened:
    """Open a table and stream its rows.

    Raises:
        Unreadable: it can't be read.
    """
    require_file(path)
    opened = Opened(label, path.parent, ())
    opened.drafts = _drafts(path, opened)
    return opened


def table_records(path: Path, encoding: str = "", sheet: str = "") -> Iterator[tuple[int, Sequence[Any]]]:
    """The records of a table by its extension, the header first, each with the line that it begins on.

    Args:
        path: of a file that is there.
        encoding: of ``.csv`` and ``.tsv``; empty to find out.
        sheet: of ``.xlsx``; empty for the first.

    Raises:
        Unreadable: from here on, nothing can be read.
    """
    match path.suffix.lower():
        case ".xlsx":
            from fluxbatch.planning.reading.spreadsheet import sheet_records

            return sheet_records(path, sheet)
        case ".parquet":
            from fluxbatch.planning.reading.parquet import parquet_records

            return parquet_records(path)
        case _:
            from fluxbatch.planning.reading.delimited import delimited_records

            return delimited_records(path, encoding)


def _drafts(path: Path, opened: Opened) -> Iterator[Draft | Unreadable]:
    records = table_records(path)
    line, header = next(records, (0, ()))
    unnamed: dict[int, int] = {}
    columns = _header([str(cell) for cell in header], line, opened, unnamed) if header else []
    count = 0
    for line, cells in records:
        count += 1
        if unnamed:
            _note_unnamed(unnamed, cells, opened)
        yield _row(columns, cells, line)
    if not count:
        opened.faults.append(Fault(0, "has no rows", "write a header, then a row for each job"))


def _row(columns: list[str], cells: Sequence[Any], line: int) -> Draft | Unreadable:
    if len(cells) > len(columns) and any(cells[len(columns) :]):
        message = f"the row has {len(cells)} cells, the header {len(columns)}"
        return Unreadable(line, message, 'a cell that contains the separator goes in "quotes"')
    # An empty column name stands for a column that is not used.
    return Draft(line, {key: cell for key, cell in zip(columns, cells, strict=False) if cell != "" and key}, row=True)


def _header(cells: list[str], line: int, opened: Opened, unnamed: dict[int, int]) -> list[str]:
    """The names of the columns; one that is wrong is reported once and then left out (an empty name).

    Args:
        cells: of the header.
        line: of the header.
        opened: takes what is wrong.
        unnamed: takes the columns without a name, with that line; spreadsheets write any number of empty ones.
    """
    columns: list[str] = []
    for number, cell in enumerate(cells):
        if not cell.strip():
            unnamed[number] = line
            columns.append("")
            continue
        fault = _column_fault(cell, columns)
        columns.append("" if fault else cell)
        if fault:
            message, remedy = fault
            opened.faults.append(Fault(line, message, remedy, cell.strip()))
    if not JOB_KEYS.intersection(cells):
        found = ", ".join(shown(cell) for cell in cells[:5])
        remedy = "the first row names the columns: id, prompt, images …"
        opened.faults.append(Fault(line, f"no column is a field of a job: {found}", remedy))
    return columns


def _column_fault(cell: str, before: list[str]) -> tuple[str, str] | None:
    if cell in before:
        return f"the column {cell!r} stands twice", "rename one"
    if cell in JOB_KEYS:
        return None
    flaw = unknown_column(cell)
    return (flaw.message, flaw.remedy) if flaw else None


def _note_unnamed(unnamed: dict[int, int], cells: Sequence[Any], opened: Opened) -> None:
    """Complain about a column that has cells and no name, once."""
    for number in [number for number in unnamed if number < len(cells) and cells[number] != ""]:
        name = f"column {number + 1}"
        opened.faults.append(Fault(unnamed.pop(number), f"{name} has no name", "name it, or remove it", name))
