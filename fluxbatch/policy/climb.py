"""How a limit that nobody tells is climbed up to: quickly where nothing speaks against it, carefully below a wall."""

from __future__ import annotations

import math
from typing import Final

from fluxbatch.model.limits import LimitCause

__all__ = ["Climb"]

FIRST_LIMIT: Final = 4
_PROBE_ENDS: Final = 8
"""least ends that got through before the first probe"""
_FAILS_CAP: Final = 8
_RAREST_PROBE_ROUNDS: Final = 32
"""rounds of full use after which there is another probe, however many were refused: 5 minutes of 10 s requests"""
_RAREST_PROBE_ENDS: Final = 64
"""likewise at least so many ends, so that no more than 1 in 64 requests is a refused probe"""
_PAUSES_APART: Final = 20.0
"""a probe whose refusal costs a pause waits for so many times that pause: at most 5 % of the time"""
_LONGEST_WAIT_S: Final = 600.0


class Climb:
    """A limit between 1 and a ceiling. ``now`` is monotonic seconds.

    Attributes:
        limit: where it stands.
        wall: the lowest limit that is known to be too high; None if there is none. At the wall, a probe is under way.
        ceiling: it never goes beyond.
        cause: what changed it last.
    """

    def __init__(self, ceiling: int, learned: int | None = None) -> None:
        self.ceiling = max(1, ceiling)
        self.cause = LimitCause.START
        known = learned is not None and learned > 0
        self.limit = min(learned if learned is not None and known else FIRST_LIMIT, self.ceiling)
        self.wall = self.limit + 1 if known and self.limit < self.ceiling else None
        self._slow = False
        self._dull = 0
        self._credit = 0
        self._fails = 0
        self._probe_at = -math.inf
        self._undo: tuple[int, int | None] | None = None

    @property
    def at_wall(self) -> bool:
        """Whether a probe is under way."""
        return self.wall is not None and self.limit >= self.wall

    def grow(self, now: float) -> None:
        """A request that was begun before the limit was last used in full got through."""
        if self._dull:
            self._dull -= 1
            return
        if self.limit >= self.ceiling or self.at_wall:
            return
        self._credit += 1
        if self.wall is not None and self.limit == self.wall - 1:
            go = self._credit >= self._probe_ends() and now >= self._probe_at
        else:
            go = not self._slow or self._credit >= self.limit
        if go:
            self._credit = 0
            probes = self.wall is not None and self.limit + 1 >= self.wall
            self._set(self.limit + 1, LimitCause.PROBE if probes else LimitCause.GROWTH)

    def rest(self) -> None:
        """The API is in trouble: no growth for a round."""
        self._dull = self.limit

    def probe_passed(self) -> None:
        """The wall is not there any more."""
        self.wall, self._fails, self._slow = None, 0, False

    def fall_below(self, rank: int, *, least: int = 1) -> None:
        """A request of this rank was one too many: exact evidence, and so a wall."""
        self._remember()
        if self.wall is not None and rank >= self.wall:
            self._fails = min(self._fails + 1, _FAILS_CAP)
        self._set(max(1, least, min(self.limit, rank - 1)), LimitCause.REFUSED)
        self.wall, self._slow = self.limit + 1, False

    def ease(self, share: float) -> None:
        """Only this share gets through, and not for its rank: no wall, but a reason to go down, and slowly up."""
        self._remember()
        self._set(max(1, int(self.limit * share + 0.5)), LimitCause.REFUSED)
        self.wall, self._slow = None, True

    def confirm(self) -> None:
        """What the limit fell to works."""
        self._undo = None

    def undo(self) -> None:
        """The falls since the last confirmation were no remedy: back to before them."""
        if self._undo is not None:
            limit, self.wall = self._undo
            self._set(limit, LimitCause.UNDONE)

    def costs(self, now: float, pause_s: float) -> None:
        """A refused probe costs a pause, and so they are rarer."""
        wait = _PAUSES_APART * pause_s
        self._probe_at = now + min(wait * 2.0**self._fails, max(wait, _LONGEST_WAIT_S))

    def _set(self, limit: int, cause: LimitCause) -> None:
        if limit != self.limit:
            self.limit, self.cause = limit, cause

    def _remember(self) -> None:
        if self._undo is None:
            self._undo = (self.limit, self.wall)

    def _probe_ends(self) -> int:
        wanted = max(_PROBE_ENDS, self.limit) << self._fails
        return min(wanted, max(_RAREST_PROBE_ENDS, _RAREST_PROBE_ROUNDS * self.limit))
