"""What every ``Limiter`` holds to, fixed or adaptive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from fluxbatch.model.answer import Scope
from fluxbatch.testing.conformance.expect import equal, expect

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from fluxbatch.ports import Limiter

__all__ = ["CASES", "Case", "Factory"]


class Factory(Protocol):
    """Makes limiters."""

    def __call__(self, ceiling: int, *, by_model: Mapping[str, int] | None = None) -> Limiter:
        """One with a ceiling over all models, and ceilings of single ones."""
        ...


Case: TypeAlias = "Callable[[Factory], Awaitable[None]]"


async def the_first_request_may_start(make: Factory) -> None:
    """However low the ceiling."""
    limiter = make(1)
    expect(limiter.admits("m", 0.0), "nothing is in flight, and one request may not start")
    equal(limiter.resumes_at("m", 0.0), None, "the end of a pause that there isn't")


async def the_ceiling_holds(make: Factory) -> None:
    """Over all models, also after many successes."""
    limiter = make(6)
    for now in range(200):
        started = _fill(limiter, ("a", "b"), float(now))
        expect(1 <= len(started) <= 6, f"{len(started)} requests in flight under a ceiling of 6")
        for model in started:
            limiter.finished(model, now + 0.9, congested=False)
    equal(len(_fill(limiter, ("a", "b"), 300.0)), 6, "requests in flight after 200 s without congestion")


async def a_models_ceiling_holds(make: Factory) -> None:
    """And leaves room for others."""
    limiter = make(10, by_model={"a": 2})
    for now in range(100):
        started = _fill(limiter, ("a", "b"), float(now))
        expect(started.count("a") <= 2, f"{started.count('a')} of a model with a ceiling of 2")
        for model in started:
            limiter.finished(model, now + 0.9, congested=False)
    expect(_fill(limiter, ("a", "b"), 200.0).count("b") >= 4, "a model with a low ceiling takes the others' room")


async def an_end_makes_room(make: Factory) -> None:
    """For one more."""
    limiter = make(1)
    limiter.started("m", 0.0)
    expect(not limiter.admits("m", 0.0), "two in flight under a ceiling of 1")
    equal(limiter.resumes_at("m", 0.0), None, "only a finished request can make room")
    limiter.finished("m", 1.0, congested=False)
    expect(limiter.admits("m", 1.0), "there is no room after the end of the only request")


async def a_pause_holds_its_model(make: Factory) -> None:
    """Until its moment, and no other model."""
    limiter = make(4)
    limiter.pause(Scope.MODEL, "a", 10.0)
    expect(not limiter.admits("a", 9.99), "a paused model")
    expect(limiter.admits("b", 9.99), "another model, while one is paused")
    equal(limiter.resumes_at("a", 5.0), 10.0, "the end of the pause")
    equal(limiter.resumes_at("b", 5.0), None, "the end of the pause, for another model")
    expect(limiter.admits("a", 10.0), "the model, once the pause is over")
    equal(limiter.resumes_at("a", 10.0), None, "the end of a pause that is over")


async def a_wider_pause_holds_all(make: Factory) -> None:
    """Of the key or the endpoint."""
    for scope in (Scope.KEY, Scope.ENDPOINT):
        limiter = make(4)
        limiter.pause(scope, "a", 10.0)
        for model in ("a", "b"):
            expect(not limiter.admits(model, 9.0), f"{model} during a pause of the {scope}")
            equal(limiter.resumes_at(model, 9.0), 10.0, f"the end of the pause of the {scope} for {model}")
            expect(limiter.admits(model, 10.0), f"{model} after the pause of the {scope}")


async def the_longer_pause_stands(make: Factory) -> None:
    """A shorter one on top changes nothing."""
    limiter = make(4)
    limiter.pause(Scope.MODEL, "a", 20.0)
    limiter.pause(Scope.MODEL, "a", 10.0)
    limiter.pause(Scope.KEY, "a", 15.0)
    equal(limiter.resumes_at("a", 1.0), 20.0, "the end of three pauses")
    equal(limiter.resumes_at("b", 1.0), 15.0, "the end of the pause that holds another model")


async def congestion_never_shuts_the_door(make: Factory) -> None:
    """With nothing in flight and no pause one request may start, whatever happened."""
    limiter = make(8)
    now = 0.0
    for _ in range(100):
        now += 100.0
        started = _fill(limiter, ("m",), now)
        expect(started, f"no request may start after congestion, at {now} s")
        for model in started:
            limiter.finished(model, now + 1.0, congested=True)


def _fill(limiter: Limiter, models: tuple[str, ...], now: float) -> list[str]:
    """Start what may start, models in turn."""
    started: list[str] = []
    going = True
    while going:
        going = False
        for model in models:
            if limiter.admits(model, now):
                limiter.started(model, now)
                started.append(model)
                going = True
    return started


CASES: Final[list[Case]] = [
    the_first_request_may_start,
    the_ceiling_holds,
    a_models_ceiling_holds,
    an_end_makes_room,
    a_pause_holds_its_model,
    a_wider_pause_holds_all,
    the_longer_pause_stands,
    congestion_never_shuts_the_door,
]
