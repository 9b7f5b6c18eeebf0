"""Which jobs a run may touch: those that match, a sample of them, and what they need."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

from blake3 import blake3

from fluxbatch.planning.scratch import among, translated

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fluxbatch.planning.scratch import Scratch

__all__ = ["Choice"]

_WANTED: Final = "INSERT INTO chosen SELECT id FROM row WHERE is_wanted(id) ORDER BY by_chance(id) LIMIT ?"
_NEEDED: Final = """
INSERT OR IGNORE INTO chosen WITH RECURSIVE wanted(id) AS (
    SELECT id FROM chosen
    UNION
    SELECT need.upstream FROM wanted JOIN row ON row.id = wanted.id JOIN need ON need.position = row.position
) SELECT id FROM wanted
"""


class Choice:
    """The chosen of all rows of a scratch; without patterns and sample, all.

    Args:
        only: shell patterns of ids.
        sample: how many of them, at random.
        seed: the same one chooses the same jobs, whatever else there is.

    Attributes:
        narrow: not all are chosen.
        wanted: how many were chosen for their own sake.
    """

    def __init__(self, scratch: Scratch, *, only: Sequence[str], sample: int | None, seed: int) -> None:
        self._db = scratch.db
        self.narrow = bool(only) or sample is not None
        self.wanted = 0
        if not self.narrow:
            return

        def is_wanted(job_id: str) -> bool:
            return not only or any(fnmatchcase(job_id, pattern) for pattern in only)

        def by_chance(job_id: str) -> bytes:
            return b"" if sample is None else blake3(f"{seed}:{job_id}".encode()).digest(8)

        with translated():
            self._db.create_function("is_wanted", 1, is_wanted)
            self._db.create_function("by_chance", 1, by_chance)
            self._db.execute("CREATE TABLE chosen (id TEXT PRIMARY KEY) WITHOUT ROWID")
            self.wanted = self._db.execute(_WANTED, (-1 if sample is None else sample,)).rowcount
            self._db.execute(_NEEDED)

    def among(self, ids: Sequence[str]) -> set[str]:
        """Which of these are chosen."""
        if not self.narrow:
            return set(ids)
        return {key for (key,) in among(self._db, "SELECT id FROM chosen", ids)}
