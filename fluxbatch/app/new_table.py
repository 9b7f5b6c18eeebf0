"""A table of an output folder that people or their programs get: there all at once in the end, or not at all."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
import anyio.to_thread

from fluxbatch.errors import StorageError, UsageError
from fluxbatch.report.tables import KINDS, check_kind, open_table_writer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

    from fluxbatch.report.tables import Column, TableWriter

__all__ = ["NewTable", "new_table"]

T = TypeVar("T")


@asynccontextmanager
async def new_table(path: Path, *, kinds: Sequence[str] = KINDS, force: bool = False) -> AsyncIterator[NewTable]:
    """A table that is put in place once the block has ended without an error; it is to be opened in the block.

    Args:
        path: of the file.
        kinds: extensions that it may have.
        force: replace a file that is there.

    Raises:
        UsageError: the file is there already, is of no known kind, or can't hold what it is given.
        StorageError: it can't be written.
    """
    check_kind(path, kinds)
    if not force and await anyio.to_thread.run_sync(path.exists):
        raise UsageError(f"{path} is there already", remedy="name another file, or say --force to replace it")
    table = NewTable(path)
    try:
        yield table
        await table.finish()
    finally:
        with anyio.CancelScope(shield=True):
            await table.give_up()


class NewTable:
    """A ``TableWriter`` that blocks nobody, and says what a disk has against it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: TableWriter | None = None

    async def open(self, columns: Sequence[Column], **how: Any) -> None:
        """Begin with the header; the rest is for ``open_table_writer``."""
        self._writer = await self._do(partial(open_table_writer, self._path, columns, **how))

    async def add(self, rows: Sequence[Sequence[Any]]) -> None:
        """Append rows."""
        assert self._writer is not None
        await self._do(partial(self._writer.add, rows))

    async def finish(self) -> None:
        """Put the file in place, durably."""
        if self._writer is not None:
            await self._do(self._writer.finish)

    async def give_up(self) -> None:
        """Leave nothing behind. May be called after ``finish``."""
        if self._writer is not None:
            await self._do(self._writer.give_up)

    async def _do(self, function: Callable[[], T]) -> T:
        try:
            return await anyio.to_thread.run_sync(function)
        except OSError as error:
            raise StorageError(
                f"{self._path} can't be written: {error.strerror or error}",
                remedy="free space, or write it elsewhere",
            ) from error
