"""The limiter against an API that doesn't tell its limits: how close it comes to what is possible, at what cost."""

from __future__ import annotations

import heapq
from collections import Counter, deque
from dataclasses import dataclass
from itertools import pairwise
from random import Random
from typing import TYPE_CHECKING

import pytest

from fluxbatch.model.answer import Scope
from fluxbatch.policy.limits import AdaptiveLimiter
from fluxbatch.ports import Outcome, Place
from fluxbatch.testing import FixedLimiter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fluxbatch.ports import Limiter

FAST = 0.05
"""seconds after which most refusals come"""
EVER = 1e9


@dataclass(frozen=True, kw_only=True)
class Api:
    """What the other side does.

    Attributes:
        hidden: requests at a time, by model or (``""``) over all, at a moment.
        latency_s, jitter: seconds that an answer takes, and the share by which that varies.
        refusal_s: seconds that a refusal takes; None: as long as an answer.
        retry_after: seconds that a refusal asks to wait for.
        rpm: requests in any minute.
        stray: share of requests that is refused for no reason of number.
        storm: from when to when everything is refused.
        lag_s: seconds for which a place is still taken after its answer.
    """

    hidden: Callable[[float], Mapping[str, int]] = lambda _now: {}
    latency_s: float = 1.0
    jitter: float = 0.25
    refusal_s: float | None = FAST
    retry_after: float | None = None
    rpm: int = 10**9
    stray: float = 0.0
    storm: tuple[float, float] = (EVER, EVER)
    lag_s: float = 0.0


@dataclass(frozen=True)
class End:
    """A request's end."""

    place: Place
    refused: Scope | None


class World:
    """Events in the order of time, around a limiter. A refused job is queued again.

    Attributes:
        starts, refusals: moments.
        done: moments and models of the others.
    """

    def __init__(
        self, api: Api, limiter: Limiter, *, jobs: int | None = None, models: str = "m", seed: int = 7
    ) -> None:
        self.api, self.limiter, self.models, self.now = api, limiter, models, 0.0
        self.starts: list[float] = []
        self.refusals: list[float] = []
        self.done: list[tuple[float, str]] = []
        self._rng = Random(seed)
        self._left = dict.fromkeys(models, jobs if jobs is not None else 10**9)
        self._busy: Counter[str] = Counter()
        self._minute: deque[float] = deque()
        self._events: list[tuple[float, int, End | str]] = []

    def run(self, until: float = EVER) -> World:
        """To the end of all jobs, or so far."""
        while True:
            self._start_what_may()
            moments = [event[0] for event in self._events[:1]]
            for model in self.models:
                resumes_at = self.limiter.resumes_at(model, self.now)
                if self._left[model] and resumes_at is not None:
                    assert resumes_at > self.now
                    moments.append(resumes_at)
            if not moments:
                assert not any(self._left.values()), "it stands still with work left"
                return self
            if min(moments) > until:
                return self
            self.now = min(moments)
            while self._events and self._events[0][0] <= self.now:
                self._take(heapq.heappop(self._events)[2])

    def rate(self, since: float, until: float, model: str = "") -> float:
        """Answers a second."""
        return sum(since <= at < until and model in name for at, name in self.done) / (until - since)

    def refused(self, since: float = 0.0, until: float = EVER) -> float:
        """The share of requests."""
        starts = sum(since <= at < until for at in self.starts)
        return sum(since <= at < until for at in self.refusals) / max(1, starts)

    def _start_what_may(self) -> None:
        going = True
        while going:
            going = False
            for model in self.models:
                if self._left[model] and self.limiter.admits(model, self.now):
                    self._start(model)
                    going = True

    def _start(self, model: str) -> None:
        place = self.limiter.started(model, self.now)
        self.starts.append(self.now)
        self._left[model] -= 1
        refused = self._judge(model)
        takes = self.api.latency_s * self._rng.uniform(1 - self.api.jitter, 1 + self.api.jitter)
        if refused is None:
            self._busy[model] += 1
            self._at(self.now + takes + self.api.lag_s, model)
        elif self.api.refusal_s is not None:
            takes = self.api.refusal_s * self._rng.uniform(0.8, 1.2)
        self._at(self.now + takes, End(place, refused))

    def _judge(self, model: str) -> Scope | None:
        hidden = self.api.hidden(self.now)
        while self._minute and self._minute[0] <= self.now - 60.0:
            self._minute.popleft()
        if self._busy.total() >= hidden.get("", 10**9) or self.api.storm[0] <= self.now < self.api.storm[1]:
            return Scope.KEY
        if self._busy[model] >= hidden.get(model, 10**9):
            return Scope.MODEL
        if len(self._minute) >= self.api.rpm or self._rng.random() < self.api.stray:
            return Scope.KEY
        self._minute.append(self.now)
        return None

    def _at(self, moment: float, what: End | str) -> None:
        heapq.heappush(self._events, (moment, len(self.starts) * 2 + isinstance(what, str), what))

    def _take(self, what: End | str) -> None:
        if isinstance(what, str):
            self._busy[what] -= 1
        elif what.refused is None:
            self.done.append((self.now, what.place.model))
            self.limiter.finished(what.place, self.now, Outcome.ACCEPTED)
        else:
            self.refusals.append(self.now)
            self._left[what.place.model] += 1
            asked = self.api.retry_after
            self.limiter.finished(what.place, self.now, Outcome.CONGESTED, scope=what.refused, asked=asked)


