"""How late the event loop comes to what is due while fluxbatch works in it, and the memory of the process."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Final

from benchmarks.figures import MB, Spread
from benchmarks.measure import measure
from benchmarks.peers.task import AHEAD
from benchmarks.rounds import check, empty, task_of
from benchmarks.serving import serving
from benchmarks.tables import Section, shown

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchmarks.rounds import Ground
    from benchmarks.workloads import Extent, Workload

_IDLE: Final = "an idle loop"
_TRIES: Final = 4
"""jobs of text ahead, by slot"""


@dataclass(frozen=True, slots=True)
class Look:
    """One run. Lateness in ms; ``before``: while it plans."""

    before_max: float
    p50: float
    p99: float
    longest: float
    peak_mb: float
    in_flight: float


@dataclass(frozen=True, slots=True)
class Line:
    workload: str
    p50_ms: Spread
    p99_ms: Spread
    max_ms: Spread
    before_max_ms: Spread
    peak_mb: Spread
    in_flight: Spread

    @classmethod
    def of(cls, workload: str, looks: Sequence[Look]) -> Line:
        return cls(
            workload,
            Spread.of(look.p50 for look in looks),
            Spread.of(look.p99 for look in looks),
            Spread.of(look.longest for look in looks),
            Spread.of(look.before_max for look in looks),
            Spread.of(look.peak_mb for look in looks),
            Spread.of(look.in_flight for look in looks),
        )


def lag(extent: Extent, rounds: int, ground: Ground) -> Section:
    looks: dict[str, list[Look]] = {_IDLE: []}
    for _ in range(rounds):
        looks[_IDLE].append(_looked("idle", ground.new_folder(), ground))
        for workload in extent.lag:
            if workload.fits_here:
                looks.setdefault(workload.name, []).append(_watched(workload, ground))
    lines = [Line.of(name, found) for name, found in looks.items()]
    rows = [
        [
            one.workload,
            *(shown(spread) for spread in (one.p50_ms, one.p99_ms, one.max_ms, one.before_max_ms)),
            shown(one.peak_mb, 0),
            shown(one.in_flight, 0),
        ]
        for one in lines
    ]
    return Section(
        "lag",
        "lateness of the event loop (fluxbatch.arun, looked at every 5 ms)",
        ["workload", "p50 ms", "p99 ms", "max ms", "max ms before", "peak MB", "most in flight"],
        rows,
        list(map(asdict, lines)),
        "Until the last image, once jobs of text have let it use all slots; before: while it plans.",
        words=1,
    )


def _watched(workload: Workload, ground: Ground) -> Look:
    """A run in a loop that is watched once jobs of text, ahead of the others, have let it climb to all its slots."""
    folder = ground.new_folder()
    out = folder / "out"
    out.mkdir()
    ahead = replace(workload, photos=0, jobs=workload.slots * _TRIES)
    with serving(ground.images.get(workload.image), workload.latency_ms) as server:
        task = task_of(workload, server, out, ground.photos)
        for job in (first := task_of(ahead, server, out, ground.photos)["jobs"]):
            job["id"] = f"{AHEAD}{job['id']}"
        task["jobs"] = [*first, *task["jobs"]]
        (folder / "task.json").write_text(json.dumps(task), encoding="utf-8")
        look = _looked("lag", folder, ground, workload.seconds)
        check(task, server.counts(), ground.images.get(workload.image), posts=len(task["jobs"]))
    empty(folder)
    ground.tell(f"lag: {workload.name}, p99 {look.p99:.2f} ms, peak {look.peak_mb:.0f} MB")
    return look


def _looked(probe: str, folder: Path, ground: Ground, seconds: int = 60) -> Look:
    usage = measure(
        [sys.executable, "-m", f"benchmarks.probes.{probe}", str(folder / "task.json")],
        tree=ground.tree,
        folder=folder,
        environment={"XDG_CACHE_HOME": str(folder / "cache")},
        seconds=seconds,
    )
    notes = json.loads((folder / "lag.json").read_text(encoding="ascii"))
    during = sorted(1000 * late for late in notes["during_s"])
    return Look(
        before_max=1000 * max(notes["before_s"]),
        p50=during[len(during) // 2],
        p99=during[int(len(during) * 0.99)],
        longest=during[-1],
        peak_mb=usage.peak_bytes / MB,
        in_flight=notes["most_in_flight"],
    )
