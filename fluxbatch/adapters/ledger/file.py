"""The file that a ledger is in: opened, told from another, brought up to date."""

from __future__ import annotations

import os
import sqlite3
from typing import TYPE_CHECKING

from fluxbatch.adapters.ledger import schema, writes
from fluxbatch.errors import StorageError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["LedgerFile", "kind_of"]


class LedgerFile:
    """One database file; the arguments are those of ``SqliteLedger``."""

    def __init__(self, path: Path, *, kind: str, readonly: bool) -> None:
        self._path = path
        self._kind = kind
        self._readonly = readonly
        self._opened = (-1, -1)

    def connect(self) -> sqlite3.Connection:
        """Open it as it is used from now on, made or brought up to date if that is needed. Blocks."""
        if not self._readonly:
            self._path.touch(mode=0o600)
        connection = self.open(readonly=self._readonly)
        self._opened = _identity(self._path)
        return connection

    def open(self, *, readonly: bool) -> sqlite3.Connection:
        """Another connection to it. Blocks."""
        asked = f"mode=ro{self._unshared()}" if readonly else "mode=rw"
        uri = f"{self._path.absolute().as_uri()}?{asked}"
        connection = sqlite3.connect(uri, uri=True, isolation_level=None, cached_statements=64)
        try:
            if readonly:
                _look_as_now(connection)
            else:
                _bring_up(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _unshared(self) -> str:
        """Where nothing can be written, SQLite can't keep its notes for readers beside the file, and need not."""
        log = self._path.with_name(f"{self._path.name}-wal")
        is_settled = not log.exists() or not log.stat().st_size
        return "&immutable=1" if is_settled and not os.access(self._path.parent, os.W_OK) else ""

    def check(self) -> None:
        """Complain if the file is not the one that was opened: SQLite would go on writing into it, out of sight.

        Raises:
            StorageError: it was replaced or removed.
        """
        try:
            if _identity(self._path) == self._opened:
                return
        except (FileNotFoundError, NotADirectoryError):
            what = "was removed"
        else:
            what = "was replaced"
        raise StorageError(
            f"{self._path} {what} while it was in use",
            remedy="put back the one that was there, then run the same command again; without it, images that are"
            " paid for would be bought again",
        )

    def check_about(self, db: sqlite3.Connection) -> None:
        """Complain if it is not for this fluxbatch, or not for images of this kind, which a new one learns now.

        Raises:
            UsageError: it is of another version or kind.
        """
        version = _version(db)
        if version not in schema.AS_NOW:
            raise UsageError(
                f"{self._path} is a ledger of version {version}, this fluxbatch knows {schema.VERSION}",
                remedy="use the fluxbatch that wrote it, or another output folder",
            )
        kind = kind_of(db)
        if not kind and self._kind:
            db.execute("INSERT INTO about VALUES ('kind', ?)", (self._kind,))
        elif self._kind and kind != self._kind:
            raise UsageError(
                f"{self._path.parent.parent} holds {kind} images, this run makes {self._kind} ones",
                remedy="simulated images never pass for real ones: use another output folder (-o)",
            )


def kind_of(db: sqlite3.Connection) -> str:
    """What the folder's images are: ``live`` or ``simulated``; empty if nobody said yet."""
    row = db.execute("SELECT value FROM about WHERE key = 'kind'").fetchone()
    return "" if row is None else str(row[0])


def _bring_up(db: sqlite3.Connection) -> None:
    """Make the tables, or turn those of an earlier version into today's; a newer one is left as it is."""
    for pragma in schema.PRAGMAS:
        db.execute(pragma)
    version = _version(db)
    if version == 0:
        db.executescript(f"BEGIN IMMEDIATE; {schema.CREATE} PRAGMA user_version = {schema.VERSION}; COMMIT;")
    elif version in schema.MIGRATE:
        # all or nothing: what fails in between ends with the connection
        db.execute("BEGIN IMMEDIATE")
        while version in schema.MIGRATE:
            for statement in schema.MIGRATE[version]:
                db.execute(statement)
            version += 1
        db.execute(f"PRAGMA user_version = {version}")
        db.execute("COMMIT")
    for statement in (*writes.PLANNED, *writes.STEPS):
        db.execute(statement)


def _look_as_now(db: sqlite3.Connection) -> None:
    for statement in schema.AS_NOW.get(_version(db), ()):
        db.execute(statement)


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def _identity(path: Path) -> tuple[int, int]:
    facts = path.stat()
    return facts.st_dev, facts.st_ino
