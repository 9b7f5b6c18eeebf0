"""``events.jsonl`` in a few hundred numbers, however long it is: rate, limit, spend, latency and URL age."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
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
        self._series: dict[str, Counter[int]] = {name: Counter() for name in ("stored", "failed", "refused", "limited")}
        self._paid: dict[str, Counter[int]] = {}
        self._usd: defaultdict[int, float] = defaultdict(float)
        self._limits: dict[int, int] = {}
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
            prices: what an image cost, mean USD by model, for events of old, which don't tell.
        """
        bins = 1 + max((max(series) for series in (*self._counted(), self._limits) if series), default=-1)
        spent = [self._usd.get(place, 0.0) for place in range(bins)]
        for model, paid in self._paid.items():
            for place, count in paid.items():
                spent[place] += count * prices.get(model, 0.0)
        return {
            "bin_s": self._width,
            **{name: [series[place] for place in range(bins)] for name, series in self._series.items()},
            "limit": self._limits_over(bins),
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
        if name == "limit.changed":
            self._at_now()
            self._limits[self._place()] = int(event["limit"])
        elif name.startswith("job."):
            self._take_job(event, name, at)

    def _take_job(self, event: dict[str, Any], name: str, at: float) -> None:
        job = event.get("job_id", "")
        if name == "job.submitted":
            if len(self._open) < _MOST_OPEN:
                self._open[job] = (at, str(event["model"]))
        elif name == "job.granted":
            self._answered(job, at, paid=True, usd=event.get("usd"))
        elif name == "job.stored":
            self._answered(job, at, paid=True, usd=event.get("usd"))
            self._count(self._series["stored"])
            age = event["stored"].get("url_age_s")
            if age is not None:
                self._age[_place(age)] += 1
        elif name in ("job.requeued", "job.failed"):
            self._answered(job, at, paid=event.get("charge") == "charged", usd=event.get("usd"))
            self._count(self._series["failed" if name == "job.failed" else "refused"])
            if event.get("reason") == "rate_limited":
                self._count(self._series["limited"])

    def _answered(self, job: str, at: float, *, paid: bool, usd: float | None) -> None:
        """The first word on a request ends it."""
        sent = self._open.pop(job, None)
        if sent is None:
            return
        begun, model = sent
        if not paid:
            return
        self._latency[_place(at - begun)] += 1
        if usd is None:
            self._count(self._paid.setdefault(model, Counter()))
        else:
            self._at_now()
            self._usd[self._place()] += usd

    def _count(self, series: Counter[int]) -> None:
        self._at_now()
        series[self._place()] += 1

    def _place(self) -> int:
        return int(self._last / self._width)

    def _at_now(self) -> None:
        """Make the bins as wide as it takes for the present moment to be in one."""
        while self._last >= self._width * _MOST_BINS:
            self._width *= 2
            for series in self._counted():
                _halve(series)
            self._limits = {place // 2: limit for place, limit in sorted(self._limits.items())}

    def _counted(self) -> list[dict[int, Any]]:
        return [*self._series.values(), *self._paid.values(), self._usd]

    def _limits_over(self, bins: int) -> list[int | None]:
        """The limit at the end of each bin; None before the first that was told."""
        limits: list[int | None] = []
        for place in range(bins):
            limits.append(self._limits.get(place, limits[-1] if limits else None))
        return limits


def _halve(series: dict[int, Any]) -> None:
    merged: defaultdict[int, Any] = defaultdict(int)
    for place, amount in series.items():
        merged[place // 2] += amount
    series.clear()
    series.update(merged)


def _place(seconds: float) -> int:
    return max(0, bisect_right(_EDGES, seconds) - 1)
