"""Backoff, admission, redelivery and retries: properties that hold for all states and times."""

from __future__ import annotations

import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxbatch.model.answer import Action, Scope, Verdict
from fluxbatch.model.job import Record
from fluxbatch.model.state import Charge, JobState, Reason
from fluxbatch.policy.admission import Load, may_order
from fluxbatch.policy.backoff import LONGEST_PAUSE_S, delivery_delay_s, outage_pause_s, retry_delay_s
from fluxbatch.policy.redelivery import LATE_TRIES, Outlook, outlook
from fluxbatch.policy.retry import MAX_RISKED, after_interruption, after_loss, after_refusal, uses_attempt
from fluxbatch.testing import make_job

FAILURES = st.integers(1, 10_000)
RNG = st.builds(Random, st.integers(0, 2**32))
# what a gateway may say: nothing, nonsense, too much
ASKED = st.none() | st.floats(min_value=0, allow_nan=False)


class Extreme(Random):
    """Draws one end of a range."""

    def __init__(self, end: float) -> None:
        super().__init__()
        self._end = end

    def random(self) -> float:
        return self._end


# --------------------------------------------------------------------------------------------------------- backoff
@given(FAILURES, RNG, st.booleans(), ASKED)
def test_a_retry_waits_at_least_what_was_asked_and_not_for_ever(
    failures: int, rng: Random, congested: bool, asked: float | None
) -> None:
    delay = retry_delay_s(failures, rng, congested=congested, asked=asked)
    if asked is None:
        assert 0 <= delay <= 60
    else:
        floor = min(asked, LONGEST_PAUSE_S)
        assert floor <= delay <= floor * 1.25 + 1


@pytest.mark.parametrize("congested", [False, True])
def test_the_longest_delay_grows_to_a_cap(congested: bool) -> None:
    longest = [retry_delay_s(failures, Extreme(1.0), congested=congested) for failures in range(1, 30)]
    assert longest == sorted(longest)
    assert longest[-1] == 60
    assert longest[:3] == ([1, 3, 9] if congested else [2, 4, 8])
    assert {retry_delay_s(failures, Extreme(0.0), congested=congested) for failures in range(1, 30)} == {0.0}


@given(st.integers(1, 10_000), ASKED)
def test_an_outage_is_left_alone_within_bounds(episodes: int, asked: float | None) -> None:
    pause = outage_pause_s(episodes, asked)
    if asked is not None:
        assert pause == min(asked, LONGEST_PAUSE_S)
    else:
        assert 0 < pause <= outage_pause_s(episodes + 1)


def test_an_outage_is_left_alone_for_minutes() -> None:
    assert [outage_pause_s(episodes) for episodes in (1, 2, 3, 4, 5, 100)] == [5, 15, 45, 135, 240, 240]
    assert outage_pause_s(9, 3.0) == 3.0


@given(FAILURES, RNG, ASKED)
def test_a_delivery_is_tried_again_soon(failures: int, rng: Random, asked: float | None) -> None:
    delay = delivery_delay_s(failures, rng, asked=asked)
    assert 0.25 <= delay <= 15
    if asked is not None:
        assert delay >= min(asked, 15)


@pytest.mark.parametrize("nonsense", [-5.0, -math.inf, math.nan, math.inf])
def test_nonsense_is_not_waited_for(nonsense: float) -> None:
    rng = Random(1)
    assert 0 <= outage_pause_s(1, nonsense) <= LONGEST_PAUSE_S
    assert 0 <= retry_delay_s(1, rng, asked=nonsense) <= LONGEST_PAUSE_S * 1.25 + 1
    assert 0 <= delivery_delay_s(1, rng, asked=nonsense) <= 15


# ------------------------------------------------------------------------------------------------------- admission
LOADS = st.builds(
    Load,
    in_flight=st.integers(0, 500),
    owed=st.integers(0, 500),
    slots=st.integers(1, 64),
    delivery_s=st.floats(0, 10_000),
    life_s=st.floats(0, 600),
)


@given(LOADS)
def test_a_free_slot_always_admits(load: Load) -> None:
    if load.owed + load.in_flight < load.slots:
        assert may_order(load)


@given(LOADS)
def test_no_deadlock(load: Load) -> None:
    """Where nothing is under way, something may start."""
    assert may_order(Load(0, 0, load.slots, load.delivery_s, load.life_s))


