"""A run is killed at each of its awaits; the next one loses nothing, and pays for nothing more than twice."""

from __future__ import annotations

from functools import cache, partial
from typing import TYPE_CHECKING

import pytest

from fluxbatch.model.state import JobState, Reason
from fluxbatch.testing import Grant, MemoryLedger, MemorySink, Refuse, ScriptedFetcher, Serving, VirtualClock
from tests.engine.dying import GreedyProvider, Life, MortalWorld, check_money, in_virtual_time
from tests.engine.world import jobs

if TYPE_CHECKING:
    from fluxbatch.model.job import Lease, PlannedJob, Record
    from fluxbatch.testing import Act


def script(job: PlannedJob, attempt: int) -> Act:
    """One of each: at once, after a refusal, after a doubt."""
    if attempt == 1 and job.position == 1:
        return Refuse(status=429, latency_s=0.31)
    if attempt == 1 and job.position == 2:
        return Refuse(status=504, latency_s=0.77, billed=True)
    return Grant(latency_s=1.13 + job.position / 10)


def serve(_lease: Lease, attempt: int) -> Serving:
    return Serving(latency_s=0.43, cut_after=30 if attempt == 1 else None, etag='"one"')


def new_world() -> MortalWorld:
    clock = VirtualClock()
    return MortalWorld(
        clock=clock,
        provider=GreedyProvider(clock, script),
        fetcher=ScriptedFetcher(clock, serve),
        # each call takes a time of its own, so that each await can be told from the others
        ledger=MemoryLedger(commit_s=0.007),
        sink=MemorySink(latency_s=0.003),
        ceiling=2,
    )


def check(world: MortalWorld, records: dict[str, Record]) -> None:
    check_money(world, records)
    for record in records.values():
        if record.state is not JobState.STORED:
            # held: twice it was under way when everything died, or died once and was unsure once
            assert record.failure is not None
            assert (record.failure.reason, record.charged + record.unknown) == (Reason.UNKNOWN_OUTCOME, 2)


LIFE = Life(jobs(4), new_world, check)


@cache
def moments() -> list[float]:
    return LIFE.moments()


def test_there_are_enough_moments() -> None:
    assert len(moments()) > 50


@pytest.mark.parametrize("politely", [False, True], ids=["killed", "cancelled"])
def test_death_at_every_await(*, politely: bool) -> None:
    for moment in moments():
        in_virtual_time(partial(LIFE.die_and_go_on, [moment], politely=politely))


def test_death_at_two_awaits() -> None:
    for number, first in enumerate(moments()[::5]):
        for second in moments()[number % 7 :: 7]:
            in_virtual_time(LIFE.die_and_go_on, [first, second])
