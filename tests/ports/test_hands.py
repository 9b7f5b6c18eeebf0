"""Threads that work is handed to."""

from __future__ import annotations

import asyncio
import threading

import pytest

from fluxbatch.adapters.hands import Hands
from tests.turns import most_a_turn


async def test_every_outcome_goes_to_whoever_waits_for_it() -> None:
    """However many there are at a time."""
    hands = Hands(3, "test-hands")
    tasks = [asyncio.ensure_future(hands.do(pow, 2, number)) for number in range(300)]
    assert [await task for task in tasks] == [2**number for number in range(300)]
    with pytest.raises(ZeroDivisionError):
        await hands.do(divmod, 1, 0)


async def test_the_loop_is_free_between_outcomes_that_come_together() -> None:
    hands, gate = Hands(1, "test-hands"), threading.Event()
    finished: list[int] = []

    def work(number: int) -> None:
        gate.wait()
        finished.append(number)

    tasks = [asyncio.ensure_future(hands.do(work, number)) for number in range(200)]
    await asyncio.sleep(0)  # noqa: TID251  # all are handed over
    gate.set()
    while len(finished) < 200:  # the loop is kept from hearing of the first before the last has ended
        pass
    assert await most_a_turn(tasks) <= 16


def test_one_loop_after_another_may_use_the_same_ones() -> None:
    hands = Hands(2, "test-hands")
    for number in range(3):
        assert asyncio.run(hands.do(pow, 3, number)) == 3**number
