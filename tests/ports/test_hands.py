"""Threads that work is handed to."""

from __future__ import annotations

import asyncio
import threading

import pytest

from fluxbatch.adapters.hands import Hands


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
    turns = 0

    def work(number: int) -> None:
        gate.wait()
        finished.append(number)

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)  # noqa: TID251  # turns of the loop are what is counted
            turns += 1

    waiting = [asyncio.ensure_future(hands.do(work, number)) for number in range(200)]
    counting = asyncio.ensure_future(count())
    await asyncio.sleep(0)  # noqa: TID251  # all are handed over
    done: list[int] = []
    for task in waiting:
        task.add_done_callback(lambda _: done.append(turns))
    gate.set()
    while len(finished) < 200:  # the loop is kept from hearing of the first before the last has ended
        pass
    while len(done) < len(waiting):
        await asyncio.sleep(0)  # noqa: TID251  # turns, as above
    counting.cancel()
    assert max(done.count(turn) for turn in set(done)) <= 16


def test_one_loop_after_another_may_use_the_same_ones() -> None:
    hands = Hands(2, "test-hands")
    for number in range(3):
        assert asyncio.run(hands.do(pow, 3, number)) == 3**number
