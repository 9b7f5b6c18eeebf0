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
    ordered = load.in_flight + 1
    # what is owed is fetched while answers are waited for: it is done first, or the slots are busy all the time
    after_answers_s = _ANSWER_MARGIN * answer_s + _deliveries_s(ordered, load)
    return max(after_answers_s, _deliveries_s(load.owed + ordered, load))


def _deliveries_s(count: int, load: Load) -> float:
    return _DELIVERY_MARGIN * math.ceil(count / load.slots) * load.delivery_s
