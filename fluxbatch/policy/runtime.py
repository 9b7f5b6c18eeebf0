"""When to stop sending so that what is under way still lands in time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from fluxbatch.policy.admission import Load

__all__ = ["drain_s"]

_ANSWER_MARGIN: Final = 1.25
_DELIVERY_MARGIN: Final = 1.1
"""what is slower at times than it was lately; a whole backlog is closer to its mean than a single answer"""


def drain_s(load: Load, answer_s: float) -> float:
    """Seconds until all that is under way has landed, one more request included.

    Args:
        load: what is under way, and how long a delivery takes.
        answer_s: seconds that an answer takes, as the slower ones of late.
    """
    backlog_s = _rounds(load.owed, load.slots) * load.delivery_s
    after_s = _rounds(load.in_flight + 1, load.slots) * load.delivery_s
    # what is owed is fetched while answers are waited for
    return max(_ANSWER_MARGIN * answer_s, _DELIVERY_MARGIN * backlog_s) + _DELIVERY_MARGIN * after_s


def _rounds(deliveries: int, slots: int) -> int:
    return math.ceil(deliveries / slots)
