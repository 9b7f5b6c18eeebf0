"""From runs to figures: medians, and ratios within a round with their spread."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.contestants import FLOORS, OURS
from benchmarks.workloads import START_UP

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from benchmarks.measure import Usage
    from benchmarks.rounds import Run
    from benchmarks.workloads import Workload

MB = 1 << 20


@dataclass(frozen=True, slots=True)
class Spread:
    """Over rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        known = list(values)
        return cls(statistics.median(known), min(known), max(known)) if known else cls(*[math.nan] * 3)


@dataclass(frozen=True, slots=True)
class Cost:
    """Medians of one contestant.

    Attributes:
        per_job_ms: CPU beyond that of one job of text, by job; None where it is lost in the noise of the start-up.
        slot_mb: peak memory beyond that of one job of text, by request in flight.
        server_busy: share of the wall time that the server's processor was busy.
    """

    workload: str
    contestant: str
    cpu: Spread
    user_s: float
    sys_s: float
    peak: Spread
    wall: Spread
    per_job_ms: float | None
    slot_mb: float | None
    server_busy: float


@dataclass(frozen=True, slots=True)
class Ratio:
    """One contestant ÷ another, round by round. ``work``: CPU beyond start-up; None where there is none to speak of."""

    workload: str
    above: str
    below: str
    cpu: Spread
    user: Spread
    work: Spread | None
    peak: Spread
    wall: Spread


@dataclass(frozen=True, slots=True)
class Share:
    """Of the throughput that the API's latency allows: over the whole process, and without its start-up."""

    workload: str
    contestant: str
    whole: Spread
    beyond_start_up: Spread


class Figures:
    def __init__(self, runs: Sequence[Run], workloads: Sequence[Workload]) -> None:
        self._usages: dict[tuple[str, str], dict[int, Run]] = {}
        for run in runs:
            self._usages.setdefault((run.workload, run.contestant), {})[run.round] = run
        self._workloads = {one.name: one for one in workloads}

    def costs(self) -> list[Cost]:
        return [self._cost(workload, name) for workload, name in self._usages]

    def ratios(self) -> list[Ratio]:
        """A peer ÷ fluxbatch, and fluxbatch ÷ a floor."""
        return [
            self._ratio(workload, *((OURS, name) if name in FLOORS else (name, OURS)))
            for workload, name in self._usages
            if name != OURS
        ]

    def beside_ours(self) -> list[Ratio]:
        """Everyone ÷ fluxbatch."""
        return [self._ratio(workload, name, OURS) for workload, name in self._usages if name != OURS]

    def shares(self) -> list[Share]:
        return [self._share(workload, name) for workload, name in self._usages if self._workloads[workload].latency_ms]

    def _cost(self, workload: str, name: str) -> Cost:
        about = self._workloads[workload]
        runs = list(self._usages[workload, name].values())
        usages = [run.usage for run in runs]
        beyond = self._beyond(workload, name, lambda usage: usage.cpu_s)
        held = self._beyond(workload, name, lambda usage: usage.peak_bytes / MB)
        work_s = statistics.median(beyond.values()) if beyond else 0.0
        return Cost(
            workload=workload,
            contestant=name,
            cpu=Spread.of(usage.cpu_s for usage in usages),
            user_s=statistics.median(usage.user_s for usage in usages),
            sys_s=statistics.median(usage.sys_s for usage in usages),
            peak=Spread.of(usage.peak_bytes / MB for usage in usages),
            wall=Spread.of(usage.wall_s for usage in usages),
            per_job_ms=work_s / (about.jobs - 1) * 1000 if about.jobs > 1 and work_s > 0 else None,
            slot_mb=statistics.median(held.values()) / about.slots if held else None,
            server_busy=statistics.median(run.server.cpu_s / run.usage.wall_s for run in runs),
        )

    def _ratio(self, workload: str, above: str, below: str) -> Ratio:
        upper, lower = self._usages[workload, above], self._usages[workload, below]
        rounds = sorted(upper.keys() & lower.keys())

        def over(value: Callable[[Usage], float]) -> Spread:
            pairs = [(value(upper[number].usage), value(lower[number].usage)) for number in rounds]
            return Spread.of(one / other for one, other in pairs if other > 0)

        works = [self._beyond(workload, name, lambda usage: usage.cpu_s) for name in (above, below)]
        pairs = [(works[0].get(number, 0.0), works[1].get(number, 0.0)) for number in rounds]
        return Ratio(
            workload=workload,
            above=above,
            below=below,
            cpu=over(lambda usage: usage.cpu_s),
            user=over(lambda usage: usage.user_s),
            work=Spread.of(one / other for one, other in pairs) if all(min(pair) > 0 for pair in pairs) else None,
            peak=over(lambda usage: usage.peak_bytes),
            wall=over(lambda usage: usage.wall_s),
        )

    def _share(self, workload: str, name: str) -> Share:
        ideal_s = self._workloads[workload].ideal_s
        usages = [run.usage for run in self._usages[workload, name].values()]
        return Share(
            workload,
            name,
            Spread.of(ideal_s / usage.wall_s for usage in usages),
            Spread.of(ideal_s / wall_s for wall_s in self._beyond(workload, name, lambda usage: usage.wall_s).values()),
        )

    def _beyond(self, workload: str, name: str, value: Callable[[Usage], float]) -> dict[int, float]:
        """What is beyond one job of text, by round; nothing for those that have none."""
        start_ups = self._usages.get((START_UP.name, name), {})
        runs = self._usages[workload, name]
        return {
            number: value(runs[number].usage) - value(start_ups[number].usage)
            for number in runs.keys() & start_ups.keys()
        }
