"""Money: the cap is not exceeded by one request, in whatever order requests are sent and end."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fluxbatch.model.state import Charge
from fluxbatch.policy.budget import Budget, Room, carried_over
from fluxbatch.ports import RunRow

PRICES = st.sampled_from([0.0, 0.01, 0.03, 0.035, 0.06, 0.07])


class Spending(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self._flying: list[float] = []
        self._billed = 0.0

    @initialize(cap=st.floats(0, 3), spent=st.just(0.0) | st.floats(0, 1))
    def begin(self, cap: float, spent: float) -> None:
        self._cap, self._billed = cap, spent
        self._budget = Budget(cap)
        self._budget.carry(spent)
        self._over = spent > cap

    @rule(price=PRICES)
    def send(self, price: float) -> None:
        room = self._budget.room(price)
        if room is Room.YES:
            self._budget.reserve(price)
            self._flying.append(price)
        elif not self._flying:
            assert room is Room.NO, "nothing is reserved, and so nothing will come free"

    @precondition(lambda self: self._flying)
    @rule(which=st.integers(0, 100), charge=st.sampled_from(Charge))
    def end(self, which: int, charge: Charge) -> None:
        price = self._flying.pop(which % len(self._flying))
        self._budget.settle(price, charge)
        self._billed += price if charge is not Charge.NONE else 0.0

    @precondition(lambda self: hasattr(self, "_budget"))
    @invariant()
    def never_beyond(self) -> None:
        # even if all that is in flight is billed
        if not self._over:
            assert self._billed + sum(self._flying) <= self._cap + 1e-6
        assert self._budget.carried + self._budget.spent == pytest.approx(self._billed)
        assert self._budget.reserved == pytest.approx(sum(self._flying), abs=1e-9)


TestSpending = Spending.TestCase
TestSpending.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_without_a_cap_there_is_room() -> None:
    budget = Budget(None)
    budget.carry(1e9)
    assert budget.room(1e9) is Room.YES


def test_what_is_reserved_may_come_free() -> None:
    budget = Budget(0.05)
    budget.reserve(0.03)
    assert budget.room(0.03) is Room.WAIT
    assert budget.room(0.06) is Room.NO
    budget.settle(0.03, Charge.NONE)
    assert budget.room(0.03) is Room.YES
    budget.reserve(0.03)
    budget.settle(0.03, Charge.UNKNOWN)
    assert budget.room(0.03) is Room.NO
    assert budget.spent == 0.03


def test_sums_of_prices_fill_the_cap_to_the_cent() -> None:
    budget = Budget(0.3)
    for _ in range(10):
        assert budget.room(0.03) is Room.YES
        budget.reserve(0.03)
        budget.settle(0.03, Charge.CHARGED)
    assert budget.room(0.03) is Room.NO


def ended(**summary: object) -> RunRow:
    return RunRow("run", 0.0, 9.0, summary, carried_usd=1.0, spent_usd=0.5)


@pytest.mark.parametrize("exit_code", [3, 70, 130, 143, 129])
def test_a_run_that_stopped_early_is_carried_over(exit_code: int) -> None:
    assert carried_over(ended(exit_code=exit_code)) == 1.5


@pytest.mark.parametrize("exit_code", [0, 1])
def test_a_run_that_went_through_is_not(exit_code: int) -> None:
    assert carried_over(ended(exit_code=exit_code)) == 0


def test_what_was_spent_before_a_kill_is_carried_over() -> None:
    assert carried_over(RunRow("run", 0.0, carried_usd=1.0, spent_usd=0.5)) == 1.5


def test_a_run_that_was_called_off_passes_it_on() -> None:
    assert carried_over(ended()) == 1.5


@pytest.mark.parametrize("exit_code", [0, 1])
def test_a_run_that_was_narrowed_did_not_go_through(exit_code: int) -> None:
    assert carried_over(ended(exit_code=exit_code, narrowed=True)) == 1.5


def test_the_first_run_carries_nothing() -> None:
    assert carried_over(None) == 0
