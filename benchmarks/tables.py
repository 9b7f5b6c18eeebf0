"""Figures for people to read."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.figures import Figures, Spread

_NOTE: Final = """\
CPU is user + system time of the contestant's own process; ms/job and MB/slot are what is left of it after taking off
one job of text with the start-up of the process. Wall time is of a machine that does other things too; server is the
busy share of the server's one core. Every image of every run was compared byte for byte, and every job took one
request and one download (curl and aria2c: one download, no request)."""


@dataclass(frozen=True, slots=True)
class Section:
    """One table, and the same as ``facts`` for machines, under ``key``; the first ``words`` columns hold text."""

    key: str
    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    facts: Sequence[dict[str, Any]]
    note: str = ""
    words: int = 2

    def __str__(self) -> str:
        return "\n".join([f"== {self.title}", self._table(), *([self.note] if self.note else [])])

    def _table(self) -> str:
        widths = [max(len(line[place]) for line in [self.head, *self.rows]) for place in range(len(self.head))]
        return "\n".join(self._line(line, widths) for line in [self.head, *self.rows])

    def _line(self, cells: Sequence[str], widths: Sequence[int]) -> str:
        pairs = enumerate(zip(cells, widths, strict=True))
        padded = (cell.ljust(width) if place < self.words else cell.rjust(width) for place, (cell, width) in pairs)
        return "  ".join(padded).rstrip()


def shown(spread: Spread | None, digits: int = 2) -> str:
    if spread is None:
        return "-"
    if spread.low == spread.high:
        return f"{spread.median:.{digits}f}"
    return f"{spread.median:.{digits}f} ({spread.low:.{digits}f} to {spread.high:.{digits}f})"


def competition(figures: Figures) -> list[Section]:
    return [_ratios(figures), _shares(figures), _costs(figures)]


def _ratios(figures: Figures) -> Section:
    ratios = figures.ratios()
    rows = [
        [
            one.workload,
            f"{one.above} ÷ {one.below}",
            *(shown(spread) for spread in (one.cpu, one.user, one.work, one.peak, one.wall)),
        ]
        for one in ratios
    ]
    return Section(
        "ratios",
        "ratios",
        ["workload", "", "CPU", "user CPU", "CPU beyond start-up", "peak memory", "wall"],
        rows,
        list(map(asdict, ratios)),
        "Taken within a round; the median of the rounds, lowest to highest in brackets.",
    )


def _shares(figures: Figures) -> Section:
    shares = figures.shares()
    return Section(
        "shares",
        "share of the ideal throughput (jobs × latency ÷ slots)",
        ["workload", "", "whole process", "beyond start-up"],
        [[one.workload, one.contestant, shown(one.whole), shown(one.beyond_start_up)] for one in shares],
        list(map(asdict, shares)),
    )


def _costs(figures: Figures) -> Section:
    costs = figures.costs()
    rows = [
        [
            one.workload,
            one.contestant,
            shown(one.cpu),
            f"{one.user_s:.2f}",
            f"{one.sys_s:.2f}",
            "" if one.per_job_ms is None else f"{one.per_job_ms:.2f}",
            shown(one.peak, 0),
            "" if one.slot_mb is None else f"{one.slot_mb:.2f}",
            shown(one.wall),
            f"{one.server_busy:.0%}",
        ]
        for one in costs
    ]
    return Section(
        "costs",
        "costs",
        ["workload", "", "CPU s", "user", "sys", "ms/job", "peak MB", "MB/slot", "wall s", "server"],
        rows,
        list(map(asdict, costs)),
        _NOTE,
    )
