"""What hours and a budget leave of a plan."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxbatch.policy.allowance import Allowance
from fluxbatch.policy.budget import Budget, Room
from fluxbatch.policy.outlook import Outlook
from fluxbatch.policy.window import Window

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC).timestamp()
PRICES = st.lists(st.sampled_from([0.01, 0.014, 0.03, 0.045, 0.07]), max_size=40)


@given(PRICES, st.sampled_from([0.0, 0.03, 0.3, 0.9, 5.0]), st.sampled_from([0.0, 0.03, 0.21, 6.0]))
def test_as_many_fit_as_a_run_would_send(prices: list[float], usd: float, spent: float) -> None:
    """One after the other, until the first that it would not."""
    allowance = Allowance(usd, "month", UTC)
    outlook, budget = Outlook(NOON, None, allowance, spent), Budget(usd - spent)
    sent = 0
    for price in prices:
        outlook.count(price)
        if sent >= 0 and budget.room(price) is Room.YES:
            budget.reserve(price)
            sent += 1
        else:
            budget = Budget(-1.0)
    assert (outlook.fits, outlook.over) == (sent, len(prices) - sent)


def test_with_an_unknown_price_no_budget_can_be_kept() -> None:
    outlook = Outlook(NOON, None, Allowance(1.0, "day", UTC))
    for price in (0.03, None, 0.03):
        outlook.count(price)
    assert (outlook.fits, outlook.over) == (1, 2)
    free = Outlook(NOON)
    free.count(None)
    assert (free.fits, free.over) == (1, 0)


@pytest.mark.parametrize(
    ("hours", "images", "words"),
    [
        ("11:00-13:30", 1, "--window 11:00-13:30 is open now, and closes at 2026-11-23 13:30 (UTC), in 1 h 30 min"),
        ("01:00-06:00", 1, "is closed: nothing is sent now; it opens at 2026-11-24 01:00 (UTC), in 13 h 00 min"),
        ("01:00-06:00", 0, "is closed; it opens at 2026-11-24 01:00 (UTC)"),
    ],
)
def test_hours_in_words(hours: str, images: int, words: str) -> None:
    outlook = Outlook(NOON, Window.of(hours, UTC))
    for _ in range(images):
        outlook.count(0.03)
    assert words in "".join(outlook.lines())


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (0, "$0.10 of the $0.20 of this week, since 2026-11-23 (UTC), are spent, $0.10 are left"),
        (1, "$0.10 are left: enough for the image"),
        (3, "$0.10 are left: enough for all 3 images"),
        (4, "$0.10 are left: enough for 3 of 4 images"),
    ],
)
def test_a_budget_in_words(images: int, words: str) -> None:
    outlook = Outlook(NOON, None, Allowance(0.2, "week", UTC), 0.1)
    for _ in range(images):
        outlook.count(0.03)
    [line] = outlook.lines()
    assert line.endswith(words)
