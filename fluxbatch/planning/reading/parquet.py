"""Records of a Parquet file, a batch at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fluxbatch.planning.flaw import Unreadable
from fluxbatch.planning.reading.cells import plain

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["parquet_records"]

_BATCH: Final = 1000


def parquet_records(path: Path) -> Iterator[tuple[int, list[Any]]]:
    """The header as line 0, then the rows with their numbers from 1. Columns of bytes are left out: they are no text.

    Raises:
        Unreadable: it can't be read, or the library for it is missing.
    """
    try:
        import pyarrow as pa  # type: ignore[import-untyped]
        from pyarrow import parquet
    except ImportError:
        message = "reading .parquet needs the library pyarrow, which is not installed"
        raise Unreadable(0, message, "pip install 'fluxbatch[parquet]'") from None
    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            names = [field.name for field in file.schema_arrow if not _holds_bytes(field.type)]
            yield 0, names
            for batch in file.iter_batches(_BATCH, columns=names, use_threads=False):
                columns = [batch.column(name).to_pylist() for name in names]
                for cells in zip(*columns, strict=True):
                    number += 1
                    yield number, ["" if cell is None else _seen(cell) for cell in cells]
    except (pa.ArrowException, OSError, KeyError) as error:
        message = f"is not a Parquet file that can be read: {error}".replace("\n", " ")
        raise Unreadable(number, message[:300], "write it again, or save the table as CSV") from None


def _holds_bytes(kind: Any) -> bool:
    name = str(kind)
    return "binary" in name or "extension" in name


def _seen(cell: Any) -> Any:
    if isinstance(cell, str):
        return cell
    value = plain(cell)
    return "" if value is None else value
