"""What every ``Limiter`` holds to, fixed or adaptive."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from fluxbatch.model.answer import Scope
from fluxbatch.model.limits import LimitCause
from fluxbatch.ports import Outcome
from fluxbatch.testing.conformance.expect import equal, expect

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from fluxbatch.ports import Limiter, Place

__all__ = ["CASES", "Case", "Factory"]

_PATIENCE_S: Final = 600.0
"""no pause is longer than this"""


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


async def a_place_tells_its_rank(make: Factory) -> None:
    """Over all and in its model; places that were given back don't count."""
    limiter = make(4)
    first, second = limiter.started("a", 1.0), limiter.started("b", 2.0)
    third = limiter.started("a", 3.0)
    found = [(place.model, place.begun, place.rank, place.rank_of_model) for place in (first, second, third)]
    equal(found, [("a", 1.0, 1, 1), ("b", 2.0, 2, 1), ("a", 3.0, 3, 2)], "places")
    limiter.finished(second, 4.0, Outcome.ACCEPTED)
    limiter.finished(first, 4.0, Outcome.ACCEPTED)
    again = limiter.started("a", 5.0)
    equal((again.rank, again.rank_of_model), (2, 2), "ranks after two ends")


async def the_ceiling_holds(make: Factory) -> None:
    """Over all models, also after many successes."""
    limiter = make(6)
    for now in range(200):
        places = _fill(limiter, ("a", "b"), float(now))
        expect(1 <= len(places) <= 6, f"{len(places)} requests in flight under a ceiling of 6")
        _finish(limiter, places, now + 0.9, Outcome.ACCEPTED)
    equal(len(_fill(limiter, ("a", "b"), 300.0)), 6, "requests in flight after 200 s without congestion")


async def a_models_ceiling_holds(make: Factory) -> None:
    """And leaves room for others."""
    limiter = make(10, by_model={"a": 2})
    for now in range(100):
        places = _fill(limiter, ("a", "b"), float(now))
        of_a = sum(place.model == "a" for place in places)
        expect(of_a <= 2, f"{of_a} of a model with a ceiling of 2")
        _finish(limiter, places, now + 0.9, Outcome.ACCEPTED)
    of_b = sum(place.model == "b" for place in _fill(limiter, ("a", "b"), 200.0))
    expect(of_b >= 4, "a model with a low ceiling takes the others' room")


async def an_end_makes_room(make: Factory) -> None:
    """For one more, whatever it says about limits."""
    for outcome in (Outcome.ACCEPTED, Outcome.TROUBLED, Outcome.UNSAID):
        limiter = make(1)
        place = limiter.started("m", 0.0)
        expect(not limiter.admits("m", 0.0), "two in flight under a ceiling of 1")
        equal(limiter.resumes_at("m", 0.0), None, "only a finished request can make room")
        equal(limiter.finished(place, 1.0, outcome), 0.0, f"the pause after {outcome}")
        expect(limiter.admits("m", 1.0), f"there is no room after the end of the only request ({outcome})")


async def a_pause_holds_its_model(make: Factory) -> None:
    """Until its moment, and no other model. What a job's verdict says is about its model."""
    for scope in (Scope.MODEL, Scope.JOB):
        limiter = make(4)
        limiter.pause(scope, "a", 2.0, 8.0)
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
        limiter.pause(scope, "a", 0.0, 10.0)
        for model in ("a", "b"):
            expect(not limiter.admits(model, 9.0), f"{model} during a pause of the {scope}")
            equal(limiter.resumes_at(model, 9.0), 10.0, f"the end of the pause of the {scope} for {model}")
            expect(limiter.admits(model, 10.0), f"{model} after the pause of the {scope}")


async def the_longer_pause_stands(make: Factory) -> None:
    """A shorter one on top changes nothing."""
    limiter = make(4)
    limiter.pause(Scope.MODEL, "a", 0.0, 20.0)
    limiter.pause(Scope.MODEL, "a", 0.0, 10.0)
    limiter.pause(Scope.KEY, "a", 0.0, 15.0)
    equal(limiter.resumes_at("a", 1.0), 20.0, "the end of three pauses")
    equal(limiter.resumes_at("b", 1.0), 15.0, "the end of the pause that holds another model")


async def no_herd_follows_a_pause(make: Factory) -> None:
    """Those who waited set off one by one, and within seconds."""
    limiter = make(4)
    limiter.pause(Scope.KEY, "a", 0.0, 8.0)
    places = _fill(limiter, ("a", "b"), 8.0)
    equal(len(places), 1, "requests that start at the very end of a pause")
    now, moments = 8.0, []
    while len(places) < 4 and now < 30.0:
        now = limiter.resumes_at("a", now) or 30.0
        moments.append(now)
        places += _fill(limiter, ("a", "b"), now)
    equal(len(places), 4, f"requests that have started by {now} s")
    equal(sorted(set(moments)), moments, "the moments at which they did")