@given(LOADS)
def test_what_is_ordered_can_be_fetched_in_time(load: Load) -> None:
    if may_order(load) and load.owed + load.in_flight >= load.slots:
        waves = (load.owed + load.in_flight + 1) / load.slots
        assert waves * load.delivery_s <= load.life_s


@given(LOADS)
def test_what_is_paid_for_and_not_fetched_stays_within_a_few_rounds(load: Load) -> None:
    if load.owed >= 16 * load.slots:
        assert not may_order(load)


def test_overload_is_refused() -> None:
    assert not may_order(Load(in_flight=20, owed=100, slots=4, delivery_s=20.0, life_s=600.0))
    assert may_order(Load(in_flight=20, owed=10, slots=4, delivery_s=20.0, life_s=600.0))


# ------------------------------------------------------------------------------------------------------ redelivery
@given(st.booleans(), st.floats(0, 1e10), st.floats(0, 1e10), st.integers(0, 20))
def test_only_the_host_past_the_deadline_expires_a_lease(
    refused: bool, now: float, deadline: float, late_tries: int
) -> None:
    found = outlook(refused=refused, now=now, deadline=deadline, late_tries=late_tries)
    assert (found is Outlook.EXPIRED) == (refused and now >= deadline)
    if now < deadline:
        assert found is Outlook.AGAIN
    if found is Outlook.GIVE_UP:
        assert late_tries >= LATE_TRIES


# --------------------------------------------------------------------------------------------------------- retries
VERDICTS = st.builds(
    Verdict,
    reason=st.sampled_from(Reason),
    action=st.sampled_from(Action),
    charge=st.sampled_from([Charge.NONE, Charge.UNKNOWN]),
    scope=st.sampled_from(Scope),
    congestion=st.booleans(),
    message=st.just("no"),
)


@given(st.lists(VERDICTS, max_size=30), st.integers(1, 9), st.sampled_from(["resend", "hold"]))
def test_no_job_is_maybe_billed_three_times(verdicts: list[Verdict], max_attempts: int, if_unsure: str) -> None:
    """Whatever is answered, in whatever order, over whatever number of runs."""
    record = Record(make_job())
    for verdict in verdicts:
        failure = after_refusal(record, verdict, max_attempts=max_attempts, if_unsure=if_unsure)  # type: ignore[arg-type]  # drawn from its values
        unknown = verdict.charge is Charge.UNKNOWN
        record = Record(make_job(), unknown=record.unknown + unknown, attempts=record.attempts + uses_attempt(verdict))
        if failure is not None:
            break
    assert record.risked <= MAX_RISKED
    if if_unsure == "hold":
        assert record.risked <= 1


@given(VERDICTS, st.integers(0, 20))
def test_rate_limits_and_restarts_use_up_nothing(verdict: Verdict, attempts: int) -> None:
    if verdict.action is Action.RETRY and verdict.charge is Charge.NONE and not uses_attempt(verdict):
        assert after_refusal(Record(make_job(), attempts=attempts), verdict, max_attempts=1, if_unsure="resend") is None
    assert uses_attempt(verdict) is not (verdict.congestion or verdict.scope is Scope.ENDPOINT)


@pytest.mark.parametrize(
    ("charged", "unknown", "pardoned", "again"),
    [(1, 0, 0, True), (2, 0, 0, False), (1, 1, 0, False), (2, 0, 2, True), (3, 0, 2, True), (2, 2, 2, False)],
)
def test_a_lost_image_is_made_once_more(charged: int, unknown: int, pardoned: int, again: bool) -> None:
    record = Record(make_job(), JobState.GENERATED, charged=charged, unknown=unknown, pardoned=pardoned)
    failure = after_loss(record, "gone", remake=True)
    assert (failure is None) is again
    left = after_loss(record, "gone", remake=False)
    assert left is not None, "nobody was asked about its price"
    assert left.reason is (Reason.DOWNLOAD_FAILED if again else Reason.EXPIRED)


@pytest.mark.parametrize(
    ("unknown", "if_unsure", "held"), [(0, "resend", False), (0, "hold", True), (1, "resend", True), (1, "hold", True)]
)
def test_an_interrupted_request_is_maybe_billed(unknown: int, if_unsure: str, held: bool) -> None:
    record = Record(make_job(), JobState.SUBMITTED, unknown=unknown)
    failure = after_interruption(record, if_unsure=if_unsure)  # type: ignore[arg-type]  # one of its values
    assert (failure is not None) is held
    if failure is not None:
        assert failure.reason is Reason.UNKNOWN_OUTCOME
