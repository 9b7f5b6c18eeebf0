"""Where jobs stand: the file and line that each was read from, in the scratch of its plan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fluxbatch.planning.scratch import among, translated
from fluxbatch.planning.staging import Body

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fluxbatch.planning.scratch import Scratch

__all__ = ["Places"]

_BATCH: Final = 500


class Places:
    """The places of all staged jobs."""

    def __init__(self, scratch: Scratch) -> None:
        self._db = scratch.db
        with translated():
            self._db.execute("DROP TABLE IF EXISTS place")
            self._db.execute("CREATE TABLE place (file TEXT, line INT, position INT, id TEXT)")
            for rows in scratch.all_rows(_BATCH):
                bodies = [Body.unpack(row.body) for row in rows]
                values = [(body.file, body.line, row.position, row.id) for row, body in zip(rows, bodies, strict=True)]
                self._db.executemany("INSERT INTO place VALUES (?, ?, ?, ?)", values)
            self._db.execute("CREATE INDEX place_of ON place (file, line, position)")
            self._db.execute("CREATE INDEX place_by_id ON place (id)")

    def at(self, file: str, lines: Sequence[int]) -> dict[int, list[str]]:
        """The ids of the jobs that stand on these lines of a file, in order. The lines follow each other."""
        if not lines:
            return {}
        query = "SELECT line, id FROM place WHERE file = ? AND line BETWEEN ? AND ? ORDER BY position"
        found: dict[int, list[str]] = {}
        with translated():
            for line, job_id in self._db.execute(query, (file, lines[0], lines[-1])):
                found.setdefault(line, []).append(job_id)
        return found

    def files_of(self, ids: Sequence[str]) -> dict[str, str]:
        """The file that each of these jobs stands in."""
        return dict(among(self._db, "SELECT id, file FROM place", ids))
