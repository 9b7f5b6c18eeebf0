"""What a run appends to ``events.jsonl``, read on from where it was left."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import orjson

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Tail", "jobs_in"]

_MOST: Final = 4 << 20
"""bytes in one go"""
_CHANGED: Final = frozenset({"job.stored", "job.failed", "job.lost"})


class Tail:
    """Whole lines of a growing file. ``at_end``: only those that come after the first look.

    Old lines may be dropped from it meanwhile; what is left is not told again.
    """

    def __init__(self, path: Path, *, at_end: bool = False) -> None:
        self._path = path
        self._at = -1 if at_end else 0

    def news(self) -> list[bytes]:
        """Some of the lines that were not read yet. Blocks."""
        try:
            with self._path.open("rb") as file:
                end_of_file = file.seek(0, os.SEEK_END)
                if not 0 <= self._at <= end_of_file:
                    self._at = end_of_file
                file.seek(self._at)
                piece = file.read(_MOST)
        except OSError:
            self._at = max(0, self._at)
            return []
        whole, end, _ = piece.rpartition(b"\n")
        self._at += len(whole) + len(end)
        return whole.splitlines()


def jobs_in(lines: list[bytes]) -> tuple[set[str], bool]:
    """The jobs that changed in these events, and whether all may have, since a run began with another plan."""
    changed: set[str] = set()
    anew = False
    for line in lines:
        try:
            event = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue
        name = event.get("event") if isinstance(event, dict) else None
        if name in _CHANGED:
            changed.add(str(event.get("job_id")))
        anew = anew or name in {"run.started", "run.ended"}
    return changed, anew
