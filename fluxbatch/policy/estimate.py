"""How long a plan takes, as far as that can be known beforehand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Work", "expected_s"]


@dataclass(frozen=True, slots=True)
class Work:
    """Requests to one model.

    Attributes:
        requests: how many.
        answer_s: seconds that one takes.
        at_a_time: how many the API takes of this model.
        in_a_row: the longest chain that has to go one after the other.
    """

    requests: int
    answer_s: float
    at_a_time: int
    in_a_row: int = 1


def expected_s(work: Sequence[Work], *, at_a_time: int, rpm: int | None = None) -> float:
    """Seconds that requests take if nothing goes wrong: the tightest of the limits that they all have to pass.

    Args:
        work: by model.
        at_a_time: requests in flight over all models.
        rpm: requests that may start in a minute.
    """
    work = [one for one in work if one.requests]
    if not work:
        return 0.0
    alone = [-(-one.requests // max(1, one.at_a_time)) * one.answer_s for one in work]
    chained = [one.in_a_row * one.answer_s for one in work]
    together = sum(one.requests * one.answer_s for one in work) / max(1, at_a_time)
    paced = (sum(one.requests for one in work) - 1) * 60.0 / rpm if rpm else 0.0
    return max(*alone, *chained, together, paced)
