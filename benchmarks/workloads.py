"""What is asked of every contestant."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Final, Literal

Size = Literal["smoke", "quick", "full"]
SIZES: Final[tuple[Size, ...]] = ("smoke", "quick", "full")


@dataclass(frozen=True, slots=True)
class Workload:
    """Jobs alike.

    Attributes:
        photos: of each job, all different.
        kind: of its photos, as ``Photos`` knows them.
        needs_mb: peak memory of the greediest contestant, about.
    """

    name: str
    jobs: int
    slots: int
    photos: int = 0
    kind: str = ""
    latency_ms: int = 0
    model: str = "flux-2-pro"
    seconds: int = 120
    needs_mb: int = 0

    @property
    def fits_here(self) -> bool:
        """Whether this machine has twice the memory that it takes."""
        return 2 * self.needs_mb << 20 <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


START_UP: Final = Workload("start-up", jobs=1, slots=1)
"""one job of text: what a process costs before it does any work"""
_TEXT: Final = Workload("text", jobs=600, slots=64)
_TEXT_SLOW: Final = Workload("text, 200 ms", jobs=600, slots=64, latency_ms=200)
_SMALL: Final = Workload("1 × 60 KB", jobs=600, slots=64, photos=1, kind="60 KB")
_SMALL_SLOW: Final = Workload("1 × 60 KB, 200 ms", jobs=600, slots=64, photos=1, kind="60 KB", latency_ms=200)
_LARGE: Final = Workload("1 × 20 MB", jobs=16, slots=16, photos=1, kind="20 MB", needs_mb=2200)
_HUGE: Final = Workload(
    "8 × 20 MB",
    jobs=8,
    slots=8,
    photos=8,
    kind="20 MB",
    model="flux-2-max",  # flux-2-pro takes 9 MP at most
    seconds=300,
    needs_mb=4600,
)


def workloads(size: Size) -> list[Workload]:
    match size:
        case "full":
            return [START_UP, _TEXT, _TEXT_SLOW, _SMALL, _SMALL_SLOW, _LARGE, _HUGE]
        case "quick":
            return [START_UP, _TEXT, _SMALL_SLOW, _LARGE]
        case "smoke":
            return [START_UP, replace(_SMALL, jobs=4, slots=2)]
