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
    from collections.abc import Iterator, Sequence

__all__ = ["Clash", "Scratch", "StagedRow", "among", "translated"]

_BUFFER: Final = 500
_MOST_VARIABLES: Final = 500
_CACHE_KB: Final = 1024
_SCHEMA: Final = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA temp_store = FILE;
CREATE TABLE row (
  position INTEGER PRIMARY KEY, source INTEGER, id TEXT, filename TEXT, key TEXT, body BLOB
);
CREATE TABLE dropped AS SELECT * FROM row;
CREATE TABLE job (turn INTEGER PRIMARY KEY, body BLOB);
CREATE TABLE photo (path TEXT PRIMARY KEY, body BLOB) WITHOUT ROWID;
CREATE TABLE need (position INTEGER, upstream TEXT, PRIMARY KEY (position, upstream)) WITHOUT ROWID;
CREATE TABLE blocked (position INTEGER PRIMARY KEY, left INTEGER);
"""
_CLASHES: Final = """
SELECT row.position, row.source, row.id, row.filename, row.body, first.id, first.body
FROM row
JOIN (SELECT {column} AS shared, MIN(position) AS position FROM row GROUP BY {column} HAVING COUNT(*) > 1) AS taken
  ON row.{column} = taken.shared AND row.position > taken.position
