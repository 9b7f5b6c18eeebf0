"""Money: reserved before a request is sent, settled when its charge is known."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

from fluxbatch.model.state import Charge

if TYPE_CHECKING:
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
    """A cap in USD that no request goes beyond. Maybe-billed counts as spent; ``cap`` None sets none."""

    def __init__(self, cap: float | None) -> None:
        self._cap = cap
        self._carried = 0.0
        self._spent = 0.0
        self._reserved = 0.0

    def carry(self, usd: float) -> None:
        """Count what unfinished runs before this one have spent."""
        self._carried += usd

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

    def room(self, usd: float) -> Room:
        """Whether a request of this price may be sent."""
        settled = self._carried + self._spent + usd
        if self._cap is None or settled + self._reserved <= self._cap + _CENT_FRACTION:
            return Room.YES
        if settled <= self._cap + _CENT_FRACTION:
            return Room.WAIT
        return Room.NO

    def reserve(self, usd: float) -> None:
        """A request of this price is about to be sent."""
        self._reserved += usd

    def settle(self, usd: float, charge: Charge) -> None:
        """The request that reserved ``usd`` has ended with this charge."""
        self._reserved = max(0.0, self._reserved - usd)
        if charge is not Charge.NONE:
            self._spent += usd


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
