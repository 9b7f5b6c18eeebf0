"""How many requests may be in flight: found out while running, for the key as a whole and for each model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, assert_never

from fluxbatch.model.answer import Scope
from fluxbatch.model.limits import LimitCause
from fluxbatch.policy.level import Level
from fluxbatch.policy.pace import MinutePace
from fluxbatch.ports import Outcome, Place

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["AdaptiveLimiter"]

_ALL: Final = ""
"""the name of the key's own level among those learned"""


class AdaptiveLimiter:
    """Adapts to limits that the API doesn't tell of (the ``Limiter`` port).

    A request needs room on the level of its model and on that of the key, and a moment at which neither pauses.

    Args:
        ceiling: most requests in flight, over all models.
        by_model: the same for single models.
        learned: limits that an earlier run met (its ``learned()``).
        rpm: most starts in any minute.
    """

    def __init__(
        self,
        ceiling: int,
        *,
        by_model: Mapping[str, int] | None = None,
        learned: Mapping[str, int] | None = None,
        rpm: int | None = None,
    ) -> None:
        self._ceiling = ceiling
        self._by_model = dict(by_model or {})
        self._learned = dict(learned or {})
        self._key = Level(ceiling, self._learned.get(_ALL))
        self._models: dict[str, Level] = {}
        self._pace = MinutePace(rpm) if rpm else None
        self._cause = LimitCause.START
        self._limit = self._key.limit

    def admits(self, model: str, now: float) -> bool:
        """Whether one more request to ``model`` may start."""
        return self._has_room(model) and self._opens_at(model) <= now

    def resumes_at(self, model: str, now: float) -> float | None:
        """When pauses, setting off and pace let ``model`` go on; None if none of them holds it back."""
        opens_at = self._opens_at(model)
        return opens_at if opens_at > now else None

    def started(self, model: str, now: float) -> Place:
        """A request was started."""
        if self._pace is not None:
            self._pace.started(now)
        return Place(model, now, self._key.started(now), self._model(model).started(now))

    def finished(
        self,
        place: Place,
        now: float,
        outcome: Outcome,
        *,
        scope: Scope = Scope.KEY,
        asked: float | None = None,
    ) -> float:
        """A request ended. Returns for how many seconds from now ``scope`` pauses on its account."""
        pause, model = 0.0, self._model(place.model)
        wide, narrow = self._key.limit, model.limit
        for level, rank in ((self._key, place.rank), (model, place.rank_of_model)):
            match outcome:
                case Outcome.ACCEPTED:
                    level.accepted(place.begun, rank, now)
                case Outcome.CONGESTED:
                    if level is self._level(scope, place.model):
                        pause = level.refused(place.begun, rank, now, asked)
                case Outcome.TROUBLED:
                    level.troubled()
                case Outcome.UNSAID:
                    pass
                case _:
                    assert_never(outcome)
            level.ended(place.begun, now)
        if self._key.limit != wide or model.limit != narrow:
            before, self._limit = self._limit, self._limit_now()
            if self._limit != before:
                self._cause = self._cause_of(model, wide, narrow)
        return pause

    def pause(self, scope: Scope, model: str, now: float, seconds: float) -> None:
        """Start nothing of this scope for so long; a longer pause stands."""
        self._level(scope, model).pause(now, seconds)

    @property
    def limit(self) -> int:
        """How many requests may be in flight, over all models that were asked for."""
        return self._limit

    @property
    def limit_cause(self) -> LimitCause:
        """What changed ``limit`` last."""
        return self._cause

    def learned(self) -> Mapping[str, int]:
        """Limits to begin the next run with, by model (``""``: over all). What was not used is kept as it was."""
        levels = {_ALL: self._key, **self._models}
        found = {name: level.learned for name, level in levels.items()}
        return {**self._learned, **{name: limit for name, limit in found.items() if limit is not None}}

    def _limit_now(self) -> int:
        models = sum(level.limit for level in self._models.values())
        return min(self._key.limit, models) if models else self._key.limit

    def _cause_of(self, model: Level, wide: int, narrow: int) -> LimitCause:
        """Of a change by the end of a request: before it, the levels of key and model stood at these limits."""
        by_key, by_model = self._key.limit != wide, model.limit != narrow
        is_keys = self._key.limit == self.limit
        return self._key.cause if by_key and (is_keys or not by_model) else model.cause

    def _has_room(self, model: str) -> bool:
        narrow = self._model(model)
        return self._key.in_flight < self._key.limit and narrow.in_flight < narrow.limit

    def _opens_at(self, model: str) -> float:
        opens_at = max(self._key.gate.opens_at, self._model(model).gate.opens_at)
        return opens_at if self._pace is None else max(opens_at, self._pace.opens_at)

    def _level(self, scope: Scope, model: str) -> Level:
        return self._model(model) if scope in {Scope.MODEL, Scope.JOB} else self._key

    def _model(self, model: str) -> Level:
        level = self._models.get(model)
        if level is None:
            level = Level(min(self._by_model.get(model, self._ceiling), self._ceiling), self._learned.get(model))
            self._models[model] = level
            before, self._limit = self._limit, self._limit_now()
            if len(self._models) > 1 and self._limit != before:
                self._cause = LimitCause.MODELS
        return level
