"""A limiter that adapts to nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fluxbatch.model.answer import Scope
from fluxbatch.model.limits import LimitCause
from fluxbatch.policy.backoff import LONGEST_PAUSE_S
from fluxbatch.policy.pace import Gate
from fluxbatch.ports import Outcome, Place

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["FixedLimiter"]


class FixedLimiter:
    """The ``Limiter`` port with given ceilings: over all models, and of single ones. Pauses only if it is asked to."""

    def __init__(self, ceiling: int, *, by_model: Mapping[str, int] | None = None) -> None:
        self._ceiling = ceiling
        self._by_model = dict(by_model or {})
        self._in_flight: dict[str, int] = {}
        self._total = 0
        self._gates: dict[str, Gate] = {"": Gate()}

    def admits(self, model: str, now: float) -> bool:
        """Whether one more request to ``model`` may start."""
        if self._total >= self._ceiling or self._opens_at(model) > now:
            return False
        return self._in_flight.get(model, 0) < self._ceiling_of(model)

    def resumes_at(self, model: str, now: float) -> float | None:
        """When the pause that holds ``model`` back ends, if there is one."""
        opens_at = self._opens_at(model)
        return opens_at if opens_at > now else None

    def started(self, model: str, now: float) -> Place:
        """A request was started."""
        self._total += 1
        self._in_flight[model] = self._in_flight.get(model, 0) + 1
        for name in ("", model):
            self._gate(name).started(now)
        return Place(model, now, self._total, self._in_flight[model])

    def finished(
        self,
        place: Place,
        now: float,
        outcome: Outcome,
        *,
        scope: Scope = Scope.KEY,
        asked: float | None = None,
    ) -> float:
        """A request ended. Returns what the API asked for, if it complained of too many."""
        self._total -= 1
        self._in_flight[place.model] -= 1
        if outcome is not Outcome.CONGESTED or asked is None or not asked > 0:
            return 0.0
        seconds = min(asked, LONGEST_PAUSE_S)
        self.pause(scope, place.model, now, seconds)
        return seconds

    def pause(self, scope: Scope, model: str, now: float, seconds: float) -> None:
        """Start nothing of this scope for so long; a longer pause stands."""
        narrow = scope in {Scope.MODEL, Scope.JOB}
        starts = self._ceiling_of(model) if narrow else self._ceiling
        self._gate(model if narrow else "").shut(now, now + seconds, starts)

    @property
    def limit(self) -> int:
        """The ceiling."""
        return self._ceiling

    @property
    def limit_cause(self) -> LimitCause:
        """Nothing changes it."""
        return LimitCause.START

    def learned(self) -> Mapping[str, int]:
        """Nothing."""
        return {}

    def _ceiling_of(self, model: str) -> int:
        return min(self._by_model.get(model, self._ceiling), self._ceiling)

    def _opens_at(self, model: str) -> float:
        return max(self._gate("").opens_at, self._gate(model).opens_at)

    def _gate(self, name: str) -> Gate:
        return self._gates.setdefault(name, Gate())
