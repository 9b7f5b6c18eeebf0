"""How many requests of one scope may be in flight, found out from what becomes of them. Pure.

A refusal of a request that was begun after the last reaction is a new *episode*, and brings one reaction:

- *cut*, as far as its rank says: with requests taken in order, the first one too many is the one after the limit;
- after two cuts without anything getting through, a *pause*: it isn't their number, or not alone (a used-up quota, a
  saturated upstream). If nothing gets through after the pause either, the cuts are undone.

Refusals of requests begun before are of the same episode. They lower the limit where they know better, no more.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from fluxbatch.policy.backoff import LONGEST_PAUSE_S
from fluxbatch.policy.climb import FIRST_LIMIT, Climb
from fluxbatch.policy.pace import Gate

if TYPE_CHECKING:
    from fluxbatch.model.limits import LimitCause

__all__ = ["Level"]

_PAUSES_S: Final = (5.0, 15.0, 20.0, 20.0, 45.0)
"""while nothing gets through: apiyi's 5, 15, 45, with steps between them at whose end a quota by the minute is back"""
_ASKED_PAUSES_S: Final = (0.0, 5.0, 15.0)
"""at least, likewise, where the API names a time: its word is trusted the less the more often it was wrong"""
_CUTS_IN_ROW: Final = 2
_APART_S: Final = 0.01
"""nothing starts for so long after a cut, so that what begins after it can be told by its time"""
_SCOUT_SHARE: Final = 1.5
"""of the time that a refusal took: for so long, what is sent first after it stays alone"""
_LONGEST_SCOUT_S: Final = 15.0
_LONGEST_SCOUT_AT_CUT_S: Final = 0.25
_SET_OFF_S: Final = 1.0
"""over which a learned limit is filled: it may be out of date"""
_GOOD_PRIOR: Final = 4
_GOOD_CAP: Final = 16
"""the share that gets through is guessed from the last round, or so many; at first as if 4 had"""


