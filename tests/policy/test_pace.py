"""When the next request may start: the bound on any minute, and the end of a pause."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxbatch.policy.pace import Gate, MinutePace

RPM = st.integers(1, 600)
# bursts, waits of about a start's share, late wake-ups, idling of up to several windows
STEPS = st.lists(
    st.just(0.0) | st.floats(0.0, 1.0) | st.floats(0.0, 70.0) | st.sampled_from([0.5, 59.5, 60.0, 60.5, 300.0]),
    min_size=1,
    max_size=60,
)


def most_in_a_minute(starts: list[float]) -> int:
    """The most starts in any window of 60 s, its end left out. A window that begins with a start is the fullest."""
    most, first = 0, 0
    for last, at in enumerate(starts):
        while at - starts[first] >= 60.0:
            first += 1
        most = max(most, last - first + 1)
    return most


@given(RPM, STEPS, st.floats(0.0, 1e6))
def test_no_minute_has_more_starts(rpm: int, steps: list[float], begin: float) -> None:
    pace, now = MinutePace(rpm), begin
    starts: list[float] = []
    for step in steps:
        now += step
        while pace.opens_at <= now and len(starts) < 3000:  # all that may start at this moment
            pace.started(now)
            starts.append(now)
    assert starts
    assert most_in_a_minute(starts) <= rpm


@given(st.sampled_from([1, 2, 7, 60, 600]), st.lists(st.floats(0.0, 0.4), min_size=1, max_size=20))
def test_steady_demand_gets_what_is_allowed(rpm: int, late: list[float]) -> None:
    pace, now = MinutePace(rpm), 0.0
    starts: list[float] = []
    while now < 600.0:
        starts.append(now)
        pace.started(now)
        # whoever waits for the moment wakes up late
        now = max(now, pace.opens_at + late[len(starts) % len(late)])
    assert len(starts) >= 0.98 * 10 * rpm
    assert most_in_a_minute(starts) <= rpm


def test_idling_saves_nothing_up() -> None:
    pace = MinutePace(60)
    pace.started(0.0)
    starts = 0
    while pace.opens_at <= 1000.0:
        pace.started(1000.0)
        starts += 1
    assert starts == 1


@pytest.mark.parametrize(("seconds", "over"), [(1.0, 1.0), (8.0, 2.0), (100.0, 10.0)])
def test_those_who_waited_set_off_one_by_one(seconds: float, over: float) -> None:
    gate = Gate()
    assert gate.shut(5.0, 5.0 + seconds, 4)
    moments = []
    for _ in range(4):
        moments.append(gate.opens_at)
        gate.started(gate.opens_at)
    assert moments == pytest.approx([5.0 + seconds + n * over / 4 for n in range(4)])
    free = gate.opens_at
    gate.started(free)
    gate.started(free)
    assert gate.opens_at == free, "after those who waited, starts are free"


def test_a_scout_goes_alone_until_it_is_back() -> None:
    gate = Gate()
    gate.shut(0.0, 5.0, 4, scout_s=3.0)
    gate.started(5.0)
    assert gate.opens_at == 8.0
    gate.scout_is_back(6.0)
    assert gate.opens_at == 6.0
    gate.started(6.0)
    assert gate.opens_at == 6.0 + 1.25 / 4, "the others follow one by one"
    gate.scout_is_back(6.1)
    assert gate.opens_at == 6.0 + 1.25 / 4, "there is one scout"


def test_a_scout_does_not_end_the_next_pause() -> None:
    gate = Gate()
    gate.shut(0.0, 5.0, 4, scout_s=3.0)
    gate.started(5.0)
    gate.shut(5.5, 50.0, 4)
    gate.scout_is_back(6.0)
    assert gate.opens_at == 50.0


def test_a_shorter_pause_changes_nothing() -> None:
    gate = Gate()
    assert gate.shut(0.0, 20.0, 4)
    assert not gate.shut(0.0, 10.0, 4)
    assert not gate.shut(30.0, 25.0, 4), "one that is over before it begins"
    assert gate.opens_at == 20.0
