"""What to do after a result could not be fetched."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

__all__ = ["LATE_TRIES", "Outlook", "outlook"]

LATE_TRIES: Final = 3
"""tries past the deadline before a host that only doesn't answer is given up for this run"""


class Outlook(StrEnum):
    """What a failed try leaves."""

    AGAIN = "again"
    EXPIRED = "expired"
    """the host refuses, past the deadline: the image is lost"""
    GIVE_UP = "give_up"
    """the host doesn't answer, past the deadline: failed for now, the URL stays on record"""


def outlook(*, refused: bool, now: float, deadline: float, late_tries: int) -> Outlook:
    """What follows a failed try. Only the host's word past the deadline makes a lease expired.

    Args:
        refused: the host said 403, 404 or 410.
        now: epoch seconds.
        deadline: likewise.
        late_tries: tries that ended past the deadline, this one included.
    """
    if now < deadline:
        return Outlook.AGAIN
    if refused:
        return Outlook.EXPIRED
    return Outlook.GIVE_UP if late_tries >= LATE_TRIES else Outlook.AGAIN
