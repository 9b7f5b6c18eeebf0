"""Outages, unknown outcomes in a row, and the end of the time: when to ask again, and when to stop."""

from __future__ import annotations

import heapq

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxbatch.policy.admission import Load
from fluxbatch.policy.doubt import Doubt
from fluxbatch.policy.outage import Outage
from fluxbatch.policy.runtime import drain_s


# --------------------------------------------------------------------------------------------------------- outages
def outage() -> Outage:
    return Outage(patience_s=900.0, first_answer_s=60.0)


def answered() -> Outage:
    found = outage()
    found.answered()
    return found


def test_patience_is_short_before_the_first_answer() -> None:
    found = outage()
    assert not found.is_over(1e9)
    assert found.failed(100.0)
    assert not found.is_over(159.9)
    assert found.is_over(160.0)


def test_patience_is_long_after_it() -> None:
    found = answered()
    found.failed(100.0)
    assert not found.is_over(999.9)
    assert found.is_over(1000.0)


def test_who_says_that_it_is_away_is_there() -> None:
    """A restart at the very beginning is no wrong address."""
    found = outage()
    found.failed(100.0, somebody_there=True)
    assert not found.is_over(999.9)
    assert found.is_over(1000.0)


def test_an_answer_ends_an_outage() -> None:
    found = outage()
    found.failed(0.0)
    found.answered()
    assert not found.is_over(1e9)
    assert found.failed(1000.0) == 5
    assert not found.is_over(1899.0)


def test_pauses_grow_to_minutes_and_the_last_try_comes_when_patience_ends() -> None:
    found, now, pauses = answered(), 0.0, []
    while not found.is_over(now):
        pauses.append(found.failed(now))
        now += pauses[-1]
    assert pauses == [5, 15, 45, 135, 240, 240, 220]
    assert now == 900


def test_failures_of_requests_under_way_do_not_make_the_pause_longer() -> None:
    found = answered()
    assert found.failed(0.0) == 5
    assert found.failed(1.0) == 0
    assert found.failed(4.9) == 0
    assert found.failed(5.0) == 15


def test_what_the_api_asks_for_is_obeyed() -> None:
    assert answered().failed(0.0, asked=33.0) == 33


def test_one_request_at_a_time_finds_out_whether_the_api_is_back() -> None:
    found = answered()
    early = [found.started() for _ in range(5)]
    found.failed(0.0)
    assert found.may_start(), "requests sent before the trouble are no probes"
    probe = found.started()
    assert not found.may_start()
    for old in early:
        found.ended(old)
    assert not found.may_start(), "an older request's end made room for a second probe"
    found.ended(probe)
    assert found.may_start()
    found.started()
    found.answered()
    assert found.may_start()


def test_probes_of_an_earlier_outage_do_not_count() -> None:
    found = answered()
    found.failed(0.0)
    old = found.started()
    found.answered()
    found.failed(100.0)
    new = found.started()
    found.ended(old)
    assert not found.may_start()
    found.ended(new)
    assert found.may_start()


def test_silence_counts_and_does_not_pause() -> None:
    found = outage()
    found.silent(0.0)
    found.silent(30.0)
    assert found.may_start()
    assert found.is_over(60.0)


def test_an_outage_between_rate_limits_is_another_matter() -> None:
    found = answered()
    found.refused(0.0)
    found.failed(100.0)
    found.refused(1000.0)
    assert not found.is_starved(1800.0)
    assert found.is_starved(1900.0)


def test_rate_limits_without_end_are_noticed() -> None:
    found = outage()
    found.refused(10.0)
    found.refused(500.0)
    assert not found.is_starved(909.0)
    assert found.is_starved(910.0)
    assert not found.is_over(1e9), "the API is there"
    found.answered()
    assert not found.is_starved(1e9)


# --------------------------------------------------------------------------------------------------------- doubts
def test_one_event_makes_careful_and_does_not_end_it() -> None:
    doubt = Doubt()
    probes = [doubt.started() for _ in range(24)]
    assert not any(probes)
    pauses = [doubt.unknown(probe=False) for _ in range(24)]
    assert [pause for pause in pauses if pause] == [5], "one pause for one event"
    assert not doubt.is_certain
    assert doubt.may_start()
    assert doubt.started()
    assert not doubt.may_start()


def test_three_single_ones_in_a_row_end_it() -> None:
    doubt = Doubt()
    for _ in range(5):
        doubt.unknown(probe=False)
    pauses = []
    for _ in range(3):
        assert not doubt.is_certain
        probe = doubt.started()
        pauses.append(doubt.unknown(probe=probe))
        doubt.ended(probe=probe)
    assert doubt.is_certain
    assert pauses == [15, 45, 135]
    assert doubt.in_row == 8


def test_an_image_ends_the_doubt() -> None:
    doubt = Doubt()
    for _ in range(5):
        doubt.unknown(probe=False)
    probe = doubt.started()
    doubt.unknown(probe=probe)
    doubt.ended(probe=probe)
    doubt.image_came()
    assert not doubt.started()
    assert doubt.unknown(probe=False) == 0
    assert doubt.in_row == 1


@given(st.lists(st.sampled_from(["image", "unknown", "start"]), max_size=60))
def test_what_is_risked_in_doubt_is_bounded(events: list[str]) -> None:
    """While there is doubt, at most one request is out, and three fruitless ones are the end."""
    doubt = Doubt()
    out: list[bool] = []
    fruitless = 0
    for event in events:
        if event == "start" and doubt.may_start() and not doubt.is_certain:
            out.append(doubt.started())
            assert sum(out) <= 1
        elif event != "start" and out:
            probe = out.pop()
            doubt.ended(probe=probe)
            if event == "image":
                doubt.image_came()
                fruitless = 0
            else:
                doubt.unknown(probe=probe)
                fruitless += probe
    assert fruitless <= 3


# --------------------------------------------------------------------------------------------------------- runtime
@given(st.integers(0, 100), st.integers(0, 100), st.integers(1, 32), st.floats(0, 600), st.floats(0, 360))
def test_what_is_under_way_fits_into_what_is_kept_for_it(
    in_flight: int, owed: int, slots: int, delivery_s: float, answer_s: float
) -> None:
    load = Load(in_flight, owed, slots, delivery_s, 600.0)
    # what is owed is fetched while answers are waited for; then come the images of those, and of one request more
    free_at = [0.0] * slots
    for due_at in [0.0] * owed + [answer_s] * (in_flight + 1):
        heapq.heappush(free_at, max(heapq.heappop(free_at), due_at) + delivery_s)
    assert drain_s(load, answer_s) >= max(free_at)


def test_the_drain_is_not_longer_than_need_be() -> None:
    load = Load(in_flight=3, owed=12, slots=16, delivery_s=2.0, life_s=600.0)
    assert drain_s(load, 10.0) == pytest.approx(12.5 + 2.2)
