"""A run of chains is killed at each of its awaits; the next one goes on, and sends nothing before what it needs."""

from __future__ import annotations

from functools import cache, partial
from typing import TYPE_CHECKING, Any

import pytest

from fluxbatch.model.job import Fit, JobOutput, Photo
from fluxbatch.model.state import JobState, Reason
from fluxbatch.testing import (
    Grant,
    MemoryLedger,
    MemorySink,
    Refuse,
    ScriptedFetcher,
    Serving,
    VirtualClock,
    make_job,
    make_png,
)
from tests.engine.dying import GreedyProvider, Life, MortalWorld, check_money, in_virtual_time

if TYPE_CHECKING:
    from fluxbatch.model.answer import Answer
    from fluxbatch.model.job import Lease, PlannedJob, Record
    from fluxbatch.testing import Act

FIT = Fit(long_edge=128)
PLAN = [
    make_job(0),
    make_job(1, images=(JobOutput("job-00000"),)),
    make_job(2, images=(JobOutput("job-00001", FIT), JobOutput("job-00000"))),
    make_job(3, images=(JobOutput("job-00000"),)),
    make_job(4),
]


class StrictProvider(GreedyProvider):
    """Takes a job only if its inputs are there, and stored."""

    world: MortalWorld

    async def generate(self, job: PlannedJob) -> Answer:
        sink, ledger = self.world.sink, self.world.ledger
        for upstream, image in zip(PLAN[job.position].needs, job.images, strict=True):
            assert isinstance(image, Photo)
            assert sink.read(image.ref) is not None, f"{job.id} was sent without its input"
            assert ledger._records[upstream].state is JobState.STORED, f"{job.id} was sent before {upstream} was stored"
        return await super().generate(job)


def script(job: PlannedJob, attempt: int) -> Act:
    """A refusal in one chain, an image that is lost in another."""
    if attempt == 1 and job.position == 1:
        return Refuse(status=429, latency_s=0.31)
    return Grant(latency_s=1.13 + job.position / 10, life_s=20.0 if (job.position, attempt) == (0, 1) else 600.0)


def serve(lease: Lease, attempt: int) -> Serving:
    if "job-00000/1.png" in lease.url:
        return Serving(status=403, latency_s=0.21)
    return Serving(latency_s=0.43, data=make_png(3, width=256, height=128))


def new_world() -> MortalWorld:
    clock = VirtualClock()
    provider = StrictProvider(clock, script)
    world = MortalWorld(
        clock=clock,
        provider=provider,
        fetcher=ScriptedFetcher(clock, serve),
        # each call takes a time of its own, so that each await can be told from the others
        ledger=MemoryLedger(commit_s=0.007),
        sink=MemorySink(latency_s=0.003),
        ceiling=2,
    )
    world.fitter.latency_s = 0.05
    provider.world = world
    return world


def check_undisturbed(world: MortalWorld, records: dict[str, Record]) -> None:
    check(world, records)
    assert {record.state for record in records.values()} == {JobState.STORED}
    assert [record.charged for record in records.values()] == [2, 1, 1, 1, 1]


def check(world: MortalWorld, records: dict[str, Record]) -> None:
    check_money(world, records, most_lost=2)
    for record in records.values():
        if record.state is JobState.STORED:
            continue
        assert record.failure is not None
        if record.failure.reason is Reason.DEPENDENCY_FAILED:
            assert any(records[upstream].state is JobState.FAILED for upstream in record.job.needs)
            assert world.provider.billed[record.job.id] == 0
        else:
            # held, or lost for good: twice it was maybe billed
            assert record.failure.reason in {Reason.UNKNOWN_OUTCOME, Reason.EXPIRED}
            assert record.charged + record.unknown == 2


@cache
def life() -> tuple[Life, list[float]]:
    moments = Life(PLAN, new_world, check_undisturbed, most_runs=3).moments()
    return Life(PLAN, new_world, check, most_runs=4), moments


def each_eighth() -> list[Any]:
    return [pytest.param(number, id=f"{number} of 8") for number in range(8)]


def test_there_are_enough_moments() -> None:
    assert len(life()[1]) > 80


@pytest.mark.parametrize("number", each_eighth())
@pytest.mark.parametrize("politely", [False, True], ids=["killed", "cancelled"])
def test_death_at_every_await(number: int, *, politely: bool) -> None:
    living, moments = life()
    for moment in moments[number::8]:
        in_virtual_time(partial(living.die_and_go_on, [moment], politely=politely))


@pytest.mark.slow
@pytest.mark.parametrize("number", each_eighth())
def test_death_at_two_awaits(number: int) -> None:
    living, moments = life()
    for index, first in enumerate(moments[number::8]):
        for second in moments[(index + number) % 5 :: 5]:
            in_virtual_time(living.die_and_go_on, [first, second])
