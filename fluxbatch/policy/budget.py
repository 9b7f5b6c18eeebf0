"""Money: reserved before a request is sent, settled when its charge is known."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

from fluxbatch.model.state import Charge
from fluxbatch.policy.allowance import QUARTER_S, spent_since

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fluxbatch.model.summary import Stop
    from fluxbatch.policy.allowance import Allowance
    from fluxbatch.ports import RunRow

__all__ = ["Budget", "Room", "carried_over"]

_THROUGH: Final = (0, 1)
"""exit codes of a run that went through, whatever became of its jobs"""

_CENT_FRACTION = 1e-9
"""sums of prices are no exact decimals; this is far below any price"""


class Room(StrEnum):
    """Whether a price fits."""

    YES = "yes"
    WAIT = "wait"
    """not now, but what is reserved may yet come free"""
    NO = "no"


class Budget:
    """A cap in USD, and what is allowed in a period: no request goes beyond either. Maybe-billed counts as spent.

    ``now`` is epoch seconds. ``cap`` and ``allowance`` None set none.
    """

    def __init__(self, cap: float | None, allowance: Allowance | None = None) -> None:
        self._cap = cap
        self._allowance = allowance
        self._earlier: tuple[float, float] = (0.0, 0.0)
        self._spent_at: dict[int, float] = {}
        self._carried = 0.0
        self._spent = 0.0
        self._reserved = 0.0

    def carry(self, usd: float) -> None:
        """Count what unfinished runs before this one have spent."""
        self._carried += usd

    def recall(self, runs: Sequence[RunRow], now: float) -> None:
        """Count against the allowance what runs have spent in this period, this one so far included."""
        if self._allowance is not None:
            begun = self._allowance.begins(now)
            self._earlier = begun, spent_since(runs, begun)

    @property
    def allowance(self) -> Allowance | None:
        """What is allowed in a period."""
        return self._allowance

    @property
    def spent_at(self) -> Mapping[int, float]:
        """USD billed or maybe billed by this run, by quarter of an hour since the epoch."""
        return self._spent_at

    @property
    def carried(self) -> float:
        """USD that came with ``carry``."""
        return self._carried

    @property
    def spent(self) -> float:
        """USD billed or maybe billed by this run."""
        return self._spent

    @property
    def reserved(self) -> float:
        """USD of the requests in flight."""
        return self._reserved

    def room(self, usd: float, now: float = 0.0) -> Room:
        """Whether a request of this price may be sent."""
        found = self._room(self._carried + self._spent + usd, self._cap)
        if self._allowance is None or found is Room.NO:
            return found
        allowed = self._room(self.spent_in_period(now) + usd, self._allowance.usd)
        return allowed if found is Room.YES or allowed is Room.NO else found

    def spent_in_period(self, now: float) -> float:
        """USD billed or maybe billed in the present period of the allowance, by this run and those before it."""
        if self._allowance is None:
            return 0.0
        begun = self._allowance.begins(now)
        # also if the clock was put back, over the beginning of a period
        earlier = self._earlier[1] if begun <= self._earlier[0] else 0.0
        return earlier + sum(usd for quarter, usd in self._spent_at.items() if quarter * QUARTER_S >= begun)

    def period_stop(self, usd: float, now: float) -> Stop | None:
        """Why nothing is sent, if it is the allowance that a request of this price would go beyond."""
        if self._allowance is None:
            return None
        spent = self.spent_in_period(now)
        return None if spent + usd <= self._allowance.usd + _CENT_FRACTION else self._allowance.stop(now, spent)

    def _room(self, settled: float, cap: float | None) -> Room:
        if cap is None or settled + self._reserved <= cap + _CENT_FRACTION:
            return Room.YES
        return Room.WAIT if settled <= cap + _CENT_FRACTION else Room.NO

    def reserve(self, usd: float) -> None:
        """A request of this price is about to be sent."""
        self._reserved += usd

    def settle(self, usd: float, charge: Charge, now: float = 0.0) -> None:
        """The request that reserved ``usd`` has ended with this charge."""
        self._reserved = max(0.0, self._reserved - usd)
        if charge is not Charge.NONE and usd:
            self._spent += usd
            quarter = int(now // QUARTER_S)
            self._spent_at[quarter] = self._spent_at.get(quarter, 0.0) + usd


def carried_over(previous: RunRow | None) -> float:
    """USD that a run carries over from the one before it: all that was spent since a run last went through.

    A run that was killed, stopped early or called off leaves work, and its command is given again: a cap that began
    anew each time would be none. Nor does a run go through that was narrowed, with work left out of it.
    """
    if previous is None:
        return 0.0
    facts = previous.summary or {}
    through = facts.get("exit_code") in _THROUGH and not facts.get("narrowed")
    return 0.0 if through else previous.carried_usd + previous.spent_usd