def over_all(limit: int) -> Callable[[float], dict[str, int]]:
    return lambda _now: {"": limit}


def turning(before: int, after: int, at: float) -> Callable[[float], dict[str, int]]:
    return lambda now: {"": before if now < at else after}


def followed_after(world: World, limit: int, at: float, until: float) -> float:
    """Seconds from ``at`` to 8 rounds with 90 % of what this limit gives and 5 % refused, and as good from then on."""
    window = 8 * world.api.latency_s
    since = at
    while since + window < until:
        parts = ((since, since + window), (since, until))
        if all(
            world.rate(*part) >= 0.9 * limit / world.api.latency_s and world.refused(*part) <= 0.05 for part in parts
        ):
            return since - at
        since += window / 4
    return EVER


# --------------------------------------------------------------------------------------------------- a steady limit
@pytest.mark.parametrize("retry_after", [None, 2.0, 10.0])
@pytest.mark.parametrize("refusal_s", [FAST, None], ids=["fast", "slow"])
@pytest.mark.parametrize("hidden", [1, 2, 3, 5, 12, 24, 50])
def test_it_finds_a_hidden_limit(hidden: int, refusal_s: float | None, retry_after: float | None) -> None:
    """12 s an image; 64 at a time is what the user allows."""
    api = Api(hidden=over_all(hidden), latency_s=12.0, refusal_s=refusal_s, retry_after=retry_after)
    until = 12.0 * max(40, min(150, 3600 / hidden))
    world = World(api, AdaptiveLimiter(64)).run(until)
    assert world.rate(until / 4, until) >= 0.95 * hidden / 12.0
    # where only one at a time goes through, 3 of the first 4 are too many, and a probe is 1 of 8, 16, 32, 64
    assert world.refused() <= (0.04 if hidden > 1 else 0.07)


@pytest.mark.parametrize("retry_after", [None, 2.0])
@pytest.mark.parametrize("refusal_s", [FAST, None], ids=["fast", "slow"])
@pytest.mark.parametrize("hidden", [120, 500])
def test_it_finds_a_high_limit(hidden: int, refusal_s: float | None, retry_after: float | None) -> None:
    api = Api(hidden=over_all(hidden), latency_s=12.0, refusal_s=refusal_s, retry_after=retry_after)
    world = World(api, AdaptiveLimiter(1000)).run(12.0 * 25)
    assert world.rate(12.0 * 10, 12.0 * 25) >= 0.95 * hidden / 12.0
    assert world.refused() <= 0.05