async def what_is_asked_for_is_obeyed(make: Factory) -> None:
    """By the scope that it was said for."""
    for scope, others in ((Scope.KEY, False), (Scope.MODEL, True)):
        limiter = make(4)
        place = limiter.started("a", 0.0)
        equal(limiter.finished(place, 1.0, Outcome.CONGESTED, scope=scope, asked=30.0), 30.0, "the pause")
        expect(not limiter.admits("a", 30.9), "a request starts before the time that the API asked for is over")
        equal(limiter.resumes_at("a", 2.0), 31.0, "the end of it")
        equal(limiter.admits("b", 30.9), others, f"another model, after a verdict on the {scope}")
        expect(limiter.admits("a", 31.0), "the model, once it is over")


async def congestion_never_shuts_the_door(make: Factory) -> None:
    """With nothing in flight one request may start, at once or when ``resumes_at`` says; whatever happened."""
    for asked in (None, 1.0, 60.0, 1e9, 0.0, -1.0, float("nan"), float("inf")):
        limiter, now = make(8), 0.0
        for _ in range(50):
            began = now
            while not limiter.admits("m", now):
                later = limiter.resumes_at("m", now)
                expect(later is not None and later > now, f"with nothing in flight, no word when to go on ({later})")
                now = later or now
            expect(now - began <= _PATIENCE_S, f"a pause of {now - began} s, asked for {asked}")
            _finish(limiter, _fill(limiter, ("m",), now), now + 0.1, Outcome.CONGESTED, asked)
            now += 0.1


async def resumes_at_is_honest(make: Factory) -> None:
    """What is held back for a time is told a later moment; what isn't is held back by counts alone."""
    rng = Random(3)  # noqa: S311  # the same sequence each time, no secret
    limiter, now = make(8, by_model={"b": 2}), 0.0
    places: list[Place] = []
    for _ in range(2000):
        now += rng.choice((0.0, 0.01, 0.5, 3.0))
        model = rng.choice("ab")
        later = limiter.resumes_at(model, now)
        expect(later is None or later > now, f"at {now}, a moment that has passed: {later}")
        if limiter.admits(model, now):
            equal(later, None, "when to go on, for what is not held back")
            places.append(limiter.started(model, now))
        elif later is None:
            expect(places, "nothing in flight, and no word when to go on")
        if places and rng.random() < 0.5:  # otherwise they pile up
            place = places.pop(rng.randrange(len(places)))
            outcome, scope = rng.choice(list(Outcome)), rng.choice(list(Scope))
            pause = limiter.finished(place, now, outcome, scope=scope, asked=rng.choice((None, 2.0)))
            expect(pause >= 0.0, f"a pause of {pause} s")
        if rng.random() < 0.02:
            limiter.pause(rng.choice(list(Scope)), model, now, rng.uniform(0.0, 20.0))


async def its_limit_is_what_it_lets_in(make: Factory) -> None:
    """Told at any time, within the ceiling, and with a reason for it."""
    rng = Random(5)  # noqa: S311  # the same sequence each time, no secret
    limiter, now = make(12), 0.0
    equal(limiter.limit_cause, LimitCause.START, "the reason for a limit that nothing has changed")
    places = _fill(limiter, ("m",), 0.0)
    equal(len(places), limiter.limit, "requests that start, of one model and without a pause")
    for _ in range(500):
        now += rng.choice((0.01, 0.5, 20.0))
        before, cause = limiter.limit, limiter.limit_cause
        _finish(limiter, places, now, rng.choice((Outcome.ACCEPTED, Outcome.ACCEPTED, Outcome.CONGESTED)))
        expect(1 <= limiter.limit <= 12, f"a limit of {limiter.limit} under a ceiling of 12")
        if limiter.limit < before:
            expect(limiter.limit_cause is not LimitCause.GROWTH, "a limit that has fallen is said to have grown")
        elif limiter.limit == before and len(places) <= 1:
            equal(limiter.limit_cause, cause, "the reason for a limit that has not changed")
        now = max(now, limiter.resumes_at("m", now) or now)
        places = []
        while limiter.admits("m", now):
            places.append(limiter.started("m", now))
            now = limiter.resumes_at("m", now) or now
            expect(len(places) <= limiter.limit, f"{len(places)} requests in flight, more than the limit")


def _fill(limiter: Limiter, models: tuple[str, ...], now: float) -> list[Place]:
    """Start what may start, models in turn."""
    places: list[Place] = []
    going = True
    while going:
        going = False
        for model in models:
            if limiter.admits(model, now):
                places.append(limiter.started(model, now))
                going = True
    return places


def _finish(limiter: Limiter, places: list[Place], now: float, outcome: Outcome, asked: float | None = None) -> None:
    for place in places:
        limiter.finished(place, now, outcome, asked=asked)


CASES: Final[list[Case]] = [
    the_first_request_may_start,
    a_place_tells_its_rank,
    the_ceiling_holds,
    a_models_ceiling_holds,
    an_end_makes_room,
    a_pause_holds_its_model,
    a_wider_pause_holds_all,
    the_longer_pause_stands,
    no_herd_follows_a_pause,
    what_is_asked_for_is_obeyed,
    congestion_never_shuts_the_door,
    resumes_at_is_honest,
    its_limit_is_what_it_lets_in,
]
