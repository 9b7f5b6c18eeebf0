"""The rows of a catalogue: a table in a file, a folder of photos, or a list in the manifest itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from fluxbatch.planning.flaw import Unreadable, shown
from fluxbatch.planning.reading.encoding import known_encoding
from fluxbatch.planning.reading.json_lines import json_objects
from fluxbatch.planning.reading.marked import Items, Table
from fluxbatch.planning.reading.photo_set import photos_in
from fluxbatch.planning.reading.table import table_records
from fluxbatch.planning.reading.text import is_within_reach, require_file

if TYPE_CHECKING:
    from fluxbatch.planning.reading.draft import Fault

__all__ = ["CatalogRow", "Cells", "Rows", "is_blank", "open_rows"]

_TEXT_TABLES: Final = (".csv", ".tsv")
_TABLES: Final = (*_TEXT_TABLES, ".xlsx", ".parquet")
_OBJECTS: Final = (".jsonl", ".ndjson")
_OF_PHOTOS: Final = ("photo", "name", "folder")

Cells: TypeAlias = Sequence[Any] | Mapping[str, Any]
CatalogRow: TypeAlias = tuple[int, Cells]


@dataclass(slots=True)
class Rows:
    """The rows of a catalogue, being read.

    Attributes:
        label: of the table, for messages; empty if the rows stand in the manifest.
        header: the columns in order; None if each row is a mapping with names of its own.
        rows: each with its line; an ``Unreadable`` among them can't be used. Iterating may raise ``Unreadable``.
    """

    label: str
    header: Sequence[str] | None
    rows: Iterator[CatalogRow | Unreadable]


def is_blank(cells: Cells) -> bool:
    """Whether nothing stands in these cells."""
    return all(cell is None or (isinstance(cell, str) and not cell.strip()) for cell in cells)


def open_rows(rows: Any, base: Path, encoding: str, sheet: str, faults: list[Fault]) -> Rows:
    """Begin to read.

    Args:
        rows: as the manifest says.
        base: the folder of the manifest, as the user named it.
        encoding: of a text table, empty to find out.
        sheet: of a workbook, empty for the first.
        faults: takes what is wrong with a folder of photos.

    Raises:
        Unreadable: there is nothing that can be read.
    """
    if isinstance(rows, Items):
        return _listed(rows)
    if not isinstance(rows, str) or not rows.strip():
        message = "is neither the name of a table or folder nor a list of rows"
        raise Unreadable(0, message, "write rows: products.csv")
    path = base / rows.strip()
    suffix = path.suffix.lower()
    if not is_within_reach(path, base):
        remedy = "keep tables beside the manifest, or run from a folder above both"
        raise Unreadable(0, f"{rows} is outside of the manifest's folder", remedy)
    if encoding and suffix not in _TEXT_TABLES:
        raise Unreadable(0, f"{rows}: 'encoding' is for .csv and .tsv", "leave it out")
    if sheet and suffix != ".xlsx":
        raise Unreadable(0, f"{rows}: 'sheet' is for .xlsx", "leave it out")
    try:
        return _opened(path, PurePath(rows.strip()), known_encoding(encoding) if encoding else "", sheet, faults)
    except Unreadable as problem:
        place = f"{rows}:{problem.line}" if problem.line else rows
        raise Unreadable(0, f"{place}: {problem.message}", problem.remedy) from None
    except OSError as error:
        raise Unreadable(0, f"{rows}: can't be read: {error.strerror}", "check its permissions") from None


def _opened(path: Path, ref: PurePath, encoding: str, sheet: str, faults: list[Fault]) -> Rows:
    if path.is_dir():
        return _photos(path, ref, faults)
    suffix = path.suffix.lower()
    if suffix not in {*_TABLES, *_OBJECTS}:
        remedy = f"tables are {' '.join((*_TABLES, *_OBJECTS))}, or name a folder of photos"
        raise Unreadable(0, f"{suffix!r} is no kind of table" if suffix else "is no table", remedy)
    require_file(path)
    if suffix in _OBJECTS:
        return Rows(str(path), None, json_objects(path))
    records = table_records(path, encoding, sheet)
    _, header = next(records, (0, ()))
    return Rows(str(path), [str(cell).strip() for cell in header], records)


def _photos(folder: Path, ref: PurePath, faults: list[Fault]) -> Rows:
    """A row for each photo; a line of its own it has none."""
    name = folder.resolve().name
    photos = photos_in(folder, faults)
    rows = ((0, (str(ref / photo), PurePath(photo).stem, name)) for photo in photos)
    return Rows(str(folder), _OF_PHOTOS, rows)


def _listed(rows: Items) -> Rows:
    """Rows of the manifest itself: their columns are all the keys that any of them has."""
    for row, line in zip(rows, rows.lines, strict=True):
        if not isinstance(row, Table):
            raise Unreadable(line, f"{shown(row)} is not a mapping of columns to values", "write {sku: A-1, name: Cup}")
    header = list(dict.fromkeys(key for row in rows for key in row))
    listed = ((line, [row.get(key) for key in header]) for row, line in zip(rows, rows.lines, strict=True))
    return Rows("", header, listed)
