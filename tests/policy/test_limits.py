"""How limits are found out: single rules, and what holds whatever happens."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fluxbatch.model.answer import Scope
from fluxbatch.model.limits import LimitCause
from fluxbatch.policy.backoff import LONGEST_PAUSE_S
from fluxbatch.policy.climb import Climb
from fluxbatch.policy.level import Level
from fluxbatch.policy.limits import AdaptiveLimiter
from fluxbatch.ports import Outcome, Place

ACCEPTED, CONGESTED, TROUBLED, UNSAID = Outcome


def fill(limiter: AdaptiveLimiter, now: float, model: str = "m") -> list[Place]:
    places = []
    while limiter.admits(model, now):
        places.append(limiter.started(model, now))
    return places


def finish(limiter: AdaptiveLimiter, places: list[Place], now: float, outcome: Outcome = ACCEPTED) -> None:
    for place in places:
        limiter.finished(place, now, outcome)


def limits(limiter: AdaptiveLimiter) -> dict[str, int]:
    return {"": limiter._key.limit} | {model: level.limit for model, level in limiter._models.items()}


def warmed_up(ceiling: int = 16, rounds: int = 8) -> AdaptiveLimiter:
    """A limiter at its ceiling, with nothing in flight."""
    limiter = AdaptiveLimiter(ceiling)
    for now in range(rounds):
        finish(limiter, fill(limiter, now - 100.0), now - 99.5)
    assert limits(limiter) == {"": ceiling, "m": ceiling}
    return limiter


# ----------------------------------------------------------------------------------------------------------- growth
def test_it_starts_low_and_doubles_with_each_round() -> None:
    limiter, sizes = AdaptiveLimiter(50), []
    for now in range(6):
        places = fill(limiter, float(now))
        sizes.append(len(places))
        finish(limiter, places, now + 0.5)
    assert sizes == [4, 8, 16, 32, 50, 50]


def test_it_grows_only_where_it_is_really_used() -> None:
    limiter = AdaptiveLimiter(50)
    for now in range(100):
        places = [limiter.started("m", float(now)) for _ in range(3)]
        finish(limiter, places, now + 0.5)
    assert limits(limiter) == {"": 4, "m": 4}


def test_trouble_stops_growth_for_a_round_and_cuts_nothing() -> None:
    limiter = AdaptiveLimiter(50)
    places = fill(limiter, 0.0)
    finish(limiter, places[:1], 1.0, TROUBLED)
    finish(limiter, places[1:], 1.0)
    assert limits(limiter)["m"] == 4
    places = fill(limiter, 2.0)
    finish(limiter, places, 3.0)
    assert limits(limiter)["m"] == 4 + 3, "4 ends are not counted, 3 of them in the round before"


def test_an_end_that_says_nothing_changes_nothing() -> None:
    limiter = AdaptiveLimiter(50)
    finish(limiter, fill(limiter, 0.0), 1.0, UNSAID)
    assert limits(limiter) == {"": 4, "m": 4}
    assert limiter.learned() == {}


# ------------------------------------------------------------------------------------------------------------- cuts
def untried(limit: int = 16) -> AdaptiveLimiter:
    """A limiter that stands at this limit, which is not known to hold."""
    return AdaptiveLimiter(limit, learned={"": limit, "m": limit})


@given(st.permutations(range(16)), st.integers(1, 15), st.booleans())
def test_an_episode_cuts_to_the_first_rank_that_was_too_much(order: list[int], hidden: int, slow: bool) -> None:
    limiter = untried()
    places = [limiter.started("m", 0.0) for _ in range(16)]
    for number, index in enumerate(order):
        if index >= hidden:
            limiter.finished(places[index], 0.05 + number * slow, CONGESTED, scope=Scope.MODEL)
    assert limits(limiter) == {"": 16, "m": hidden}


def test_of_what_held_until_lately_only_half_is_given_up_at_once() -> None:
    limiter = warmed_up()
    finish(limiter, [limiter.started("m", 0.0)], 0.05, CONGESTED)
    assert limits(limiter)[""] == 15
    places = [limiter.started("m", 10.0) for _ in range(4)]
    finish(limiter, places[3:], 10.05, CONGESTED)
    assert limits(limiter)[""] == 7
    places += [limiter.started("m", 20.0)]
    finish(limiter, places[:3], 20.0)
    finish(limiter, places[4:], 20.05, CONGESTED)
    assert limits(limiter)[""] == 3


@pytest.mark.parametrize(
    ("scope", "cut"), [(Scope.JOB, "m"), (Scope.MODEL, "m"), (Scope.KEY, ""), (Scope.ENDPOINT, "")]
)
def test_the_scope_says_what_is_limited(scope: Scope, cut: str) -> None:
    limiter = untried()
    places = [limiter.started("m", 0.0) for _ in range(16)]
    limiter.finished(places[12], 0.05, CONGESTED, scope=scope)
    assert limits(limiter) == {"": 16, "m": 16} | {cut: 12}


def test_one_that_comes_after_a_higher_rank_got_through_costs_a_part() -> None:
    limiter = warmed_up()
    places = fill(limiter, 0.0)
    finish(limiter, places[1:], 1.0)
    limiter.finished(places[0], 1.0, CONGESTED)
    assert limits(limiter)[""] == 15, "it was no matter of its rank: 19 of 20 get through"


def test_cuts_that_are_no_remedy_are_undone() -> None:
    limiter, now, pauses, seen = warmed_up(), 0.0, [], []
    places = fill(limiter, now)
    for _ in range(9):
        now += 1.0
        pauses.append(limiter.finished(places.pop(), now, CONGESTED))
        seen.append(limits(limiter)[""])
        now = limiter.resumes_at("m", now) or now
        finish(limiter, places, now, UNSAID)
        places = [limiter.started("m", now)]
    assert pauses == [0.0, 5.0, 15.0, 20.0, 20.0, 45.0, 45.0, 45.0, 45.0]
    assert seen == [15, 15, *[16] * 7]


def test_what_gets_through_ends_the_row_of_pauses() -> None:
    limiter, now = AdaptiveLimiter(1), 0.0
    pauses = []
    for outcome in (CONGESTED, CONGESTED, ACCEPTED, CONGESTED):
        place = limiter.started("m", now)
        pauses.append(limiter.finished(place, now + 1.0, outcome))
        now = (limiter.resumes_at("m", now + 1.0) or now + 1.0) + 1.0
    assert pauses == [5.0, 15.0, 0.0, 5.0]


# ----------------------------------------------------------------------------------------------------- what is asked
@given(st.lists(st.floats(0.01, 30.0), min_size=15, max_size=15), st.floats(0.5, 500.0))
def test_a_stream_of_requests_to_wait_does_not_hold_it_shut(gaps: list[float], asked: float) -> None:
    limiter = warmed_up()
    places = fill(limiter, 0.0)
    now = 1.0
    assert limiter.finished(places.pop(), now, CONGESTED, asked=asked) == pytest.approx(min(asked, LONGEST_PAUSE_S))
    for gap, place in zip(gaps, places, strict=True):
        now += gap
        limiter.finished(place, now, CONGESTED, asked=asked)
        assert limiter._key.gate.opens_at <= 1.0 + min(asked, LONGEST_PAUSE_S) + 1e-9


def test_the_longest_wait_of_an_episode_counts_from_its_begin() -> None:
    limiter = warmed_up()
    places = fill(limiter, 0.0)
    assert limiter.finished(places[9], 1.0, CONGESTED, asked=4.0) == 4.0
    assert limiter.finished(places[8], 3.0, CONGESTED, asked=10.0) == 8.0
    assert limiter.finished(places[7], 4.0, CONGESTED, asked=2.0) == 0.0
    assert limiter.resumes_at("m", 5.0) == 11.0


def test_a_word_that_was_wrong_is_trusted_less() -> None:
    limiter, now, pauses = AdaptiveLimiter(8), 0.0, []
    for _ in range(4):
        place = limiter.started("m", now)
        pauses.append(limiter.finished(place, now + 0.5, CONGESTED, asked=1.0))
        now += 0.5 + pauses[-1]
    assert pauses == [1.0, 5.0, 15.0, 15.0]


# ---------------------------------------------------------------------------------------------------------- probing
def ends_until_it_grows(climb: Climb, now: float = 0.0) -> int:
    limit, ends = climb.limit, 0
    while climb.limit == limit:
        climb.grow(now)
        ends += 1
        assert ends < 100_000
    return ends


def test_probes_grow_rarer_up_to_a_bound() -> None:
    climb = Climb(64, learned=12)
    rounds = []
    for _ in range(8):
        rounds.append(ends_until_it_grows(climb) / 12)
        climb.fall_below(13)
        assert climb.limit == 12
    assert rounds == [1, 2, 4, 8, 16, 32, 32, 32]


def test_a_probe_that_gets_through_brings_quick_growth() -> None:
    climb = Climb(64, learned=12)
    ends_until_it_grows(climb)
    climb.grow(0.0)
    assert climb.limit == 13, "one probe at a time"
    climb.probe_passed()
    for _ in range(100):
        climb.grow(0.0)
    assert climb.limit == 64


def test_probes_that_cost_pauses_take_a_small_share_of_the_time() -> None:
    climb = Climb(64, learned=12)
    climb.costs(0.0, 10.0)
    for now in range(200):
        climb.grow(float(now))
    assert climb.limit == 12
    climb.grow(200.0)
    assert climb.limit == 13


def test_only_the_probe_itself_proves_the_wall_gone() -> None:
    limiter = AdaptiveLimiter(64, learned={"m": 4})
    level = limiter._model("m")
    level._climb.limit = 5
    others = [limiter.started("m", 0.0 + n / 10) for n in range(4)]
    probe = limiter.started("m", 1.0)
    finish(limiter, others[:1], 1.2)
    # while the probe is on its way to a refusal, it holds no place there, but it is counted here
    late = limiter.started("m", 1.3)
    assert late.rank_of_model == 5
    finish(limiter, [late], 1.9)
    assert level._climb.wall == 5
    finish(limiter, [probe], 2.0)
    assert level._climb.wall is None


# ---------------------------------------------------------------------------------------------------------- learned
def test_learned_limits_are_a_start_with_a_wall_behind() -> None:
    limiter = AdaptiveLimiter(20, learned={"": 18, "m": 12, "high": 99, "zero": 0, "less": -3}, by_model={"low": 6})
    assert [limiter._model(name).limit for name in ("m", "high", "zero", "less", "low")] == [12, 20, 4, 4, 4]
    assert [limiter._model(name)._climb.wall for name in ("m", "high", "zero")] == [13, None, None]
    assert limits(limiter)[""] == 18
    now = 0.0
    places = [limiter.started("m", now)]
    while len(places) < 12:
        now = limiter.resumes_at("m", now) or 99.0
        places.append(limiter.started("m", now))
    assert 0.9 < now < 1.1, "it may be out of date: the first ones set off within a second"


def test_what_is_learned_is_what_was_met() -> None:
    limiter = warmed_up(8)
    assert limiter.learned() == {"": 8, "m": 8}, "the ceiling, too"
    finish(limiter, [limiter.started("other", 0.0)], 1.0)
    assert "other" not in limiter.learned(), "nothing was found out about it"
    kept = AdaptiveLimiter(64, learned={"unused": 5, "": 9})
    assert kept.learned() == {"unused": 5, "": 9}


def test_a_probe_under_way_is_not_learned() -> None:
    climb_level = Level(64, learned=4)
    climb_level._climb.limit = 5
    assert climb_level.learned == 4


def test_requests_per_minute_hold_all_models() -> None:
    limiter = AdaptiveLimiter(8, rpm=60)
    limiter.started("a", 0.0)
    assert not limiter.admits("b", 0.4)
    resumes_at = limiter.resumes_at("b", 0.4) or 0.0
    assert resumes_at == pytest.approx(60.5 / 60 - 0.5)
    assert limiter.admits("b", resumes_at)


# ------------------------------------------------------------------------------------------------- whatever happens
MODELS = st.sampled_from("abc")


class Requests(RuleBasedStateMachine):
    """Requests that start when they may and end in any way, in any order."""

    @initialize(
        ceiling=st.integers(1, 40),
        of_a=st.integers(1, 60),
        learned=st.dictionaries(st.sampled_from(["", "a", "b"]), st.integers(-2, 60)),
        rpm=st.none() | st.integers(1, 300),
    )
    def begin(self, ceiling: int, of_a: int, learned: dict[str, int], rpm: int | None) -> None:
        self.limiter = AdaptiveLimiter(ceiling, by_model={"a": of_a}, learned=learned, rpm=rpm)
        self.ceilings = {"a": min(of_a, ceiling)}
        self.ceiling = ceiling
        self.now = 0.0
        self.places: list[Place] = []

    @rule(model=MODELS, most=st.integers(1, 40))
    def start(self, model: str, most: int) -> None:
        for _ in range(most):
            if self.limiter.admits(model, self.now):
                self.places.append(self.limiter.started(model, self.now))
                mine = sum(place.model == model for place in self.places)
                assert (self.places[-1].rank, self.places[-1].rank_of_model) == (len(self.places), mine)

    @rule(seconds=st.sampled_from([0.0, 0.001, 0.02, 0.3, 4.0, 50.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(model=MODELS)
    def wait_for(self, model: str) -> None:
        self.now = self.limiter.resumes_at(model, self.now) or self.now

    @precondition(lambda self: self.places)
    @rule(
        which=st.lists(st.integers(0, 1000), min_size=1, max_size=20),
        outcome=st.sampled_from(Outcome),
        scope=st.sampled_from(Scope),
        asked=st.none() | st.sampled_from([0.0, 0.5, 7.0, 1000.0]),
    )
    def end(self, which: list[int], outcome: Outcome, scope: Scope, asked: float | None) -> None:
        for number in which[: len(self.places)]:
            place = self.places.pop(number % len(self.places))
            level = self.limiter._level(scope, place.model)
            before, reacted_at, shut_until = level.limit, level._reacted_at, level.gate.opens_at
            pause = self.limiter.finished(place, self.now, outcome, scope=scope, asked=asked)
            if outcome is CONGESTED and place.begun <= reacted_at:
                assert level._reacted_at == reacted_at, "one reaction an episode"
                rank = place.rank if level is self.limiter._key else place.rank_of_model
                assert level.limit >= min(before, rank - 1)
                assert level.gate.opens_at <= max(shut_until, reacted_at + min(asked or 0.0, LONGEST_PAUSE_S))
            if pause:
                assert outcome is CONGESTED
                assert level.gate.opens_at == pytest.approx(self.now + pause)

    @rule(scope=st.sampled_from(Scope), model=MODELS, seconds=st.floats(0.0, 100.0))
    def pause(self, scope: Scope, model: str, seconds: float) -> None:
        self.limiter.pause(scope, model, self.now, seconds)
        reached = [model] if scope in {Scope.MODEL, Scope.JOB} else "abc"
        if seconds > 0.001:
            assert not any(self.limiter.admits(name, self.now + seconds * 0.999) for name in reached)

    @precondition(lambda self: hasattr(self, "limiter"))
    @invariant()
    def limits_hold(self) -> None:
        for name, limit in limits(self.limiter).items():
            assert 1 <= limit <= self.ceilings.get(name, self.ceiling)
        assert self.limiter._key.in_flight == len(self.places)
        assert sum(level.in_flight for level in self.limiter._models.values()) == len(self.places)
        for level in (self.limiter._key, *self.limiter._models.values()):
            assert 0 <= level._fresh <= level.in_flight

    @precondition(lambda self: hasattr(self, "limiter"))
    @invariant()
    def no_time_stands_still(self) -> None:
        for model in "abc":
            at, steps = self.now, 0
            while not self.limiter.admits(model, at):
                resumes_at = self.limiter.resumes_at(model, at)
                if resumes_at is None:  # held by counts alone
                    assert self.places, "nothing in flight, and nothing may start"
                    break
                assert at < resumes_at <= self.now + 300.0
                at, steps = resumes_at, steps + 1
                assert steps < 5


TestRequests = Requests.TestCase
TestRequests.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)


# ----------------------------------------------------------------------------------------------- why it is as it is
def test_a_limit_tells_what_changed_it() -> None:
    limiter = AdaptiveLimiter(50)
    assert (limiter.limit, limiter.limit_cause) == (4, LimitCause.START)
    finish(limiter, fill(limiter, 0.0), 0.5)
    assert (limiter.limit, limiter.limit_cause) == (8, LimitCause.GROWTH)
    places = fill(limiter, 1.0)
    finish(limiter, places[:5], 1.4)
    finish(limiter, places[5:], 1.5, CONGESTED)
    assert limiter.limit < 13
    assert limiter.limit_cause is LimitCause.REFUSED


def test_one_more_than_was_found_is_a_probe_and_another_model_no_growth() -> None:
    limiter = AdaptiveLimiter(8, learned={"m": 4, "": 8})
    assert limiter.admits("m", 0.0)
    assert (limiter.limit, limiter.limit_cause) == (4, LimitCause.START)
    now = 10.0
    while limiter.limit == 4:
        places: list[Place] = []
        while len(places) < 4:
            now = limiter.resumes_at("m", now) or now
            places += fill(limiter, now)
        now += 1.0
        finish(limiter, places, now)
    assert (limiter.limit, limiter.limit_cause) == (5, LimitCause.PROBE)
    assert limiter.admits("other", now + 100.0)
    assert (limiter.limit, limiter.limit_cause) == (8, LimitCause.MODELS)


def test_a_limit_that_is_put_back_says_so() -> None:
    limiter, now, seen = warmed_up(), 0.0, []
    places = fill(limiter, now)
    for _ in range(3):
        now += 1.0
        limiter.finished(places.pop(), now, CONGESTED)
        seen.append((limiter.limit, limiter.limit_cause))
        now = limiter.resumes_at("m", now) or now
        finish(limiter, places, now, UNSAID)
        places = [limiter.started("m", now)]
    assert seen == [(15, LimitCause.REFUSED), (15, LimitCause.REFUSED), (16, LimitCause.UNDONE)]
