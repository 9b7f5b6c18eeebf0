"""Who needs whom: the order in which jobs can be planned, circles, and what is to be expected of whom.

In the scratch, like the rows that it is about.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fluxbatch.planning.scratch import StagedRow, among, translated

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fluxbatch.planning.scratch import Scratch

__all__ = ["Graph"]

_TABLES: Final = """
DELETE FROM need WHERE position NOT IN (SELECT position FROM row);
CREATE INDEX need_upstream ON need (upstream);
CREATE TABLE needed (id TEXT PRIMARY KEY, body BLOB, prospect BLOB) WITHOUT ROWID;
INSERT INTO needed (id) SELECT DISTINCT upstream FROM need JOIN row ON row.id = upstream;
INSERT INTO blocked SELECT position, COUNT(*) FROM need JOIN needed ON needed.id = need.upstream GROUP BY position;
CREATE INDEX blocked_by ON blocked (left, position);
"""
_BLOCKED: Final = """
SELECT row.* FROM blocked CROSS JOIN row ON row.position = blocked.position
WHERE left {} ORDER BY blocked.position LIMIT ?
"""
_UPSTREAM: Final = """
SELECT need.upstream FROM row AS mine
JOIN need ON need.position = mine.position
JOIN row ON row.id = need.upstream
JOIN blocked ON blocked.position = row.position
WHERE mine.id = ? ORDER BY row.position LIMIT 1
"""


class Graph:
    """The needs of all rows of a scratch.

    Attributes:
        empty: nobody needs anybody.

    Raises:
        StorageError: (any method) the temporary folder is full or can't be written.
    """

    def __init__(self, scratch: Scratch) -> None:
        self._scratch = scratch
        self._db = scratch.db
        self.empty = True

    def settle(self) -> None:
        """Find out who needs whom, once all rows are there and clashes are dropped."""
        self._scratch.flush()
        with translated():
            self.empty = not self._db.execute("SELECT EXISTS (SELECT 1 FROM need)").fetchone()[0]
            if not self.empty:
                for statement in _TABLES.split(";"):
                    self._db.execute(statement)

    def unblocked(self, limit: int) -> list[StagedRow]:
        """Rows whose needs were all resolved meanwhile; each is handed out once."""
        rows = self._rows(_BLOCKED.format("= 0"), limit)
        with translated():
            self._db.executemany("DELETE FROM blocked WHERE position = ?", [(row.position,) for row in rows])
        return rows

    def blocked(self, limit: int) -> list[StagedRow]:
        """Rows that are still blocked: they stand in a circle, or behind one."""
        return self._rows(_BLOCKED.format("> 0"), limit)

    def unblock(self, row: StagedRow) -> None:
        """Give up waiting for what a row needs."""
        with translated():
            self._db.execute("DELETE FROM blocked WHERE position = ?", (row.position,))

    def circle(self, row: StagedRow) -> list[str]:
        """The circle that a blocked row stands in or behind: ids, each needing the next, the first again at the end."""
        seen: dict[str, None] = {}
        job_id = row.id
        while job_id not in seen:
            seen[job_id] = None
            with translated():
                (job_id,) = self._db.execute(_UPSTREAM, (job_id,)).fetchone()
        path = list(seen)
        return [*path[path.index(job_id) :], job_id]

    def resolve(self, bodies: Mapping[str, bytes]) -> None:
        """Remember facts of jobs, as far as others need them, and that these need not wait for them any more."""
        with translated():
            needed = [(body, job_id) for job_id, body in bodies.items()]
            self._db.executemany("UPDATE needed SET body = ? WHERE id = ?", needed)
            self._db.executemany(
                "UPDATE blocked SET left = left - 1 WHERE position IN (SELECT position FROM need WHERE upstream = ?)",
                [(job_id,) for job_id in bodies],
            )

    def resolved(self, ids: Sequence[str]) -> dict[str, bytes]:
        """What is remembered of these jobs; those that don't exist, or aren't resolved, are missing."""
        if self.empty:
            return {}
        found = among(self._db, "SELECT id, body FROM needed", ids)
        return {key: body for key, body in found if body is not None}

    def expect(self, prospects: Mapping[str, bytes]) -> None:
        """Remember what is to be expected of jobs, as far as others need them."""
        if not self.empty:
            with translated():
                values = [(prospect, job_id) for job_id, prospect in prospects.items()]
                self._db.executemany("UPDATE needed SET prospect = ? WHERE id = ?", values)

    def expected(self, ids: Sequence[str]) -> dict[str, bytes]:
        """What is to be expected of these jobs, as far as that is known."""
        if self.empty:
            return {}
        found = among(self._db, "SELECT id, prospect FROM needed", ids)
        return {key: prospect for key, prospect in found if prospect is not None}

    def _rows(self, query: str, limit: int) -> list[StagedRow]:
        with translated():
            return [StagedRow(*columns) for columns in self._db.execute(query, (limit,)).fetchall()]
