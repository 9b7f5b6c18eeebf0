"""When the next request may start: pauses that don't end in a herd, and so many requests a minute. Pure."""

from __future__ import annotations

import math
from typing import Final

__all__ = ["Gate", "MinutePace"]

_SPREAD: Final = 0.25
"""share of a pause over which those who waited for its end set off"""
_SHORTEST_SPREAD_S: Final = 1.0
_LONGEST_SPREAD_S: Final = 10.0

_WINDOW_S: Final = 60.0
_LATE_S: Final = 0.5
"""a start that comes late by up to this is caught up with; paid for with 0.8 % of the rate"""


class Gate:
    """Keeps starts off for a time, then lets them set off one by one. ``now`` is monotonic seconds.

    Attributes:
        opens_at: the earliest moment of the next start.
    """

    def __init__(self) -> None:
        self.opens_at = -math.inf
        self._setting_off = 0
        self._gap_s = 0.0
        self._scout_s = 0.0
        self._scouting = False

    def set_off(self, starts: int, over_s: float) -> None:
        """Let the next ``starts`` go one by one, over so many seconds; what comes after them is free."""
        self._setting_off = starts
        self._gap_s = over_s / starts if starts > 1 else 0.0
        self._scout_s = 0.0
        self._scouting = False

    def shut(self, now: float, until: float, starts: int, *, scout_s: float = 0.0) -> bool:
        """Let nothing start before ``until``, and then ``starts`` one by one. False if it stays shut longer anyway.

        Args:
            now: monotonic seconds.
            until: likewise.
            starts: how many set off one by one.
            scout_s: seconds for which the first of them stays the only one.
        """
        if until <= max(now, self.opens_at):
            return False
        self.opens_at = until
        self.set_off(starts, min(max((until - now) * _SPREAD, _SHORTEST_SPREAD_S), _LONGEST_SPREAD_S))
        self._scout_s = scout_s
        return True

    def started(self, now: float) -> None:
        """A request was started."""
        self._scouting = False
        if self._setting_off == 0:
            return
        self._setting_off -= 1
        wait = max(self._gap_s, self._scout_s)
        self._scouting = self._scout_s > 0.0
        self._scout_s = 0.0
        self.opens_at = max(self.opens_at, now + wait)

    def scout_is_back(self, now: float) -> None:
        """What was sent ahead was accepted: the others may follow."""
        if self._scouting:
            self._scouting = False
            self.opens_at = min(self.opens_at, now)


class MinutePace:
    """Never more than ``rpm`` starts in any 60 s (half-open), whatever came before. ``now`` is monotonic seconds.

    A leaky bucket (GCRA): each start moves the due time of the next by T = (60 + late) / rpm, and one may come at most
    ``late`` before it is due. If k starts fall into one window, the last came at least (k - 1) T - late after the
    first, so (k - 1) T < 60 + late = rpm T, and k ≤ rpm. After idling there is no burst beyond ``late``.

    Attributes:
        opens_at: the earliest moment of the next start.
    """

    def __init__(self, rpm: int) -> None:
        # the last factor keeps rounding on the safe side
        self._interval_s = (_WINDOW_S + _LATE_S) / rpm * (1.0 + 1e-9)
        self._due_at = -math.inf
        self.opens_at = -math.inf

    def started(self, now: float) -> None:
        """A request was started."""
        self._due_at = max(self._due_at, now) + self._interval_s
        self.opens_at = self._due_at - _LATE_S
