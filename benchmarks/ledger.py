"""What an event costs in the real ledger, durable on disk: many at a time, and one by one."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

from benchmarks.figures import Spread
from benchmarks.measure import measure
from benchmarks.tables import Section, shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.rounds import Ground
    from benchmarks.workloads import Extent

_STEPS: Final = 3
"""of each job: sent, granted, stored"""
_TOGETHER: Final = (512, 64)
_SECONDS: Final = 300


@dataclass(frozen=True, slots=True)
class Line:
    what: str
    count: int
    per_s: Spread
    cpu_us: Spread
    wall_us: Spread

    @classmethod
    def of(cls, what: str, count: int, taken: Sequence[dict[str, float]]) -> Line:
        return cls(
            what,
            count,
            Spread.of(count / one["wall_s"] for one in taken),
            Spread.of(one["cpu_s"] / count * 1e6 for one in taken),
            Spread.of(one["wall_s"] / count * 1e6 for one in taken),
        )


def ledger(extent: Extent, rounds: int, ground: Ground) -> Section:
    runs = dict.fromkeys(_TOGETHER, extent.events // _STEPS) | {1: extent.lone_events // _STEPS}
    notes: dict[int, list[dict[str, dict[str, float]]]] = {tasks: [] for tasks in runs}
    for _ in range(rounds):
        for tasks, jobs in runs.items():
            notes[tasks].append(_taken(jobs, tasks, ground))
    most = _TOGETHER[0]
    lines = [Line.of("rows enlisted, 500 at a time", runs[most], [one["enlist"] for one in notes[most]])]
    for tasks, jobs in runs.items():
        what = f"events, {tasks} tasks at a time" if tasks > 1 else "events, one by one"
        lines.append(Line.of(what, jobs * _STEPS, [one["advance"] for one in notes[tasks]]))
    rows = [
        [one.what, f"{one.count:,}", shown(one.per_s, 0), shown(one.cpu_us, 1), shown(one.wall_us, 1)] for one in lines
    ]
    head = ["", "count", "a second", "CPU µs each", "wall µs each"]
    return Section("ledger", "ledger", head, rows, list(map(asdict, lines)), words=1)


def _taken(jobs: int, tasks: int, ground: Ground) -> dict[str, dict[str, float]]:
    folder = ground.new_folder()
    measure(
        [sys.executable, "-m", "benchmarks.probes.ledger", str(folder), str(jobs), str(tasks)],
        tree=ground.tree,
        folder=folder,
        environment={},
        seconds=_SECONDS,
    )
    notes: dict[str, dict[str, float]] = json.loads((folder / "ledger.json").read_text(encoding="ascii"))
    ground.tell(f"ledger: {jobs} jobs, {tasks} at a time, {notes['advance']['wall_s']:.2f} s")
    return notes
