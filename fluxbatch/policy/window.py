"""The hours of the day in which something may be sent."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Final

from fluxbatch.errors import UsageError
from fluxbatch.model.summary import Stop

__all__ = ["Window", "zone_of"]

_HOURS: Final = re.compile(r"(\d{1,2}):(\d\d)\s*[-\u2013]\s*(\d{1,2}):(\d\d)")
_DAY: Final = 24 * 60
_MINUTE_S: Final = 60
_MOST_MINUTES: Final = 4 * _DAY
"""a clock that is put forward may leave out a window, but not on every day"""


def zone_of(name: str) -> tzinfo | None:
    """A time zone by name; None, which stands for that of this machine, if it is empty. Reads the system's list.

    Raises:
        UsageError: there is no such zone.
    """
    if not name:
        return None
    import zoneinfo  # half a dozen modules more, for the few who name a zone

    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        known = zoneinfo.available_timezones()
        near = difflib.get_close_matches(name, known, n=1)
        remedy = f"did you mean {near[0]!r}?" if near else "it looks like Asia/Shanghai"
        if not known:
            remedy = "this machine has no list of time zones: install its tzdata package"
        raise UsageError(f"--tz {name}: there is no such time zone", remedy=remedy) from None


@dataclass(frozen=True, slots=True)
class Window:
    """Open while the local clock shows a time from ``start`` (inclusive) to ``end`` (exclusive).

    What the clock shows is all that counts: an hour that is left out as clocks are put forward is not made up for, and
    one that comes twice counts twice. Moments are epoch seconds.

    Attributes:
        start, end: minutes of the day; ``end`` before ``start`` means the day after.
        zone: whose clock; None for this machine's.
    """

    start: int
    end: int
    zone: tzinfo | None = None

    @classmethod
    def of(cls, text: str, zone: tzinfo | None = None) -> Window:
        """From ``01:00-06:00``.

        Raises:
            UsageError: it is not of that form.
        """
        found = _HOURS.fullmatch(text.strip())
        hours, minutes = ([int(part) for part in found.groups()[n::2]] for n in (0, 1)) if found else ([], [])
        times = [hour * 60 + minute for hour, minute in zip(hours, minutes, strict=True)]
        if not found or max(minutes) > 59 or max(times) > _DAY or times[0] % _DAY == times[1] % _DAY:
            raise UsageError(f"--window {text}: these are no hours", remedy="write 01:00-06:00, or 22:00-06:00")
        return cls(times[0] % _DAY, times[1] % _DAY, zone)

    def is_open(self, now: float) -> bool:
        """Whether something may be sent."""
        local = datetime.fromtimestamp(now, self.zone)
        minute = local.hour * 60 + local.minute
        if self.start < self.end:
            return self.start <= minute < self.end
        return minute >= self.start or minute < self.end

    def changes_at(self, now: float) -> float:
        """When it closes, if it is open, and opens, if it is not."""
        was = self.is_open(now)
        # clocks differ from UTC by whole minutes: nothing changes in between
        moment = now - now % _MINUTE_S
        for _ in range(_MOST_MINUTES):
            moment += _MINUTE_S
            if self.is_open(moment) is not was:
                break
        return moment

    def local(self, moment: float) -> str:
        """A moment as the clock shows it, for people."""
        shown = datetime.fromtimestamp(moment, self.zone)
        place = f" ({self.zone})" if self.zone is not None else ""
        return f"{shown:%Y-%m-%d %H:%M}{place}"

    def wait(self, now: float) -> str:
        """How long it is until it changes, for people."""
        hours, minutes = divmod(round((self.changes_at(now) - now) / _MINUTE_S), 60)
        return f"{hours} h {minutes:02d} min"

    def stop(self, now: float) -> Stop:
        """Why nothing is sent while it is closed."""
        words = f"it is outside --window {self}, which opens at {self.local(self.changes_at(now))}"
        return Stop("window", f"{words}, in {self.wait(now)}", "run the same command again then, or --wait")

    def __str__(self) -> str:
        return "-".join(f"{minute // 60:02d}:{minute % 60:02d}" for minute in (self.start, self.end))