@pytest.mark.parametrize("retry_after", [2.0, 10.0])
@pytest.mark.parametrize("hidden", [1, 12, 50])
def test_it_finds_it_where_pauses_are_long_beside_answers(hidden: int, retry_after: float) -> None:
    """1 s an image: each refused probe costs 10 rounds."""
    world = World(Api(hidden=over_all(hidden), retry_after=retry_after), AdaptiveLimiter(64)).run(300.0)
    assert world.rate(50.0, 300.0) >= 0.9 * hidden
    assert world.refused() <= 0.03


@pytest.mark.parametrize("refusal_s", [FAST, None], ids=["fast", "slow"])
def test_a_short_run_from_nothing_and_one_that_remembers(refusal_s: float | None) -> None:
    """600 jobs of 1 s at 12 at a time, against one who knows the limit."""
    api = Api(hidden=over_all(12), refusal_s=refusal_s)
    for seed in range(3):
        ideal = World(api, FixedLimiter(12), jobs=600, seed=seed).run().now
        first, second = AdaptiveLimiter(64), AdaptiveLimiter(64)
        cold = World(api, first, jobs=600, seed=seed).run()
        assert ideal / cold.now >= 0.95
        assert cold.refused() <= 0.05
        second = AdaptiveLimiter(64, learned=first.learned())
        warm = World(api, second, jobs=600, seed=seed).run()
        assert ideal / warm.now >= 0.97
        assert warm.refused() <= 0.02


@pytest.mark.parametrize("lag_s", [0.02, 0.1])
@pytest.mark.parametrize("hidden", [12, 50])
def test_an_api_that_gives_places_back_late(hidden: int, lag_s: float) -> None:
    """It answers, and counts the request for a moment more: whoever sends the next one at once is refused."""
    world = World(Api(hidden=over_all(hidden), latency_s=12.0, lag_s=lag_s), AdaptiveLimiter(64)).run(12.0 * 100)
    assert world.rate(240.0, 1200.0) >= 0.8 * hidden / 12.0
    assert world.refused() <= 0.05


# ------------------------------------------------------------------------------------------------- a limit that moves
@pytest.mark.parametrize(
    ("latency_s", "refusal_s", "retry_after", "down_s", "up_s"),
    [
        (1.0, FAST, None, 16, 48),
        (1.0, FAST, 10.0, 60, 160),
        (1.0, None, None, 24, 48),
        (10.0, FAST, None, 80, 400),
        (10.0, FAST, 10.0, 80, 600),
        (10.0, None, 2.0, 100, 480),
    ],
)
def test_it_follows_a_limit(
    latency_s: float, refusal_s: float | None, retry_after: float | None, down_s: float, up_s: float
) -> None:
    """40 → 12 within rounds; 12 → 40 with the next probe, which is due within 32 rounds."""
    at, until = 60 * latency_s, 260.0 + 100 * latency_s
    for before, after, within_s in ((40, 12, down_s), (12, 40, up_s)):
        api = Api(hidden=turning(before, after, at), latency_s=latency_s, refusal_s=refusal_s, retry_after=retry_after)
        assert followed_after(World(api, AdaptiveLimiter(64)).run(until), after, at, until) <= within_s


# ----------------------------------------------------------------------------------------------------- several models
@pytest.mark.parametrize("refusal_s", [FAST, None], ids=["fast", "slow"])
def test_models_with_limits_of_their_own(refusal_s: float | None) -> None:
    each = {"a": 3, "b": 12, "c": 30}
    world = World(Api(hidden=lambda _now: each, refusal_s=refusal_s), AdaptiveLimiter(100), models="abc").run(150.0)
    for model, limit in each.items():
        assert world.rate(50.0, 150.0, model) >= 0.9 * limit
    assert world.refused() <= 0.04


