"""How many requests may be in flight."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from fluxbatch.model.answer import Scope

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fluxbatch.model.limits import LimitCause

__all__ = ["Limiter", "Outcome", "Place"]


class Outcome(StrEnum):
    """What the end of a request says about limits."""

    ACCEPTED = "accepted"
    """it got past them"""
    CONGESTED = "congested"
    """too many requests"""
    TROUBLED = "troubled"
    """the API failed or fell silent: no reason to send more at a time"""
    UNSAID = "unsaid"
    """nothing: it was not sent, or refused for its own sake"""


@dataclass(frozen=True, slots=True)
class Place:
    """A request's place under the limits.

    Attributes:
        model: the API's model id.
        begun: when it was started, monotonic seconds.
        rank: how many requests were in flight then, this one included.
        rank_of_model: likewise, of its model.
    """

    model: str
    begun: float
    rank: int
    rank_of_model: int


class Limiter(Protocol):
    """How many requests may be in flight, and when. Pure: no clock, no waiting; ``now`` is monotonic seconds.

    A verdict's scope says what is limited: the model, or the key with all its models. A pause of a model holds that
    model back, any other all of them.
    """

    def admits(self, model: str, now: float) -> bool:
        """Whether one more request to ``model`` may start."""
        ...

    def resumes_at(self, model: str, now: float) -> float | None:
        """When what holds ``model`` back at this moment ends by itself; None if only a finished request makes room."""
        ...

    def started(self, model: str, now: float) -> Place:
        """A request was started; the place is given back to ``finished``."""
        ...

    def finished(
        self,
        place: Place,
        now: float,
        outcome: Outcome,
        *,
        scope: Scope = Scope.KEY,
        asked: float | None = None,
    ) -> float:
        """A request ended. Returns for how many seconds from now ``scope`` pauses on its account; 0 for not at all.

        Args:
            place: as ``started`` gave it.
            now: monotonic seconds.
            outcome: what its end says.
            scope: of the verdict, if it was CONGESTED.
            asked: seconds that the API asked to wait for, if it did.
        """
        ...

    def pause(self, scope: Scope, model: str, now: float, seconds: float) -> None:
        """Start nothing of this scope for so long; a longer pause stands. What follows it sets off one by one."""
        ...

    @property
    def limit(self) -> int:
        """How many requests may be in flight, over all models that were asked for; at least 1."""
        ...

    @property
    def limit_cause(self) -> LimitCause:
        """What changed ``limit`` last."""
        ...

    def learned(self) -> Mapping[str, int]:
        """Limits that were met, by model (``""``: over all), for the next run to begin with."""
        ...
