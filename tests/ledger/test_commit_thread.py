"""Calls that share a commit."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from functools import partial

from fluxbatch.adapters.ledger.thread import CommitThread
from tests.turns import most_a_turn


async def test_the_loop_is_free_between_calls_that_return_together() -> None:
    thread = CommitThread(partial(sqlite3.connect, ":memory:", check_same_thread=False, isolation_level=None))
    gate = threading.Event()
    run: list[int] = []

    def work(number: int, _: sqlite3.Connection) -> int:
        gate.wait()
        run.append(number)
        return number

    tasks = [asyncio.ensure_future(thread.call(partial(work, number))) for number in range(200)]
    await asyncio.sleep(0)  # noqa: TID251  # all are asked
    gate.set()
    while len(run) < len(tasks):
        pass
    assert await most_a_turn(tasks) <= 16
    assert [task.result() for task in tasks] == run
    await asyncio.to_thread(thread.close)
