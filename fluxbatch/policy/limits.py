"""How many requests may be in flight: a fixed ceiling over all models and for each, with pauses by scope."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fluxbatch.model.answer import Scope

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["FixedLimiter"]


class FixedLimiter:
    """Keeps to given ceilings (the ``Limiter`` port). A pause of a model holds that model back, any other all."""

    def __init__(self, ceiling: int, *, by_model: Mapping[str, int] | None = None) -> None:
        self._ceiling = ceiling
        self._by_model = dict(by_model or {})
        self._in_flight: dict[str, int] = {}
        self._total = 0
        self._paused_until: dict[str, float] = {}

    def admits(self, model: str, now: float) -> bool:
        """Whether one more request to ``model`` may start."""
        if self._total >= self._ceiling or self._pause(model) > now:
            return False
        return self._in_flight.get(model, 0) < self._by_model.get(model, self._ceiling)

    def resumes_at(self, model: str, now: float) -> float | None:
        """When the pause that holds ``model`` back ends, if there is one."""
        until = self._pause(model)
        return until if until > now else None

    def started(self, model: str, now: float) -> None:  # noqa: ARG002  # the port's time is for limiters that adapt
        """A request was started."""
        self._total += 1
        self._in_flight[model] = self._in_flight.get(model, 0) + 1

    def finished(self, model: str, now: float, *, congested: bool) -> None:  # noqa: ARG002  # as above
        """A request ended."""
        self._total -= 1
        self._in_flight[model] -= 1

    def pause(self, scope: str, model: str, until: float) -> None:
        """Start nothing of this scope until then; a longer pause stands."""
        key = model if scope in {Scope.MODEL, Scope.JOB} else ""
        self._paused_until[key] = max(until, self._paused_until.get(key, 0.0))

    def _pause(self, model: str) -> float:
        return max(self._paused_until.get(model, 0.0), self._paused_until.get("", 0.0))
