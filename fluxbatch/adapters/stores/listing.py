"""What is in a store, as it was listed once and as it was written since. On disk: a listing may have a million names.

Its methods block for a moment; callers put them into a thread, one at a time.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Final

import orjson

from fluxbatch.adapters.stores.bucket import Seen

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["Listing"]

_BATCH: Final = 500
_AFTER_SLASH: Final = "0"  # the character that comes after it
_TABLE: Final = """
    CREATE TABLE objects (name TEXT PRIMARY KEY, size INT, etag TEXT, version TEXT, modified_ns INT, said BLOB)
    WITHOUT ROWID
"""
_FIND: Final = """
    SELECT name, size, etag, version, modified_ns FROM objects WHERE name IN (SELECT value FROM json_each(?))
"""


class Listing:
    """Objects by name, with what is kept beside them as far as it was read."""

    def __init__(self) -> None:
        # without a name: SQLite keeps it in a temporary file, which nobody else can see
        self._db = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode = OFF")
        self._db.execute(_TABLE)

    def add(self, page: Iterable[tuple[str, Seen]]) -> None:
        """Take objects that were listed."""
        rows = [(name, seen.size, seen.etag, seen.version, seen.modified_ns, None) for name, seen in page]
        self._db.execute("BEGIN")
        self._db.executemany("REPLACE INTO objects VALUES (?, ?, ?, ?, ?, ?)", rows)
        self._db.execute("COMMIT")

    def note(self, name: str, seen: Seen, said: Mapping[str, str]) -> None:
        """Take one object with what is kept beside it."""
        row = (name, seen.size, seen.etag, seen.version, seen.modified_ns, orjson.dumps(dict(said)))
        self._db.execute("REPLACE INTO objects VALUES (?, ?, ?, ?, ?, ?)", row)

    def forget(self, name: str) -> None:
        """An object that is gone."""
        self._db.execute("DELETE FROM objects WHERE name = ?", (name,))

    def find(self, names: Sequence[str]) -> dict[str, Seen]:
        """What is there of these names."""
        found: dict[str, Seen] = {}
        for start in range(0, len(names), _BATCH):
            some = names[start : start + _BATCH]
            rows = self._db.execute(_FIND, (orjson.dumps(some).decode(),))
            found.update({name: Seen(*facts) for name, *facts in rows})
        return found

    def said(self, name: str) -> dict[str, str] | None:
        """What is kept beside an object, None if that was not read yet."""
        row = self._db.execute("SELECT said FROM objects WHERE name = ?", (name,)).fetchone()
        return None if row is None or row[0] is None else dict(orjson.loads(row[0]))

    def is_folder(self, name: str) -> bool:
        """Whether any object's name begins with this one and a slash."""
        row = self._db.execute(
            "SELECT 1 FROM objects WHERE name > ? AND name < ? LIMIT 1", (f"{name}/", f"{name}{_AFTER_SLASH}")
        ).fetchone()
        return row is not None

    def close(self) -> None:
        """Free its space. May be called again."""
        self._db.close()
