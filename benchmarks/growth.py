"""What more jobs take in memory: nothing, if nothing is kept of each."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from benchmarks.contestants import Product
from benchmarks.figures import MB, Spread
from benchmarks.rounds import once
from benchmarks.serving import serving
from benchmarks.tables import Section, shown
from benchmarks.workloads import Workload

if TYPE_CHECKING:
    from benchmarks.rounds import Ground
    from benchmarks.workloads import Extent

_SECONDS: Final = 1800
_MOST_ROUNDS: Final = 2
"""the larger run takes minutes"""


def growth(extent: Extent, rounds: int, ground: Ground) -> Section:
    peaks: dict[int, list[float]] = {jobs: [] for jobs in extent.growth}
    cpu: dict[int, list[float]] = {jobs: [] for jobs in extent.growth}
    for _ in range(min(rounds, _MOST_ROUNDS)):
        for jobs in extent.growth:
            one = Workload(f"{jobs} jobs", "small jobs", jobs, 64, 1, "12 KB", image="10 KB", seconds=_SECONDS)
            with serving(ground.images.get(one.image)) as server:  # a new one: the client remembers what it met
                usage, _counts = once(Product(), one, server, ground)
            peaks[jobs].append(usage.peak_bytes / MB)
            cpu[jobs].append(usage.cpu_s / jobs * 1000)
            ground.tell(f"growth: {jobs} jobs, {usage.cpu_s:.2f} s CPU")
    few, many = extent.growth
    grown = Spread.of(after - before for before, after in zip(peaks[few], peaks[many], strict=True))
    facts = [
        {"jobs": jobs, "peak_mb": asdict(Spread.of(peaks[jobs])), "ms_per_job": asdict(Spread.of(cpu[jobs]))}
        for jobs in extent.growth
    ]
    rows = [[f"{jobs:,} jobs", shown(Spread.of(peaks[jobs]), 1), shown(Spread.of(cpu[jobs]))] for jobs in extent.growth]
    rows.append(["growth", shown(grown, 1), ""])
    return Section(
        "growth",
        "memory growth (photos of 12 KB, all different; results of 10 KB; 64 slots)",
        ["", "peak MB", "CPU ms/job"],
        rows,
        [*facts, {"grown_mb": asdict(grown)}],
        words=1,
    )
