"""What may be spent in a day, a week or a month, whatever the number of runs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, cast

from fluxbatch.errors import UsageError
from fluxbatch.model.summary import Stop

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from fluxbatch.ports import RunRow

__all__ = ["QUARTER_S", "SPENT_AT", "Allowance", "spent_since"]

Period: TypeAlias = Literal["day", "week", "month"]

QUARTER_S: Final = 900
"""seconds; a day of any time zone begins with a quarter of an hour"""
SPENT_AT: Final = "spent_at"
"""in the account of a run: USD by quarter of an hour since the epoch"""

_TEXT: Final = re.compile(r"\$?\s*(\d+(?:\.\d+)?)\s*/\s*(day|week|month)")


@dataclass(frozen=True, slots=True)
class Allowance:
    """So many USD in each period of the calendar. Moments are epoch seconds.

    Attributes:
        usd: of a period.
        period: from midnight; a week from Monday.
        zone: whose calendar; None for this machine's.
    """

    usd: float
    period: Period
    zone: tzinfo | None = None

    @classmethod
    def of(cls, text: str, zone: tzinfo | None = None) -> Allowance:
        """From ``900/month``.

        Raises:
            UsageError: it is not of that form.
        """
        found = _TEXT.fullmatch(text.strip().lower())
        if not found:
            raise UsageError(f"--budget {text}: this is no budget", remedy="write 900/month, 200/week or 30/day")
        return cls(float(found[1]), cast("Period", found[2]), zone)

    def begins(self, now: float) -> float:
        """When the period of a moment began."""
        return self._midnight(self._first_day(now))

    def ends(self, now: float) -> float:
        """When the next one begins."""
        first = self._first_day(now)
        if self.period == "month":
            return self._midnight(date(first.year + first.month // 12, first.month % 12 + 1, 1))
        return self._midnight(first + timedelta(days=7 if self.period == "week" else 1))

    def words(self, now: float) -> str:
        """The period of a moment, for people."""
        begun = datetime.fromtimestamp(self.begins(now), self.zone)
        place = f" ({self.zone})" if self.zone is not None else ""
        return f"this {self.period}, since {begun:%Y-%m-%d}{place},"

    def stop(self, now: float, spent: float) -> Stop:
        """Why nothing is sent when the next image would go beyond."""
        ends = datetime.fromtimestamp(self.ends(now), self.zone)
        words = f"${spent:.2f} of the ${self.usd:.2f} of {self.words(now)} are spent"
        remedy = f"the next {self.period} begins at {ends:%Y-%m-%d %H:%M}; to go on before that, give a higher --budget"
        return Stop("budget", f"{words}; the next image would go beyond", remedy)

    def _first_day(self, now: float) -> date:
        today = datetime.fromtimestamp(now, self.zone).date()
        if self.period == "month":
            return today.replace(day=1)
        return today - timedelta(days=today.weekday()) if self.period == "week" else today

    def _midnight(self, day: date) -> float:
        # where clocks are put forward at midnight, this is the first moment after it
        return datetime(day.year, day.month, day.day, tzinfo=self.zone).timestamp()


def spent_since(runs: Iterable[RunRow], begun: float) -> float:
    """USD billed or maybe billed by these runs since a moment, epoch seconds.

    Of a run that was killed, it isn't known when it spent what it spent: all of it counts.
    """
    return sum(max(0.0, run.spent_usd - _before(run.summary or {}, begun)) for run in runs)


def _before(summary: Mapping[str, object], begun: float) -> float:
    spent_at = summary.get(SPENT_AT)
    if not isinstance(spent_at, dict):
        return 0.0
    return sum(float(usd) for quarter, usd in spent_at.items() if int(quarter) * QUARTER_S < begun)
