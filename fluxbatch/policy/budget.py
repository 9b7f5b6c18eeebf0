"""Money: reserved before a request is sent, settled when its charge is known."""

from __future__ import annotations

from enum import StrEnum

from fluxbatch.model.state import Charge

__all__ = ["Budget", "Room"]

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

    def __init__(self, cap: float | None, *, spent: float = 0.0) -> None:
        self._cap = cap
        self._spent = spent
        self._reserved = 0.0

    @property
    def spent(self) -> float:
        """USD billed or maybe billed."""
        return self._spent

    @property
    def reserved(self) -> float:
        """USD of the requests in flight."""
        return self._reserved

    def room(self, usd: float) -> Room:
        """Whether a request of this price may be sent."""
        if self._cap is None or self._spent + self._reserved + usd <= self._cap + _CENT_FRACTION:
            return Room.YES
        if self._spent + usd <= self._cap + _CENT_FRACTION:
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
