"""What may be spent in a period of the calendar, over any number of runs."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, date, datetime, tzinfo
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxbatch.errors import UsageError
from fluxbatch.model.state import Charge
from fluxbatch.policy.allowance import SPENT_AT, Allowance, spent_since
from fluxbatch.policy.budget import Budget, Room
from fluxbatch.ports import RunRow

if TYPE_CHECKING:
    from collections.abc import Mapping

SHANGHAI = ZoneInfo("Asia/Shanghai")


def at(text: str, zone: tzinfo = UTC) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()


@pytest.mark.parametrize(
    ("text", "usd", "begins", "ends"),
    [
        ("900/month", 900, "2026-11-01", "2026-12-01"),
        ("$30.50 / day", 30.5, "2026-11-24", "2026-11-25"),
        ("200/Week", 200, "2026-11-23", "2026-11-30"),
        ("0/day", 0, "2026-11-24", "2026-11-25"),
    ],
)
def test_periods_go_by_the_calendar_of_the_zone(text: str, usd: float, begins: str, ends: str) -> None:
    allowance = Allowance.of(text, SHANGHAI)
    now = at("2026-11-23T16:30")  # in Shanghai, it is the 24th
    assert allowance.usd == usd
    assert allowance.begins(now) == at(begins, SHANGHAI)
    assert allowance.ends(now) == at(ends, SHANGHAI)
    assert allowance.ends(at("2026-12-31T23:00", SHANGHAI)) >= at("2027-01-01", SHANGHAI)


@pytest.mark.parametrize(
    "text", ["", "900", "900/year", "-1/day", "a lot/month", "1e3/month", "nan/day", "900/month/2"]
)
def test_no_budget(text: str) -> None:
    with pytest.raises(UsageError, match="--budget"):
        Allowance.of(text)


@given(
    st.sampled_from(["day", "week", "month"]),
    st.sampled_from(["UTC", "Asia/Shanghai", "America/Havana", "Asia/Beirut", "Australia/Lord_Howe", "Asia/Kathmandu"]),
    st.integers(int(at("2024-01-01")), int(at("2028-01-01"))),
)
def test_a_period_begins_where_the_last_one_ended(period: str, zone: str, now: int) -> None:
    """Also in zones whose clocks are put forward at midnight."""
    allowance = Allowance.of(f"1/{period}", ZoneInfo(zone))
    begun, over = allowance.begins(now), allowance.ends(now)
    assert begun <= now < over
    assert allowance.begins(over) == over
    assert allowance.begins(over - 1) == begun
    assert begun % 900 == 0


def run(number: int, spent: float, spent_at: Mapping[float, float] | None = None) -> RunRow:
    by_quarter = None if spent_at is None else {str(int(moment // 900)): usd for moment, usd in spent_at.items()}
    summary = None if by_quarter is None else {"exit_code": 0, SPENT_AT: by_quarter}
    return RunRow(str(number), 0.0, None if summary is None else 1.0, summary, spent_usd=spent)


def test_of_a_run_over_midnight_each_day_gets_its_share() -> None:
    midnight = at("2026-11-24")
    whole = run(1, 5.0, {midnight - 901: 2.0, midnight - 1: 1.0, midnight: 1.5, midnight + 900: 0.5})
    assert spent_since([whole], midnight) == pytest.approx(2.0)
    assert spent_since([whole], midnight - 86400) == pytest.approx(5.0)


def test_of_a_run_that_was_killed_all_counts() -> None:
    assert spent_since([run(1, 5.0), run(2, 1.0, {})], at("2026-11-24")) == 6.0


def test_it_begins_anew_with_the_period_while_a_run_goes_on() -> None:
    midnight = at("2026-11-24")
    budget = Budget(None, Allowance.of("1/day", UTC))
    budget.recall([run(1, 0.5, {midnight - 5000: 0.5})], midnight - 2000)
    assert budget.room(0.5, midnight - 2000) is Room.YES
    assert budget.room(0.6, midnight - 2000) is Room.NO
    budget.reserve(0.5)
    assert budget.room(0.1, midnight - 1000) is Room.WAIT
    budget.settle(0.5, Charge.UNKNOWN, midnight - 900)
    stop = budget.period_stop(0.1, midnight - 900)
    assert stop is not None
    assert (stop.reason, stop.exit_code) == ("budget", 3)
    assert "$1.00 of the $1.00 of this day, since 2026-11-23" in stop.message
    assert "2026-11-24 00:00" in stop.remedy
    assert budget.room(0.6, midnight) is Room.YES
    assert budget.period_stop(0.1, midnight) is None


def test_cap_and_allowance_hold_together() -> None:
    budget = Budget(1.0, Allowance.of("2/day", UTC))
    budget.recall([run(1, 1.5)], 0.0)
    assert budget.room(0.5) is Room.YES
    assert budget.room(0.6) is Room.NO
    budget.reserve(0.5)
    assert budget.room(0.5) is Room.WAIT
    budget.settle(0.5, Charge.NONE)
    assert Budget(0.1, Allowance.of("2/day", UTC)).room(0.5) is Room.NO


ACTIONS = st.lists(
    st.tuples(st.integers(0, 20_000), st.sampled_from([0.0, 0.01, 0.07, 0.3]), st.sampled_from([*Charge, None])),
    max_size=60,
)


@given(ACTIONS, st.floats(0, 1), st.floats(0, 1))
def test_no_day_is_ever_exceeded(actions: list[tuple[int, float, Charge | None]], usd: float, before: float) -> None:
    now = begun = at("2026-11-23T12:00")
    budget = Budget(None, Allowance(usd, "day", UTC))
    budget.recall([run(1, before, {begun: before})], begun)
    billed: defaultdict[date, float] = defaultdict(float, {datetime.fromtimestamp(begun, UTC).date(): before})
    flying: list[float] = []
    for seconds, price, charge in actions:
        now += seconds
        if charge is not None and flying:
            settled = flying.pop(0)
            budget.settle(settled, charge, now)
            billed[datetime.fromtimestamp(now, UTC).date()] += settled if charge is not Charge.NONE else 0.0
        elif budget.room(price, now) is Room.YES:
            budget.reserve(price)
            flying.append(price)
        for day, spent in billed.items():
            had_too_much = day == datetime.fromtimestamp(begun, UTC).date() and before > usd
            in_flight = sum(flying) if datetime.fromtimestamp(now, UTC).date() == day else 0.0
            assert had_too_much or spent + in_flight <= usd + 1e-6
    assert sum(budget.spent_at.values()) == pytest.approx(budget.spent)
