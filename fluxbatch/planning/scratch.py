"""Where staged rows wait: a private temporary database, so that a million of them never sit in memory.

It has no name, is gone when it is closed or the process ends, and holds nothing that can't be staged again.
"""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from fluxbatch.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Clash", "Scratch", "StagedRow"]

_BUFFER: Final = 500
_CACHE_KB: Final = 4096
_SCHEMA: Final = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA temp_store = FILE;
CREATE TABLE row (
  position INTEGER PRIMARY KEY, source INTEGER, place TEXT, id TEXT, filename TEXT, key TEXT, body BLOB
);
CREATE TABLE job (position INTEGER PRIMARY KEY, body BLOB);
CREATE TABLE photo (path TEXT PRIMARY KEY, body BLOB) WITHOUT ROWID;
"""
_CLASHES: Final = """
SELECT row.position, row.source, row.id, row.filename, row.body, first.place, first.id
FROM row
JOIN (SELECT {column} AS shared, MIN(position) AS position FROM row GROUP BY {column} HAVING COUNT(*) > 1) AS taken
  ON row.{column} = taken.shared AND row.position > taken.position
JOIN row AS first ON first.position = taken.position
ORDER BY row.position
"""
_DROP: Final = """
DELETE FROM row
WHERE EXISTS (SELECT 1 FROM row AS first WHERE first.{column} = row.{column} AND first.position < row.position)
"""


@dataclass(frozen=True, slots=True)
class StagedRow:
    """A row on its way from staging to the checks.

    Attributes:
        position: over all sources, from 0.
        source: number of its source.
        place: ``file:line``, for messages about other rows.
        id: usable as an id, unique unless it is reported as a clash.
        filename: without extension.
        key: what file names have in common that are the same file.
        body: the rest, serialised.
    """

    position: int
    source: int
    place: str
    id: str
    filename: str
    key: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Clash:
    """A row whose id or file name belongs to an earlier row (``first_…``)."""

    position: int
    source: int
    id: str
    filename: str
    body: bytes
    first_place: str
    first_id: str


class Scratch:
    """Rows, planned jobs and photo facts of one intake.

    Raises:
        StorageError: (any method) the temporary folder is full or can't be written.
    """

    def __init__(self) -> None:
        with _translated():
            self._db = sqlite3.connect("", check_same_thread=False, isolation_level=None)
            self._db.executescript(f"PRAGMA cache_size = -{_CACHE_KB};{_SCHEMA}")
            self._db.execute("BEGIN")
        self._rows: list[tuple[object, ...]] = []
        self._jobs: list[tuple[int, bytes]] = []

    def add_row(self, row: StagedRow) -> None:
        """Keep a staged row."""
        self._rows.append((row.position, row.source, row.place, row.id, row.filename, row.key, row.body))
        if len(self._rows) >= _BUFFER:
            self.flush()

    def add_job(self, position: int, body: bytes) -> None:
        """Keep a planned job."""
        self._jobs.append((position, body))
        if len(self._jobs) >= _BUFFER:
            self.flush()

    def flush(self) -> None:
        """Write what is gathered, so that it can be read."""
        with _translated():
            self._db.executemany("INSERT INTO row VALUES (?, ?, ?, ?, ?, ?, ?)", self._rows)
            self._db.executemany("INSERT OR REPLACE INTO job VALUES (?, ?)", self._jobs)
        self._rows.clear()
        self._jobs.clear()

    def clashes(self) -> Iterator[Clash]:
        """Rows whose id, then rows whose file name is taken by an earlier one; they are dropped once all are told."""
        self.flush()
        for column in ("id", "key"):
            with _translated():
                self._db.execute(f"CREATE INDEX row_{column} ON row ({column})")
                cursor = self._db.execute(_CLASHES.format(column=column))
            for found in cursor:
                yield Clash(*found)
            with _translated():
                self._db.execute(_DROP.format(column=column))

    def rows(self, batch: int) -> Iterator[list[StagedRow]]:
        """All rows in order, in batches."""
        self.flush()
        after = -1
        while found := self._page("SELECT * FROM row WHERE position > ? ORDER BY position LIMIT ?", after, batch):
            rows = [StagedRow(*columns) for columns in found]
            yield rows
            after = rows[-1].position

    def jobs(self, batch: int) -> Iterator[list[bytes]]:
        """All planned jobs in order, in batches."""
        self.flush()
        after = -1
        while found := self._page("SELECT * FROM job WHERE position > ? ORDER BY position LIMIT ?", after, batch):
            yield [body for _, body in found]
            after = found[-1][0]

    def photo(self, path: str) -> bytes | None:
        """What was kept of a photo."""
        with _translated():
            found = self._db.execute("SELECT body FROM photo WHERE path = ?", (path,)).fetchone()
        return found[0] if found else None

    def keep_photo(self, path: str, body: bytes) -> None:
        """Keep the facts of a photo."""
        with _translated():
            self._db.execute("INSERT OR REPLACE INTO photo VALUES (?, ?)", (path, body))

    def close(self) -> None:
        """Free the space. May be called again."""
        self._db.close()

    def _page(self, query: str, after: int, limit: int) -> list[tuple[Any, ...]]:
        with _translated():
            return self._db.execute(query, (after, limit)).fetchall()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        remedy = "free space in the temporary folder, or set TMPDIR to another one"
        raise StorageError(f"the manifest can't be staged on disk: {error}", remedy=remedy) from error
