"""Tables for people and their programs: CSV, workbooks and Parquet, put in place all at once."""

from __future__ import annotations

import csv
import os
import re
import secrets
from typing import TYPE_CHECKING, Any, Final, Protocol

from fluxbatch.errors import UsageError
from fluxbatch.planning.formulas import safe_cell

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["KINDS", "Column", "TableWriter", "check_kind", "open_table_writer"]

Column = tuple[str, int]
"""name, and about how many characters wide it is to be shown"""
KINDS: Final = (".csv", ".xlsx", ".parquet")
"""extensions of files that are tables"""

_LONGEST_CELL: Final = 32_767
_MOST_ROWS: Final = 1_048_576
# what XML can't hold, or workbooks write like that: _x0007_
_ESCAPED: Final = re.compile(r"_(?=x[0-9a-fA-F]{4}_)|[\x00-\x08\x0b-\x1f\ud800-\udfff\ufffe\uffff]")


class TableWriter(Protocol):
    """Writes a table. Its methods block."""

    def add(self, rows: Sequence[Sequence[Any]]) -> None:
        """Append rows: text, numbers, booleans, or None for an empty cell.

        Raises:
            UsageError: this kind of file can't hold them.
            OSError: they can't be written.
        """
        ...

    def finish(self) -> None:
        """Put the file in place, durably."""
        ...

    def give_up(self) -> None:
        """Leave nothing behind. May be called after ``finish``."""
        ...


def open_table_writer(
    path: Path,
    columns: Sequence[Column],
    *,
    kinds: Sequence[str] = (),
    choices: Mapping[str, Sequence[str]] | None = None,
    marked: bool = False,
) -> TableWriter:
    """A writer by the extension of a path: ``.csv``, ``.xlsx`` or ``.parquet``.

    CSV is UTF-8 with a byte order mark, without which Excel takes it for something else, and safe from formulas.

    Args:
        path: the file, which is replaced.
        columns: of the table.
        kinds: of the columns in Parquet, ``string int64 float64 bool``; text, where nothing is said.
        choices: for columns of a workbook, what may be chosen in them.
        marked: mark what looks like a formula in a workbook as in CSV, so that either can be saved as the other. Else
            it is plain text there.

    Raises:
        UsageError: the extension is none of these, or a library is missing.
        OSError: it can't be written.
    """
    check_kind(path)
    match path.suffix.lower():
        case ".xlsx":
            return _Workbook(path, columns, choices or {}, marked=marked)
        case ".parquet":
            return _Parquet(path, columns, kinds)
        case _:
            return _Csv(path, columns)


def check_kind(path: Path, kinds: Sequence[str] = KINDS) -> None:
    """Look at the extension of a path, before there is anything to write.

    Raises:
        UsageError: it is none of these.
    """
    if path.suffix.lower() not in kinds:
        *others, last = kinds
        remedy = f"name it {', '.join(others)} or {last}"
        raise UsageError(f"{path}: {path.suffix!r} is no kind of table here", remedy=remedy)