@pytest.mark.parametrize("refusal_s", [FAST, None], ids=["fast", "slow"])
def test_models_that_share_a_limit(refusal_s: float | None) -> None:
    world = World(Api(hidden=over_all(20), refusal_s=refusal_s), AdaptiveLimiter(64), models="abc").run(150.0)
    assert world.rate(50.0, 150.0) >= 0.9 * 20
    assert world.refused() <= 0.04


# ------------------------------------------------------------------------------------- refusals that aren't of number
@pytest.mark.parametrize("latency_s", [1.0, 10.0, 30.0])
@pytest.mark.parametrize("rpm", [60, 120, 300])
def test_a_quota_by_the_minute_that_nobody_tells(rpm: int, latency_s: float) -> None:
    limiter = AdaptiveLimiter(24)
    world = World(Api(rpm=rpm, latency_s=latency_s), limiter).run(1800.0)
    possible = min(rpm / 60.0, 24 / latency_s)
    assert world.rate(120.0, 1800.0) >= 0.7 * possible
    assert len(world.refusals) <= 14 * 1800 / 60, "a handful a minute, whatever the quota is"
    assert limiter._key.limit >= 12, "it doesn't wear the limit down"


def test_a_quota_that_is_told_costs_nothing() -> None:
    world = World(Api(rpm=60, latency_s=10.0), AdaptiveLimiter(24, rpm=60)).run(1800.0)
    assert world.refusals == []
    assert world.rate(120.0, 1800.0) >= 0.98


@pytest.mark.parametrize("refusal_s", [FAST, None], ids=["fast", "slow"])
@pytest.mark.parametrize(("stray", "share"), [(0.02, 0.75), (0.1, 0.08)])
def test_refusals_at_random(stray: float, share: float, refusal_s: float | None) -> None:
    """2 % cost little. 10 % can't be told from a limit that is met again and again: it goes on, slowly."""
    for latency_s in (1.0, 10.0):
        api = Api(stray=stray, latency_s=latency_s, refusal_s=refusal_s)
        world = World(api, AdaptiveLimiter(24)).run(200 * latency_s)
        assert world.rate(20 * latency_s, 200 * latency_s) >= share * 24 / latency_s


@pytest.mark.parametrize(
    ("retry_after", "starts", "gap_s", "recovers_s"),
    [(None, 60, 50.0, 70.0), (1.0, 110, 20.0, 30.0), (10.0, 110, 20.0, 40.0), (60.0, 40, 65.0, 90.0)],
)
@pytest.mark.parametrize("latency_s", [1.0, 10.0])
def test_a_storm_of_refusals(
    retry_after: float | None, starts: int, gap_s: float, recovers_s: float, latency_s: float
) -> None:
    """20 minutes: a request now and then, and soon back at work."""
    api = Api(hidden=over_all(12), latency_s=latency_s, retry_after=retry_after, storm=(200.0, 1400.0))
    limiter = AdaptiveLimiter(24)
    world = World(api, limiter).run(1600.0)
    within = [at for at in world.starts if 200.0 <= at < 1400.0]
    after = [at for at in world.starts if at >= 1400.0]
    assert len(within) <= starts
    assert max(later - earlier for earlier, later in pairwise([*within, after[0]])) <= gap_s
    back = 1400.0 + recovers_s
    assert world.rate(back, 1600.0) >= 0.85 * 12 / latency_s
    assert limiter.learned()[""] == 12


@pytest.mark.parametrize("retry_after", [None, 10.0])
@pytest.mark.parametrize("latency_s", [1.0, 10.0])
def test_a_storm_of_slow_refusals(retry_after: float | None, latency_s: float) -> None:
    """What was sent when it began is refused; after that, each pause costs one request."""
    api = Api(latency_s=latency_s, refusal_s=None, retry_after=retry_after, storm=(200.0, 1400.0))
    world = World(api, AdaptiveLimiter(24)).run(1600.0)
    assert sum(230.0 <= at < 1400.0 for at in world.starts) <= 110
    assert world.rate(1500.0, 1600.0) >= 0.85 * 24 / latency_s
