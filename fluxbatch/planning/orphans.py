"""Images that no job asks for any more: to be listed, and to be copied for a job that got another id."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from fluxbatch.model.job import Stored
from fluxbatch.planning.scratch import translated

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from fluxbatch.planning.scratch import Scratch

__all__ = ["Orphan", "Orphans"]

_FREE: Final = """
SELECT id, body, listed FROM orphan AS one
WHERE fingerprint = ? AND heir IS NULL AND NOT EXISTS (
    SELECT 1 FROM orphan AS twin
    WHERE twin.fingerprint = one.fingerprint AND twin.sha256 = one.sha256 AND twin.heir > ''
) ORDER BY id LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class Orphan:
    """An image on record for an id that is asked for no more; ``seed`` and ``model`` of it are those of its job.

    Attributes:
        listed: it was asked for by a manifest of this plan; else by one that is not there any more, or moved.
    """

    id: str
    stored: Stored
    listed: bool = True


class Orphans:
    """The orphans of an output folder, in the scratch of its plan."""

    def __init__(self, scratch: Scratch) -> None:
        self._db = scratch.db
        self._empty = True
        with translated():
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS orphan"
                " (id TEXT PRIMARY KEY, fingerprint TEXT, sha256 TEXT, heir TEXT, body BLOB, listed INT, given INT)"
            )
            self._db.execute("CREATE INDEX IF NOT EXISTS orphan_asked ON orphan (fingerprint, heir, id)")
            self._db.execute("CREATE INDEX IF NOT EXISTS orphan_heir ON orphan (heir)")

    @property
    def empty(self) -> bool:
        """Whether there are none."""
        return self._empty

    def add(self, orphans: Sequence[Orphan]) -> None:
        """Take some in."""
        self._empty = self._empty and not orphans
        values = [
            (one.id, one.stored.fingerprint, one.stored.sha256, orjson.dumps(one.stored), one.listed) for one in orphans
        ]
        with translated():
            self._db.executemany("INSERT OR REPLACE INTO orphan VALUES (?, ?, ?, NULL, ?, ?, 0)", values)

    def given(self, images: Mapping[str, Stored]) -> None:
        """Tell of images that jobs have, by their ids: one that was copied from an orphan is not copied once more."""
        values = [(job_id, stored.fingerprint, stored.sha256) for job_id, stored in images.items()]
        mark = "UPDATE orphan SET heir = ?, given = 1 WHERE fingerprint = ? AND sha256 = ? AND heir IS NULL"
        with translated():
            self._db.executemany(mark, values)

    def spoil(self, ids: Sequence[str]) -> None:
        """Tell of orphans whose file can't be copied: nobody inherits them."""
        with translated():
            mark = "UPDATE orphan SET heir = '', given = 1 WHERE id = ?"
            self._db.executemany(mark, [(orphan_id,) for orphan_id in ids])

    def inherit(self, job_id: str, fingerprint: str) -> Orphan | None:
        """The orphan that a job takes over, if there is one of its fingerprint; asked again, it is the same one.

        Each is given to one job alone, with all copies of it: two jobs that ask for the same get two images.
        """
        with translated():
            mine = "SELECT id, body, listed FROM orphan WHERE heir = ? AND fingerprint = ? AND NOT given"
            found = self._db.execute(mine, (job_id, fingerprint)).fetchone()
            if found is None:
                found = self._db.execute(_FREE, (fingerprint,)).fetchone()
                if found is not None:
                    self._db.execute("UPDATE orphan SET heir = ? WHERE id = ?", (job_id, found[0]))
        return None if found is None else _orphan(*found)

    def all(self, batch: int = 256) -> Iterator[list[Orphan]]:
        """Those of this plan's manifests that nobody is to inherit, by id, in batches."""
        after = ""
        while True:
            query = (
                "SELECT id, body, listed FROM orphan WHERE id > ? AND listed AND (heir IS NULL OR given)"
                " ORDER BY id LIMIT ?"
            )
            with translated():
                found = self._db.execute(query, (after, batch)).fetchall()
            if not found:
                return
            yield [_orphan(*columns) for columns in found]
            after = found[-1][0]


def _orphan(job_id: Any, body: bytes, listed: int) -> Orphan:
    return Orphan(job_id, Stored(**orjson.loads(body)), bool(listed))
