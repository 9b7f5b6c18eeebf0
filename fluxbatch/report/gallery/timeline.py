"""``events.jsonl`` in a few hundred numbers, however long it is: rate, spend, latency and URL age."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["Timeline"]

_MOST_BINS: Final = 120
_MOST_OPEN: Final = 20_000
_EDGES: Final = (0, 0.1, 0.2, 0.5, 1, 2, 3, 5, 7, 10, 15, 20, 30, 45, 60, 90, 120, 180, 240, 300, 360, 480, 600)
"""seconds; the last bin has no upper edge"""


class Timeline:
    """Adds events up as they come. Time counts while a run goes on: the nights between runs are left out."""

    def __init__(self) -> None:
        self._width = 1.0
        self._series: dict[str, Counter[int]] = {"stored": Counter(), "failed": Counter(), "refused": Counter()}
        self._paid: dict[str, Counter[int]] = {}
        self._latency = [0] * len(_EDGES)
        self._age = [0] * len(_EDGES)
        self._open: dict[str, tuple[float, str]] = {}
        self._origin: float | None = None
        self._last = 0.0

    def read(self, lines: Iterable[bytes]) -> None:
        """Take lines of the file; one that is torn is passed over."""
        for line in lines:
            try:
                event = orjson.loads(line)
                at = datetime.fromisoformat(event["at"]).timestamp()
                self._take(event, event["event"], at)
            except (ValueError, KeyError, TypeError, AttributeError):
                continue

    def as_dict(self, prices: Mapping[str, float]) -> dict[str, Any]:
        """For the page.

        Args:
            prices: what an image cost, mean USD by model; the events don't tell.
        """
        bins = 1 + max((max(series) for series in (*self._series.values(), *self._paid.values()) if series), default=-1)
        spent = [0.0] * bins
        for model, paid in self._paid.items():
            for place, count in paid.items():
                spent[place] += count * prices.get(model, 0.0)
        return {
            "bin_s": self._width,
            **{name: [series[place] for place in range(bins)] for name, series in self._series.items()},
            "spent_usd": [round(usd, 6) for usd in spent],
            "edges_s": list(_EDGES),
            "latency": self._latency,
            "url_age": self._age,
        }

    def _take(self, event: dict[str, Any], name: str, at: float) -> None:
        if self._origin is None:
            self._origin = at
        elif name == "run.started":
            self._origin += max(0.0, at - self._origin - self._last)
            self._open.clear()
        self._last = max(self._last, at - self._origin)
        job = event.get("job_id", "")
        if name == "job.submitted":
            if len(self._open) < _MOST_OPEN:
                self._open[job] = (at, str(event["model"]))
        elif name == "job.granted":
            self._answered(job, at, paid=True)
        elif name == "job.stored":
            self._answered(job, at, paid=True)
            self._count(self._series["stored"])
            age = event["stored"].get("url_age_s")
            if age is not None:
                self._age[_place(age)] += 1
        elif name in ("job.requeued", "job.failed"):
            self._answered(job, at, paid=event.get("charge") == "charged")
            self._count(self._series["failed" if name == "job.failed" else "refused"])

    def _answered(self, job: str, at: float, *, paid: bool) -> None:
        """The first word on a request ends it."""
        sent = self._open.pop(job, None)
        if sent is None:
            return
        begun, model = sent
        if paid:
            self._latency[_place(at - begun)] += 1
            self._count(self._paid.setdefault(model, Counter()))

    def _count(self, series: Counter[int]) -> None:
        while self._last >= self._width * _MOST_BINS:
            self._width *= 2
            for one in (*self._series.values(), *self._paid.values()):
                merged: Counter[int] = Counter()
                for place, count in one.items():
                    merged[place // 2] += count
                one.clear()
                one.update(merged)
        series[int(self._last / self._width)] += 1


def _place(seconds: float) -> int:
    return max(0, bisect_right(_EDGES, seconds) - 1)
