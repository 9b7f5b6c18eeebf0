"""Whether one more image may be ordered: never more than can be fetched while their URLs live, nor far ahead of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["Load", "may_order"]

_SAFE_SHARE: Final = 0.5
"""of a URL's life that may be planned with; the rest is for retries and slow hosts"""
_MOST_AHEAD: Final = 16
"""leases owed for each delivery slot: enough to keep it busy, and no more is held in memory or at stake than that"""


@dataclass(frozen=True, slots=True)
class Load:
    """What is under way.

    Attributes:
        in_flight: requests sent and not answered; each may turn into a lease any moment.
        owed: leases granted and not yet stored.
        slots: deliveries that run at a time.
        delivery_s: seconds that one delivery holds its slot, as seen lately.
        life_s: seconds that a result URL lives.
    """

    in_flight: int
    owed: int
    slots: int
    delivery_s: float
    life_s: float


def may_order(load: Load) -> bool:
    """Whether one more request may be sent.

    Always while all that is due, requests in flight included, leaves a delivery slot free (so it can neither deadlock
    nor starve); beyond that as long as it fits, with the new one, into the safe share of a URL's life at the speed seen
    lately, and what is paid for and not yet fetched is a few rounds of deliveries at most: ordering faster than that
    ends a run no earlier.
    """
    if load.owed + load.in_flight < load.slots:
        return True
    if load.owed >= load.slots * _MOST_AHEAD:
        return False
    due = load.owed + load.in_flight + 1
    return due * load.delivery_s / load.slots <= load.life_s * _SAFE_SHARE
