"""The ``Memo`` port: a small SQLite file that may be deleted at any time."""

from __future__ import annotations

import sqlite3
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["SqliteMemo"]

_MOST_VARIABLES = 500


class SqliteMemo:
    """Keys and values in one table. Whatever goes wrong with it only means that something is found out again."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None
        try:
            self._db = _open(path)
        except sqlite3.DatabaseError:
            try:
                path.unlink(missing_ok=True)
                self._db = _open(path)
            except (sqlite3.Error, OSError):
                self._db = None

    def get(self, keys: Sequence[str]) -> dict[str, bytes]:
        """What is remembered of these keys."""
        found: dict[str, bytes] = {}
        with self._lock:
            if self._db is None:
                return found
            try:
                for start in range(0, len(keys), _MOST_VARIABLES):
                    page = [_blob(key) for key in keys[start : start + _MOST_VARIABLES]]
                    marks = ",".join("?" * len(page))
                    statement = f"SELECT key, value FROM memo WHERE key IN ({marks})"  # noqa: S608  # marks are ?
                    found.update((_text(key), value) for key, value in self._db.execute(statement, page))
            except sqlite3.Error:
                return found
        return found

    def put(self, entries: Mapping[str, bytes]) -> None:
        """Remember."""
        with self._lock:
            if self._db is None or not entries:
                return
            try:
                with self._db:
                    pairs = [(_blob(key), value) for key, value in entries.items()]
                    self._db.executemany("INSERT OR REPLACE INTO memo VALUES (?, ?)", pairs)
            except sqlite3.Error:
                return

    def close(self) -> None:
        """Release the file."""
        with self._lock:
            if self._db is not None:
                self._db.close()
                self._db = None


def _blob(key: str) -> bytes:
    return key.encode("utf-8", "surrogatepass")  # keys hold names of files, and those need not be UTF-8


def _text(key: bytes) -> str:
    return key.decode("utf-8", "surrogatepass")


def _open(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, check_same_thread=False, timeout=1.0)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = OFF")
        db.execute("PRAGMA cache_size = -256")  # most keys are asked for once
        db.execute("CREATE TABLE IF NOT EXISTS memo (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID")
    except sqlite3.Error:
        db.close()
        raise
    return db
