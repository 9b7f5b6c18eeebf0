"""Figures for people to read."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.figures import Cost, Ratio, Spread


def cost_table(costs: Sequence[Cost]) -> str:
    head = ["workload", "", "CPU s", "user", "sys", "ms/job", "peak MB", "MB/slot", "wall s", "server"]
    rows = [
        [
            cost.workload,
            cost.contestant,
            f"{cost.cpu_s:.2f}",
            f"{cost.user_s:.2f}",
            f"{cost.sys_s:.2f}",
            "" if cost.per_job_ms is None else f"{cost.per_job_ms:.2f}",
            f"{cost.peak_mb:.0f}",
            f"{cost.slot_mb:.2f}",
            f"{cost.wall_s:.2f}",
            f"{cost.server_busy:.0%}",
        ]
        for cost in costs
    ]
    return _table(head, rows)


def ratio_table(ratios: Sequence[Ratio]) -> str:
    head = ["workload", "", "CPU", "user CPU", "CPU beyond start-up", "peak memory"]
    rows = [
        [
            ratio.workload,
            f"{ratio.above} ÷ {ratio.below}",
            _shown(ratio.cpu),
            _shown(ratio.user),
            _shown(ratio.work),
            _shown(ratio.peak),
        ]
        for ratio in ratios
    ]
    return _table(head, rows)


def _shown(spread: Spread | None) -> str:
    if spread is None:
        return "-"
    if spread.low == spread.high:
        return f"{spread.median:.2f}"
    return f"{spread.median:.2f} ({spread.low:.2f} to {spread.high:.2f})"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(line[place]) for line in [head, *rows]) for place in range(len(head))]
    return "\n".join(_line(line, widths) for line in [head, *rows])


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    words = [
        cell.ljust(width) if place < 2 else cell.rjust(width)
        for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return "  ".join(words).rstrip()
