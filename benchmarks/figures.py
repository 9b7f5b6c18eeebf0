"""From runs to figures: medians, and ratios within a round with their spread."""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.contestants import FLOOR, OURS
from benchmarks.workloads import START_UP

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from benchmarks.rounds import Run
    from benchmarks.workloads import Workload

_MB = 1 << 20


@dataclass(frozen=True, slots=True)
class Spread:
    """Over rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread | None:
        known = list(values)
        return cls(statistics.median(known), min(known), max(known)) if known else None


@dataclass(frozen=True, slots=True)
class Cost:
    """Medians of one contestant. ``per_job_ms``: CPU beyond that of one job of text, by job."""

    workload: str
    contestant: str
    cpu_s: float
    user_s: float
    sys_s: float
    peak_mb: float
    wall_s: float
    per_job_ms: float | None
    """None where it is lost in the noise of the start-up"""
    slot_mb: float
    server_busy: float
    """share of the wall time that the server's processor was busy"""


@dataclass(frozen=True, slots=True)
class Ratio:
    """One contestant ÷ another, round by round: a peer ÷ fluxbatch, and fluxbatch ÷ the floor."""

    workload: str
    above: str
    below: str
    cpu: Spread
    user: Spread
    work: Spread | None
    """CPU beyond start-up; None where there is none to speak of"""
    peak: Spread


class Figures:
    def __init__(self, runs: Sequence[Run], workloads: Sequence[Workload]) -> None:
        self._runs = {(run.workload, run.contestant, run.round): run for run in runs}
        self._workloads = [one for one in workloads if any(run.workload == one.name for run in runs)]
        self._contestants = list(dict.fromkeys(run.contestant for run in runs))
        self._rounds = sorted({run.round for run in runs})

    def costs(self) -> list[Cost]:
        return [self._cost(workload, name) for workload in self._workloads for name in self._contestants]

    def ratios(self) -> list[Ratio]:
        peers = [name for name in self._contestants if name != OURS]
        return [self._ratio(workload, name) for workload in self._workloads for name in peers]

    def as_dict(self) -> dict[str, Any]:
        return {"costs": list(map(asdict, self.costs())), "ratios": list(map(asdict, self.ratios()))}

    def _cost(self, workload: Workload, name: str) -> Cost:
        runs = [self._runs[workload.name, name, number] for number in self._rounds]

        def median(value: Callable[[Run], float]) -> float:
            return statistics.median(map(value, runs))

        beyond = statistics.median(self._work_s(workload.name, name, number) for number in self._rounds)
        peak = median(lambda run: run.usage.peak_bytes / _MB)
        idle = statistics.median(
            self._runs[START_UP.name, name, number].usage.peak_bytes / _MB for number in self._rounds
        )
        return Cost(
            workload=workload.name,
            contestant=name,
            cpu_s=median(lambda run: run.usage.cpu_s),
            user_s=median(lambda run: run.usage.user_s),
            sys_s=median(lambda run: run.usage.sys_s),
            peak_mb=peak,
            wall_s=median(lambda run: run.usage.wall_s),
            per_job_ms=beyond / (workload.jobs - 1) * 1000 if workload.jobs > 1 and beyond > 0 else None,
            slot_mb=(peak - idle) / workload.slots,
            server_busy=median(lambda run: run.server.cpu_s / run.usage.wall_s),
        )

    def _ratio(self, workload: Workload, peer: str) -> Ratio:
        above, below = (OURS, peer) if peer == FLOOR else (peer, OURS)

        def over(value: Callable[[str, int], float]) -> Spread:
            found = Spread.of(value(above, number) / value(below, number) for number in self._rounds)
            assert found is not None
            return found

        def run(name: str, number: int) -> Run:
            return self._runs[workload.name, name, number]

        def work(name: str, number: int) -> float:
            return self._work_s(workload.name, name, number)

        measurable = all(work(name, number) > 0 for name in (peer, OURS) for number in self._rounds)
        return Ratio(
            workload=workload.name,
            above=above,
            below=below,
            cpu=over(lambda name, number: run(name, number).usage.cpu_s),
            user=over(lambda name, number: run(name, number).usage.user_s),
            work=over(work) if measurable else None,
            peak=over(lambda name, number: run(name, number).usage.peak_bytes),
        )

    def _work_s(self, workload: str, name: str, number: int) -> float:
        """CPU beyond what one job takes, start-up included, in the same round."""
        start_up = self._runs[START_UP.name, name, number].usage
        return self._runs[workload, name, number].usage.cpu_s - start_up.cpu_s
