"""What is asked of every contestant, and how much of the rest is measured."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Final, Literal

Size = Literal["smoke", "quick", "half", "full"]
SIZES: Final[tuple[Size, ...]] = ("smoke", "quick", "half", "full")
Group = Literal["start-up", "small jobs", "uploads", "downloads"]


@dataclass(frozen=True, slots=True)
class Workload:
    """Jobs alike.

    Attributes:
        photos: of each job, all different.
        kind: of its photos, as ``Photos`` knows them.
        image: what each job is answered with, as ``Images`` knows it.
        needs_mb: peak memory of the greediest contestant, about.
    """

    name: str
    group: Group
    jobs: int
    slots: int
    photos: int = 0
    kind: str = ""
    image: str = "100 KB"
    latency_ms: int = 0
    tls: bool = False
    model: str = "flux-2-pro"
    seconds: int = 300
    needs_mb: int = 0

    @property
    def fits_here(self) -> bool:
        """Whether this machine has twice the memory that it takes."""
        return 2 * self.needs_mb << 20 <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")

    @property
    def ideal_s(self) -> float:
        """Wall time if the client took none."""
        return self.jobs * self.latency_ms / 1000 / self.slots


@dataclass(frozen=True, slots=True)
class Extent:
    """How much is measured beside the peers.

    Attributes:
        helps: calls of ``--help`` in each round.
        growth: jobs of the runs whose peaks are compared.
        plan_jobs: of the catalogue that is planned.
        again_jobs: that are there, and looked at again.
        lag: workloads in which the event loop is watched.
        events: of the ledger in group commits.
        lone_events: of the ledger one by one.
    """

    helps: int
    growth: tuple[int, int]
    plan_jobs: int
    again_jobs: int
    lag: tuple[Workload, ...]
    events: int
    lone_events: int


START_UP: Final = Workload("start-up", "start-up", jobs=1, slots=1)
"""one job of text: what a process costs before it does any work"""
_SMALL: Final = Workload("small, 64 slots", "small jobs", jobs=2000, slots=64, photos=1, kind="60 KB")
_SMALL_WIDE: Final = replace(_SMALL, name="small, 256 slots", slots=256)
_SMALL_SLOW: Final = replace(_SMALL, name="small, 64 slots, 200 ms", latency_ms=200)
_SMALL_WIDE_SLOW: Final = replace(_SMALL_WIDE, name="small, 256 slots, 200 ms", jobs=4000, latency_ms=200)
_LARGE: Final = Workload("16 × (1 × 20 MB)", "uploads", jobs=16, slots=16, photos=1, kind="20 MB", needs_mb=2200)
_LARGE_TLS: Final = replace(_LARGE, name="16 × (1 × 20 MB), TLS", tls=True)
_HUGE: Final = Workload(
    "8 × (8 × 20 MB)",
    "uploads",
    jobs=8,
    slots=8,
    photos=8,
    kind="20 MB",
    model="flux-2-max",  # flux-2-pro takes 9 MP at most
    seconds=600,
    needs_mb=5000,
)
_HUGE_TLS: Final = replace(_HUGE, name="8 × (8 × 20 MB), TLS", tls=True, needs_mb=8200)
_SMALL_WIDEST_SLOW: Final = replace(_SMALL_WIDE_SLOW, name="small, 1,000 slots, 200 ms", slots=1000)
_GET_SMALL: Final = Workload("results of 100 KB", "downloads", jobs=1000, slots=16)
_GET: Final = Workload("results of 2 MB", "downloads", jobs=96, slots=16, image="2 MB")
_GET_LARGE: Final = Workload("results of 20 MB", "downloads", jobs=16, slots=8, image="20 MB")
_STREAM: Final = replace(_LARGE, name="64 × (1 × 20 MB), 16 slots", jobs=64)
_FLOOD: Final = replace(_HUGE, name="64 × (8 × 20 MB)", jobs=64, slots=64, latency_ms=200)

_LAGS: Final = (_STREAM, _FLOOD, _SMALL)
_UPLOADS: Final = (_LARGE, _LARGE_TLS, _HUGE, _HUGE_TLS)


def workloads(size: Size) -> list[Workload]:
    match size:
        case "full":
            small = [_SMALL, _SMALL_WIDE, _SMALL_SLOW, _SMALL_WIDE_SLOW]
            return [START_UP, *small, *_UPLOADS, _GET_SMALL, _GET, _GET_LARGE]
        case "half":
            small = [_of(_SMALL, 800), _of(_SMALL_WIDE, 800), _of(_SMALL_SLOW, 1200), _of(_SMALL_WIDE_SLOW, 2000)]
            return [START_UP, *small, *_UPLOADS, _of(_GET_SMALL, 400), _of(_GET, 48), _of(_GET_LARGE, 8)]
        case "quick":
            small = [_of(_SMALL, 96), _of(_SMALL_SLOW, 128), _of(_SMALL_WIDE_SLOW, 256)]
            uploads = [_narrow(_LARGE, 6), _narrow(_LARGE_TLS, 2), _narrow(_HUGE, 1)]
            return [START_UP, *small, *uploads, _of(_GET_SMALL, 64), _of(_GET, 12), _of(_GET_LARGE, 3)]
        case "smoke":
            upload = replace(_narrow(_LARGE_TLS, 2), name="2 × (1 × 60 KB), TLS", kind="60 KB", needs_mb=0)
            return [START_UP, _of(_narrow(_SMALL_SLOW, 2), 4), upload, _narrow(_GET_SMALL, 2)]


def extent(size: Size) -> Extent:
    lags = (replace(_narrow(_SMALL, 4), name="4 × (1 × 60 KB)"),)
    match size:
        case "full":
            return Extent(
                10, (2_000, 40_000), 200_000, 10_000, (*_LAGS, _SMALL_WIDE_SLOW, _SMALL_WIDEST_SLOW), 60_000, 900
            )
        case "half":
            wide = (_of(_SMALL_WIDE_SLOW, 2000), _SMALL_WIDEST_SLOW)
            return Extent(10, (2_000, 12_000), 100_000, 3_000, (*_LAGS, *wide), 30_000, 600)
        case "quick":
            return Extent(3, (500, 2_000), 10_000, 200, (_LARGE, _of(_SMALL, 256)), 6_000, 150)
        case "smoke":
            return Extent(1, (8, 24), 40, 8, lags, 60, 12)


def _of(workload: Workload, jobs: int) -> Workload:
    return replace(workload, jobs=jobs)


def _narrow(workload: Workload, jobs: int) -> Workload:
    """So many jobs, all at once, and named so."""
    name = workload.name.replace(f"{workload.jobs} × (", f"{jobs} × (", 1)
    name = name.replace(f"{workload.slots} slots", f"{jobs} slots")
    return replace(workload, name=name, jobs=jobs, slots=jobs)
