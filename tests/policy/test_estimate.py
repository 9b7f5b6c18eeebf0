"""How long a plan takes: the tightest of its limits, and never more than could be."""

from __future__ import annotations

import heapq
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxbatch.policy.estimate import Work, expected_s

if TYPE_CHECKING:
    from random import Random


@pytest.mark.parametrize(
    ("work", "at_a_time", "rpm", "seconds"),
    [
        pytest.param([], 8, None, 0.0, id="nothing"),
        pytest.param([Work(0, 10.0, 4)], 8, 60, 0.0, id="no request"),
        pytest.param([Work(1, 10.0, 4)], 8, None, 10.0, id="one"),
        pytest.param([Work(4, 10.0, 4)], 8, None, 10.0, id="all at once"),
        pytest.param([Work(5, 10.0, 4)], 8, None, 20.0, id="one more than at once"),
        pytest.param([Work(40, 10.0, 4)], 8, None, 100.0, id="in rounds"),
        pytest.param([Work(40, 10.0, 40)], 8, None, 50.0, id="no more over all than the ceiling"),
        pytest.param([Work(40, 10.0, 40, in_a_row=7)], 8, None, 70.0, id="a long chain"),
        pytest.param([Work(40, 10.0, 40, in_a_row=2)], 8, None, 50.0, id="a short chain"),
        pytest.param([Work(40, 0.001, 40)], 8, 6, 390.0, id="a pace"),
        pytest.param([Work(40, 10.0, 40)], 8, 6000, 50.0, id="a pace that is no hindrance"),
        pytest.param([Work(1, 10.0, 4)], 8, 1, 10.0, id="one starts at once, whatever the pace"),
        pytest.param([Work(8, 10.0, 4), Work(2, 30.0, 4)], 8, None, 30.0, id="the slower of two models"),
        pytest.param([Work(8, 10.0, 8), Work(8, 20.0, 8)], 8, None, 30.0, id="two models under one ceiling"),
        pytest.param([Work(1, 10.0, 4), Work(0, 90.0, 4)], 8, None, 10.0, id="a slow model that is not asked"),
        pytest.param([Work(3, 10.0, 0)], 0, None, 30.0, id="there is always room for one"),
    ],
)
def test_the_tightest_limit_counts(work: list[Work], at_a_time: int, rpm: int | None, seconds: float) -> None:
    assert expected_s(work, at_a_time=at_a_time, rpm=rpm) == pytest.approx(seconds, rel=1e-4)


# ------------------------------------------------------------------------------------------------------- properties
WORKS = st.integers(1, 60).flatmap(
    lambda requests: st.builds(
        Work,
        requests=st.just(requests),
        answer_s=st.floats(0.01, 300),
        at_a_time=st.integers(1, 64),
        in_a_row=st.integers(1, requests),
    )
)
PLANS = st.lists(WORKS, min_size=1, max_size=4)
CEILINGS = st.integers(1, 64)
PACES = st.none() | st.integers(1, 6000)


@given(PLANS, CEILINGS, PACES)
def test_it_lies_between_the_longest_chain_and_one_after_the_other(
    work: list[Work], ceiling: int, rpm: int | None
) -> None:
    seconds = expected_s(work, at_a_time=ceiling, rpm=rpm)
    chains = max(one.in_a_row * one.answer_s for one in work)
    single_file = sum(one.requests * one.answer_s for one in work)
    starts = sum(one.requests for one in work) * 60 / rpm if rpm else 0.0

    assert chains <= seconds <= (single_file + starts) * (1 + 1e-9)


@given(PLANS, CEILINGS, PACES, st.data())
def test_more_work_never_takes_less(work: list[Work], ceiling: int, rpm: int | None, data: st.DataObject) -> None:
    before = expected_s(work, at_a_time=ceiling, rpm=rpm)
    one = work[0]
    more = data.draw(
        st.sampled_from(
            [
                replace(one, requests=one.requests + 1),
                replace(one, answer_s=one.answer_s * 1.5),
                replace(one, in_a_row=one.in_a_row + 1),
            ]
        )
    )

    # what is shared out is a sum of floats, whose last digit is anybody's
    assert expected_s([more, *work[1:]], at_a_time=ceiling, rpm=rpm) >= before * (1 - 1e-9)
    assert expected_s([*work, data.draw(WORKS)], at_a_time=ceiling, rpm=rpm) >= before * (1 - 1e-9)


@given(PLANS, CEILINGS, st.integers(1, 6000))
def test_more_room_never_takes_longer(work: list[Work], ceiling: int, rpm: int) -> None:
    before = expected_s(work, at_a_time=ceiling, rpm=rpm)
    roomier = [replace(one, at_a_time=one.at_a_time + 1) for one in work]

    assert expected_s(roomier, at_a_time=ceiling, rpm=rpm) <= before
    assert expected_s(work, at_a_time=ceiling + 1, rpm=rpm) <= before
    assert expected_s(work, at_a_time=ceiling, rpm=rpm + 1) <= before
    assert expected_s(work, at_a_time=ceiling) <= before


@given(PLANS, CEILINGS, PACES, st.randoms(use_true_random=False))
def test_the_order_of_the_models_is_of_no_account(
    work: list[Work], ceiling: int, rpm: int | None, chance: Random
) -> None:
    shuffled = chance.sample(work, len(work))

    assert expected_s(shuffled, at_a_time=ceiling, rpm=rpm) == pytest.approx(
        expected_s(work, at_a_time=ceiling, rpm=rpm)
    )


@given(PLANS, CEILINGS, PACES)
def test_whoever_really_does_the_work_is_not_faster(work: list[Work], ceiling: int, rpm: int | None) -> None:
    assert expected_s(work, at_a_time=ceiling, rpm=rpm) <= done_after(work, ceiling, rpm) * (1 + 1e-9)


@given(st.integers(1, 200), st.floats(0.01, 300), st.integers(1, 64))
def test_for_single_requests_to_one_model_it_is_exact(requests: int, answer_s: float, at_a_time: int) -> None:
    work = [Work(requests, answer_s, at_a_time)]

    assert expected_s(work, at_a_time=at_a_time) == pytest.approx(done_after(work, at_a_time, None))


def done_after(work: list[Work], ceiling: int, rpm: int | None) -> float:
    """When all is done if each request is sent as soon as it may be, the longest chains first.

    Of each model one chain is as long as can be, and the others are single requests.
    """
    now, started, end = 0.0, 0, 0.0
    under_way: list[tuple[float, int, bool]] = []
    chained = [one.in_a_row for one in work]
    single = [one.requests - one.in_a_row for one in work]
    free = [one.at_a_time for one in work]
    busy = [False] * len(work)
    while any(chained) or any(single) or under_way:
        paced = started * 60 / rpm if rpm else 0.0
        ready = [n for n in range(len(work)) if free[n] and (single[n] or (chained[n] and not busy[n]))]
        if ready and len(under_way) < ceiling and paced <= now:
            number = max(ready, key=lambda n: chained[n] * work[n].answer_s)
            linked = bool(chained[number]) and not busy[number]
            (chained if linked else single)[number] -= 1
            busy[number] = busy[number] or linked
            free[number] -= 1
            started += 1
            heapq.heappush(under_way, (now + work[number].answer_s, number, linked))
        elif ready and len(under_way) < ceiling and (not under_way or paced < under_way[0][0]):
            now = paced
        else:
            now, number, linked = heapq.heappop(under_way)
            end = max(end, now)
            free[number] += 1
            busy[number] = busy[number] and not linked
    return end