JOIN row AS first ON first.position = taken.position
ORDER BY row.position
"""
_DROP: Final = """
INSERT INTO dropped SELECT * FROM row
WHERE EXISTS (SELECT 1 FROM row AS first WHERE first.{column} = row.{column} AND first.position < row.position);
DELETE FROM row WHERE position IN (SELECT position FROM dropped);
"""


@dataclass(slots=True)
class StagedRow:
    """A row on its way from staging to the checks.

    Attributes:
        position: over all sources, from 0.
        source: number of its source.
        id: usable as an id, unique unless it is reported as a clash.
        filename: without extension.
        key: what file names have in common that are the same file.
        body: the rest, serialised.
        needs: ids of the jobs whose output it takes; not set when read back.
    """

    position: int
    source: int
    id: str
    filename: str
    key: str
    body: bytes
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Clash:
    """A row whose id or file name belongs to an earlier row (``first_…``)."""

    position: int
    source: int
    id: str
    filename: str
    body: bytes
    first_id: str
    first_body: bytes


class Scratch:
    """Rows, planned jobs and photo facts of one intake.

    Attributes:
        db: for the tables of others that are about these rows.

    Raises:
        StorageError: (any method) the temporary folder is full or can't be written.
    """

    def __init__(self) -> None:
        with translated():
            self.db = sqlite3.connect("", check_same_thread=False, isolation_level=None)
            self.db.executescript(f"PRAGMA cache_size = -{_CACHE_KB};{_SCHEMA}")
            self.db.execute("BEGIN")
        self._rows: list[tuple[object, ...]] = []
        self._needs: list[tuple[int, str]] = []
        self._jobs: list[tuple[bytes]] = []

    def add_row(self, row: StagedRow) -> None:
        """Keep a staged row."""
        self._rows.append((row.position, row.source, row.id, row.filename, row.key, row.body))
        if row.needs:
            self._needs += [(row.position, upstream) for upstream in row.needs]
        if len(self._rows) >= _BUFFER:
            self.flush()

    def add_job(self, body: bytes) -> None:
        """Keep a planned job; they are read back in the order in which they were added."""
        self._jobs.append((body,))
        if len(self._jobs) >= _BUFFER:
            self.flush()

    def flush(self) -> None:
        """Write what is gathered, so that it can be read."""
        with translated():
            self.db.executemany("INSERT INTO row VALUES (?, ?, ?, ?, ?, ?)", self._rows)
            self.db.executemany("INSERT INTO need VALUES (?, ?)", self._needs)
            self.db.executemany("INSERT INTO job (body) VALUES (?)", self._jobs)
        self._rows.clear()
        self._needs.clear()
        self._jobs.clear()

    def clashes(self) -> Iterator[Clash]:
        """Rows whose id, then rows whose file name is taken by an earlier one; they are dropped once all are told."""
        self.flush()
        for column in ("id", "key"):
            with translated():
                self.db.execute(f"CREATE INDEX row_{column} ON row ({column})")
                cursor = self.db.execute(_CLASHES.format(column=column))
            for found in cursor:
                yield Clash(*found)
            with translated():
                for statement in _DROP.format(column=column).split(";"):
                    self.db.execute(statement)

    def rows(self, batch: int) -> Iterator[list[StagedRow]]:
        """All rows that need no other, in order, in batches."""
        self.flush()
        after = -1
        query = (
            "SELECT * FROM row WHERE position > ? AND position NOT IN (SELECT position FROM blocked)"
            " ORDER BY position LIMIT ?"
        )
        while found := self._page(query, after, batch):
            rows = [StagedRow(*columns) for columns in found]
            yield rows
            after = rows[-1].position

    def all_rows(self, batch: int) -> Iterator[list[StagedRow]]:
        """All rows in order, in batches."""
        self.flush()
        after = -1
        while found := self._page("SELECT * FROM row WHERE position > ? ORDER BY position LIMIT ?", after, batch):
            rows = [StagedRow(*columns) for columns in found]
            yield rows
            after = rows[-1].position

    def dropped(self, batch: int) -> Iterator[list[StagedRow]]:
        """The rows that were dropped for a clash, in batches."""
        after = 0
        query = "SELECT rowid, * FROM dropped WHERE rowid > ? ORDER BY rowid LIMIT ?"
        while found := self._page(query, after, batch):
            yield [StagedRow(*columns) for _, *columns in found]
            after = found[-1][0]

    def row(self, job_id: str) -> StagedRow:
        """The row of a job that there is."""
        with translated():
            return StagedRow(*self.db.execute("SELECT * FROM row WHERE id = ?", (job_id,)).fetchone())

    def known(self, ids: Sequence[str]) -> set[str]:
        """Which of these ids there are."""
        return {key for (key,) in among(self.db, "SELECT id FROM row", ids)}

    def has_key(self, key: str) -> bool:
        """Whether there is a row whose file name has this key."""
        with translated():
            return bool(self.db.execute("SELECT EXISTS (SELECT 1 FROM row WHERE key = ?)", (key,)).fetchone()[0])

    def some_ids(self, limit: int) -> list[str]:
        """Ids, the first ones."""
        with translated():
            return [row[0] for row in self.db.execute("SELECT id FROM row ORDER BY position LIMIT ?", (limit,))]

    def jobs(self, batch: int) -> Iterator[list[bytes]]:
        """All planned jobs in the order in which they were added, in batches."""
        self.flush()
        after = 0
        while found := self._page("SELECT * FROM job WHERE turn > ? ORDER BY turn LIMIT ?", after, batch):
            yield [body for _, body in found]
            after = found[-1][0]

    def photo(self, path: str) -> bytes | None:
        """What was kept of a photo."""
        with translated():
            found = self.db.execute("SELECT body FROM photo WHERE path = ?", (path,)).fetchone()
        return found[0] if found else None

    def keep_photo(self, path: str, body: bytes) -> None:
        """Keep the facts of a photo."""
        with translated():
            self.db.execute("INSERT OR REPLACE INTO photo VALUES (?, ?)", (path, body))

    def close(self) -> None:
        """Free the space. May be called again."""
        self.db.close()

    def _page(self, query: str, after: int, limit: int) -> list[tuple[Any, ...]]:
        with translated():
            return self.db.execute(query, (after, limit)).fetchall()


def among(db: sqlite3.Connection, query: str, ids: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """The rows of a query whose ``id`` is one of these."""
    for start in range(0, len(ids), _MOST_VARIABLES):
        some = ids[start : start + _MOST_VARIABLES]
        with translated():
            found = db.execute(f"{query} WHERE id IN ({','.join('?' * len(some))})", some).fetchall()
        yield from found


@contextmanager
def translated() -> Iterator[None]:
    """Say what is the matter with the temporary folder.

    Raises:
        StorageError: it is full or can't be written.
    """
    try:
        yield
    except sqlite3.OperationalError as error:
        remedy = "free space in the temporary folder, or set TMPDIR to another one"
        raise StorageError(f"the manifest can't be staged on disk: {error}", remedy=remedy) from error