class Level:
    """The limit of one scope. ``now`` and ``begun`` are monotonic seconds; ranks count requests in flight, from 1.

    Attributes:
        in_flight: how many are.
        gate: whether time holds the next one back.
    """

    def __init__(self, ceiling: int, learned: int | None = None) -> None:
        self.in_flight = 0
        self.gate = Gate()
        self._climb = Climb(ceiling, learned)
        self._met_wall = self._climb.wall is not None
        if self.limit > FIRST_LIMIT:
            self.gate.set_off(self.limit, _SET_OFF_S)
        self._full_at = -math.inf
        self._probe_begun: float | None = None
        self._cuts = 0
        self._pauses = 0
        self._held = 0
        # the time before the last reaction, for latecomers
        self._before_at = -math.inf
        self._proof_before = _Proof()
        self._cut_last = False
        self._limit_before = self.limit
        self._late = 0
        # the time since
        self._reacted_at = -math.inf
        self._fresh = 0
        self._fresh_since = math.inf
        self._good = 0
        self._bad = 0
        self._proof = _Proof()

    @property
    def limit(self) -> int:
        """How many requests may be in flight."""
        return self._climb.limit

    @property
    def cause(self) -> LimitCause:
        """What changed the limit last."""
        return self._climb.cause

    @property
    def learned(self) -> int | None:
        """The limit to begin with next time; None if it is as it was at the beginning."""
        if self._climb.wall is not None and self._climb.at_wall:
            return self._climb.wall - 1
        known = self._met_wall or self.limit > FIRST_LIMIT or self.limit == self._climb.ceiling
        return self.limit if known else None

    def started(self, now: float) -> int:
        """A request was started. Returns its rank."""
        self.in_flight += 1
        if self._is_fresh(now):
            self._fresh += 1
            self._fresh_since = min(self._fresh_since, now)
        if self.in_flight >= self.limit:
            self._full_at = now
            if self._climb.at_wall and self._probe_begun is None:
                self._probe_begun = now
        self.gate.started(now)
        return self.in_flight

    def ended(self, begun: float, now: float) -> None:
        """A request gives its place back; what its end says was said before."""
        if self.in_flight >= self.limit:
            self._full_at = now
        if begun == self._probe_begun:
            self._probe_begun = None
        if self._is_fresh(begun):
            self._fresh -= 1
        self.in_flight -= 1

    def accepted(self, begun: float, rank: int, now: float) -> None:
        """A request got past the limits."""
        if self._is_fresh(begun):
            self._good = min(self._good + 1, max(_GOOD_CAP, self.limit))
            self._proof.add(begun, rank)
            self._cuts = self._pauses = 0
            self._climb.confirm()
            self.gate.scout_is_back(now)
            if begun == self._probe_begun and self._climb.wall is not None and rank >= self._climb.wall:
                self._climb.probe_passed()
        if self._full_at >= begun:
            self._climb.grow(now)

    def troubled(self) -> None:
        """A request ended in the API's trouble."""
        self._climb.rest()

    def refused(self, begun: float, rank: int, now: float, asked: float | None) -> float:
        """A request was one too many. Returns the seconds from now for which the level pauses on its account."""
        asked_s = min(asked, LONGEST_PAUSE_S) if asked is not None and asked > 0 else 0.0
        if not self._is_fresh(begun):
            return self._same_episode(begun, rank, now, asked_s)
        self._met_wall = True
        self._bad += 1
        if asked_s:
            self._climb.costs(now, asked_s)
        if self._is_about_number(begun, rank, now):
            return self._cut(begun, rank, now, asked_s)
        return self._doubt(begun, now, asked_s)

    def pause(self, now: float, seconds: float) -> None:
        """Start nothing for so long."""
        self.gate.shut(now, now + seconds, self.limit)

    def _is_fresh(self, begun: float) -> bool:
        return begun > self._reacted_at

    def _is_about_number(self, begun: float, rank: int, now: float) -> bool:
        """Whether fewer requests at a time may be the remedy."""
        if rank == 1 and self._good < _GOOD_PRIOR:
            return False
        # refusals come as quickly as this one: who has waited for twice as long is through
        waiting = self._fresh > 1 and self._fresh_since + 2 * (now - begun) <= now
        alone = self._fresh == self.in_flight  # nothing from before the reaction holds a place
        return self._cuts < _CUTS_IN_ROW or self._good > 0 or waiting or alone

    def _cut(self, begun: float, rank: int, now: float, asked_s: float) -> float:
        self._cuts += 1
        self._limit_before, self._late = self.limit, 0
        if self._proof.speaks_against(begun, rank):
            ends = self._good + _GOOD_PRIOR
            self._climb.ease(ends / (ends + self._bad))
        else:
            # what held until lately is not given up at once for one that came early, e.g. while setting off
            least = self.limit // 2 if self._held >= rank else 1
            self._climb.fall_below(rank, least=least)
        scout_s = min(_SCOUT_SHARE * (now - begun), _LONGEST_SCOUT_AT_CUT_S)
        self.gate.shut(now, now + _APART_S, max(1, self.limit - self.in_flight + 1), scout_s=scout_s)
        held = max(self._proof.rank, self._held)
        self._held = held if held <= self.limit else self._proof.rank
        self._react(now, cut=True)
        return self._shut(now, asked_s)

    def _doubt(self, begun: float, now: float, asked_s: float) -> float:
        self._pauses += 1
        if self._pauses > 1:
            self._climb.undo()
        pauses = _ASKED_PAUSES_S if asked_s else _PAUSES_S
        seconds = max(asked_s, pauses[min(self._pauses, len(pauses)) - 1])
        self._held = max(self._proof.rank, self._held)
        self._react(now, cut=False)
        return self._shut(now, seconds, scout_s=min(_SCOUT_SHARE * (now - begun), _LONGEST_SCOUT_S))

    def _same_episode(self, begun: float, rank: int, now: float, asked_s: float) -> float:
        knows = begun > self._before_at and not self._proof_before.speaks_against(begun, rank)
        if self._cut_last and knows and rank <= self.limit and self._held < rank:
            self._climb.fall_below(rank)
        self._late += 1
        if self._late > self._limit_before - self.limit:  # as many are no surprise, since the limit fell by so many
            self._bad += 1
        # counted from the reaction, so that a stream of these can't hold the level shut
        return self._shut(now, self._reacted_at + asked_s - now)

    def _react(self, now: float, *, cut: bool) -> None:
        self._before_at, self._proof_before, self._cut_last = self._reacted_at, self._proof, cut
        self._reacted_at = now
        self._fresh, self._fresh_since = 0, math.inf
        self._good, self._bad, self._proof = 0, 0, _Proof()

    def _shut(self, now: float, seconds: float, *, scout_s: float = 0.0) -> float:
        return seconds if self.gate.shut(now, now + seconds, self.limit, scout_s=scout_s) else 0.0


class _Proof:
    """The highest rank that got through, and when it was begun."""

    def __init__(self) -> None:
        self.rank = 0
        self._begun = math.inf

    def add(self, begun: float, rank: int) -> None:
        """One more got through."""
        if rank > self.rank or (rank == self.rank and begun < self._begun):
            self.rank, self._begun = rank, begun

    def speaks_against(self, begun: float, rank: int) -> bool:
        """Whether it is not this rank that was too much.

        What was begun after the refused request doesn't tell: that one was counted without holding a place.
        """
        return rank <= self.rank and begun > self._begun
