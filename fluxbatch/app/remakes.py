"""The ``remakes.jsonl`` of one folder: what is asked of rejected images beyond their manifest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fluxbatch.adapters.disk.journal import Journal
from fluxbatch.planning.remakes import REMAKES_NAME, Remake, Remakes, remake_line, remake_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["RemakeFile"]


class RemakeFile:
    """Reads and appends. Its methods block, and raise as ``Journal``'s do."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / REMAKES_NAME
        self.remakes = Remakes()
        self._journal = Journal(self.path, remake_of)

    def refresh(self) -> None:
        """Take in what others asked for."""
        self._take_in(*self._journal.news())

    def append(self, remakes: Sequence[Remake]) -> None:
        """Write lines, durably."""

        def decide(anew: bool, news: list[Remake]) -> list[bytes]:
            self._take_in(anew, news)
            return [remake_line(remake) for remake in remakes]

        self._journal.append(decide)
        self.refresh()

    def _take_in(self, anew: bool, news: list[Remake]) -> None:
        if anew:
            self.remakes = Remakes()
        for remake in news:
            self.remakes.add(remake)