class _Csv:
    def __init__(self, path: Path, columns: Sequence[Column]) -> None:
        self._path = path
        self._temporary = _beside(path)
        self._file = self._temporary.open("w", encoding="utf-8-sig", newline="")
        self._writer = csv.writer(self._file)
        self.add([[name for name, _ in columns]])

    def add(self, rows: Sequence[Sequence[Any]]) -> None:
        self._writer.writerows([[_csv_cell(cell) for cell in row] for row in rows])

    def finish(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._temporary.replace(self._path)

    def give_up(self) -> None:
        self._file.close()
        self._temporary.unlink(missing_ok=True)


class _Workbook:
    def __init__(
        self, path: Path, columns: Sequence[Column], choices: Mapping[str, Sequence[str]], *, marked: bool
    ) -> None:
        try:
            from openpyxl import Workbook
            from openpyxl.utils import get_column_letter
        except ImportError:
            raise UsageError(
                f"{path}: writing .xlsx needs the library openpyxl, which is not installed",
                remedy="pip install 'fluxbatch[xlsx]', or name it .csv",
            ) from None
        self._path = path
        self._temporary = _beside(path)
        self._temporary.open("xb").close()  # a folder that can't be written is found out now
        self._book = Workbook(write_only=True)
        self._sheet = self._book.create_sheet("images")
        self._sheet.freeze_panes = "A2"
        self._rows = 0
        self._names = [name for name, _ in columns]
        self._choices = choices
        self._marked = marked
        for number, (_, width) in enumerate(columns, 1):
            self._sheet.column_dimensions[get_column_letter(number)].width = width
        self.add([self._names])

    def add(self, rows: Sequence[Sequence[Any]]) -> None:
        self._rows += len(rows)
        if self._rows > _MOST_ROWS:
            raise UsageError(f"a sheet of Excel has {_MOST_ROWS:,} rows at most", remedy="write .csv instead")
        for row in rows:
            self._sheet.append([self._cell(cell, column) for column, cell in enumerate(row)])

    def finish(self) -> None:
        self._add_choices()
        self._book.save(self._temporary)
        with self._temporary.open("rb") as file:
            os.fsync(file.fileno())
        self._temporary.replace(self._path)

    def give_up(self) -> None:
        self._temporary.unlink(missing_ok=True)

    def _cell(self, value: Any, column: int) -> Any:
        from openpyxl.cell import WriteOnlyCell

        if not isinstance(value, str):
            return value
        if len(value.encode("utf-16-le", "surrogatepass")) // 2 > _LONGEST_CELL:
            raise UsageError(
                f"the {self._names[column]} of row {self._rows:,} or before has {len(value):,} characters: a cell of"
                f" Excel holds {_LONGEST_CELL:,}",
                remedy="write .csv instead",
            )
        text = safe_cell(value) if self._marked else value
        cell = WriteOnlyCell(self._sheet, _ESCAPED.sub(lambda found: f"_x{ord(found[0]):04X}_", text))
        cell.data_type = "s"  # never a formula
        cell.quotePrefix = not self._marked  # also when somebody edits it
        return cell

    def _add_choices(self) -> None:
        from openpyxl.utils import get_column_letter
        from openpyxl.worksheet.datavalidation import DataValidation

        for name, words in self._choices.items():
            letter = get_column_letter(self._names.index(name) + 1)
            rule = DataValidation(type="list", formula1=f'"{",".join(words)}"', allow_blank=True)
            rule.add(f"{letter}2:{letter}{max(2, self._rows)}")
            self._sheet.data_validations.append(rule)


class _Parquet:
    def __init__(self, path: Path, columns: Sequence[Column], kinds: Sequence[str]) -> None:
        try:
            import pyarrow as pa  # type: ignore[import-untyped]
            from pyarrow import parquet
        except ImportError:
            raise UsageError(
                f"{path}: writing .parquet needs the library pyarrow, which is not installed",
                remedy="pip install 'fluxbatch[parquet]', or name it .csv",
            ) from None
        self._pa = pa
        self._path = path
        self._temporary = _beside(path)
        types = [getattr(pa, kind)() for kind in kinds or ["string"] * len(columns)]
        self._schema = pa.schema([(name, kind) for (name, _), kind in zip(columns, types, strict=True)])
        self._writer = parquet.ParquetWriter(self._temporary, self._schema)

    def add(self, rows: Sequence[Sequence[Any]]) -> None:
        if not rows:
            return
        columns = zip(*rows, strict=True)
        arrays = [
            self._pa.array([_typed(cell, field.type) for cell in cells], field.type)
            for cells, field in zip(columns, self._schema, strict=True)
        ]
        self._writer.write_batch(self._pa.record_batch(arrays, schema=self._schema))

    def finish(self) -> None:
        self._writer.close()
        with self._temporary.open("rb") as file:
            os.fsync(file.fileno())
        self._temporary.replace(self._path)

    def give_up(self) -> None:
        self._writer.close()
        self._temporary.unlink(missing_ok=True)


def _typed(cell: Any, kind: Any) -> Any:
    if cell is None or (cell == "" and str(kind) != "string"):
        return None
    return str(cell) if str(kind) == "string" else cell


def _csv_cell(cell: Any) -> Any:
    return safe_cell(cell) if isinstance(cell, str) else cell


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.new")
