"""Interrupts, and what an earlier run left behind."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from fluxbatch.engine import Engine
from fluxbatch.model.events import JobFailed, JobStored, RunStopping
from fluxbatch.model.job import Step
from fluxbatch.model.state import JobState, Reason
from fluxbatch.model.summary import Stop
from fluxbatch.testing import (
    Grant,
    MemoryLedger,
    Recorder,
    Refuse,
    ScriptedFetcher,
    ScriptedProvider,
    Serving,
    make_job,
)
from tests.engine.test_delivery import leave_leases
from tests.engine.world import VIRTUAL_TIME, World, jobs

if TYPE_CHECKING:
    from fluxbatch.model.answer import Answer
    from fluxbatch.model.events import Event
    from fluxbatch.model.job import Lease, PlannedJob
    from fluxbatch.ports import Landing

INTERRUPTED = Stop("interrupted", "interrupted", exit_code=130)


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return VIRTUAL_TIME


async def interrupt(world: World, after_s: float, *, script: Any = None, **settings: Any) -> Any:
    world.provider = ScriptedProvider(world.clock, script or Grant(latency_s=10.0))
    await world.plan(jobs(50))
    desk = world.desk(**settings)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Engine(desk).run)
        await anyio.sleep(after_s)
        desk.ask_to_stop(INTERRUPTED)
    world.check_leaks(desk)
    return desk


async def test_an_interrupt_finishes_what_is_in_flight_and_delivers_every_lease() -> None:
    world = World(ceiling=5)
    world.fetcher = ScriptedFetcher(
        world.clock, lambda _lease, attempt: Serving(status=503) if attempt < 5 else Serving()
    )
    desk = await interrupt(world, 25.0)
    assert desk.stop == INTERRUPTED
    assert await world.states() == {"stored": 15, "pending": 35}
    assert len(world.provider.sent) == 15


async def test_an_interrupt_with_nothing_under_way_ends_at_once() -> None:
    world = World()
    limited = Refuse(status=429, retry_after=100.0, latency_s=1.0)
    begun = world.clock.monotonic()
    await interrupt(world, 20.0, script=limited)
    assert world.clock.monotonic() - begun == pytest.approx(20.0)


async def test_an_interrupt_has_the_last_word() -> None:
    world = World()
    desk = world.desk()
    desk.ask_to_stop(Stop("budget", "no money"))
    desk.ask_to_stop(Stop("storage", "no disk"))
    assert desk.stop is not None
    assert desk.stop.reason == "budget"
    desk.ask_to_stop(INTERRUPTED)
    desk.ask_to_stop(Stop("storage", "no disk"))
    desk.ask_to_stop(Stop("terminated", "terminated", exit_code=143))
    assert desk.stop == replace(INTERRUPTED, before="no money"), "what had stopped it is forgotten"
    assert [event.stop_reason for event in world.recorder.of(RunStopping)] == ["budget", "interrupted"]


# ---------------------------------------------------------------------------------------------------------- recover
async def submitted(world: World, count: int) -> None:
    await world.plan(jobs(count))
    for job in jobs(count):
        await world.ledger.advance(Step(job.id, JobState.PENDING, JobState.SUBMITTED))


async def test_requests_of_a_run_that_died_are_maybe_billed() -> None:
    world = World()
    await submitted(world, 3)
    desk = world.desk()
    assert await Engine(desk).recover() == 3
    record = await world.record(make_job(0))
    assert (record.state, record.unknown, record.attempts) == (JobState.PENDING, 1, 1)
    assert record.unknown_usd == pytest.approx(0.03)
    assert await Engine(desk).recover() == 0


async def test_requests_of_a_run_that_died_are_held_if_asked() -> None:
    world = World()
    await submitted(world, 3)
    await Engine(world.desk(if_unsure="hold")).recover()
    assert await world.states() == {"failed": 3}
    assert {event.failure.reason for event in world.recorder.of(JobFailed)} == {Reason.UNKNOWN_OUTCOME}


async def test_a_job_that_dies_with_each_run_is_held_the_second_time() -> None:
    world = World()
    await submitted(world, 1)
    await Engine(world.desk()).recover()
    await world.ledger.advance(Step("job-00000", JobState.PENDING, JobState.SUBMITTED))
    await Engine(world.desk()).recover()
    record = await world.record(make_job(0))
    assert (record.state, record.unknown) == (JobState.FAILED, 2)


async def test_more_than_a_page_is_recovered() -> None:
    world = World()
    await submitted(world, 2500)
    assert await Engine(world.desk()).recover() == 2500
    assert await world.states() == {"pending": 2500}


# -------------------------------------------------------------------------------------------------------- fetch_owed
async def test_what_is_owed_is_fetched_first() -> None:
    world = World()
    await leave_leases(world, {"a": 60.0, "b": 500.0})
    desk = world.desk()
    assert await Engine(desk).fetch_owed(60.0) == 2
    assert (await world.ledger.recall(["a"]))["a"].state is JobState.STORED
    world.check_leaks(desk)
    assert desk.account.stored == 2


async def test_fetching_what_is_owed_ends_in_time_and_run_goes_on() -> None:
    world = World()
    planned = await leave_leases(world, {"a": 500.0, "b": 500.0, "c": 500.0})
    world.fetcher = ScriptedFetcher(
        world.clock, lambda _lease, attempt: Serving(latency_s=50.0 if attempt < 2 else 1.0)
    )
    desk = world.desk(downloads=2)
    engine = Engine(desk)
    begun = world.clock.monotonic()
    assert await engine.fetch_owed(20.0) == 3
    assert world.clock.monotonic() - begun == pytest.approx(20.0)
    world.check_leaks(desk)
    await world.plan(planned)
    await engine.run()
    world.check_leaks(desk)
    assert {record.state for record in (await world.ledger.recall(["a", "b", "c"])).values()} == {JobState.STORED}
    assert world.provider.sent == []


async def test_nothing_owed_takes_no_time() -> None:
    world = World()
    begun = world.clock.monotonic()
    assert await Engine(world.desk()).fetch_owed(60.0) == 0
    assert world.clock.monotonic() == begun


async def test_leases_of_another_plan_are_fetched_and_not_made_again() -> None:
    """A job that is no longer asked for: what was paid comes home, and it is never bought."""
    world = World()
    await leave_leases(world, {"kept": 500.0, "lost": -10.0})
    await world.run(jobs(2))
    found = await world.ledger.recall(["kept", "lost"])
    assert found["kept"].state is JobState.STORED
    assert (found["lost"].state, found["lost"].lost) == (JobState.FAILED, 1)
    assert {sent.job_id for sent in world.provider.sent} == {"job-00000", "job-00001"}
    assert found["kept"].charged == 1


# ------------------------------------------------------------------------------------------------- defects of our own
async def test_a_defect_of_an_observer_does_not_hang_the_run() -> None:
    class Broken(Recorder):
        def note(self, event: Event) -> None:
            super().note(event)
            if isinstance(event, JobStored) and event.job_id == "job-00001":
                raise ValueError("a defect")

    world = World(ceiling=5, recorder=Broken())
    await world.plan(jobs(50))
    desk = world.desk()
    with anyio.fail_after(1000), pytest.raises(ValueError, match="a defect"):
        await Engine(desk).run()
    world.check_leaks(desk)
    assert (await world.states())["stored"] == len(world.provider.sent) < 50


@pytest.mark.parametrize("where", ["provider", "fetcher"])
async def test_a_defect_does_not_throw_away_what_is_paid_for(where: str) -> None:
    """An error that nobody thought of: nothing new is sent, the others come home, then it is raised."""
    world = World(ceiling=5)

    class Broken(ScriptedProvider):
        async def generate(self, job: PlannedJob) -> Answer:
            if where == "provider" and job.position == 3:
                await anyio.sleep(1.0)
                raise ValueError("a defect")
            return await super().generate(job)

    class BrokenFetcher(ScriptedFetcher):
        async def fetch(self, lease: Lease, landing: Landing) -> None:
            if where == "fetcher" and "job-00003" in lease.url:
                raise ValueError("a defect")
            await super().fetch(lease, landing)

    world.provider = Broken(world.clock, lambda job, _: Grant(latency_s=2.0 if job.position == 3 else 10.0))
    world.fetcher = BrokenFetcher(world.clock)
    await world.plan(jobs(50))
    desk = world.desk()
    with pytest.raises(ValueError, match="a defect"):
        await Engine(desk).run()
    world.check_leaks(desk)
    states = await world.states()
    assert states["stored"] + states["pending"] == 49
    assert states["pending"] >= 44, "beyond the one that took its place as it was answered, nothing more is sent"
    # what became of the one is left for the next run to find out
    assert states.get("submitted", 0) + states.get("generated", 0) == 1
    assert desk.stop is not None
    assert desk.stop.exit_code == 70


# ------------------------------------------------------------------------------------------------- too many failures
async def test_failures_stop_a_run_before_others_take_their_place() -> None:
    """Also with a ledger that takes its time to put them on record."""
    world = World(ceiling=4, ledger=MemoryLedger(commit_s=20.0))
    world.provider = ScriptedProvider(world.clock, Refuse(status=400, message="Request Moderated", latency_s=5.0))
    desk = await world.run(jobs(50), stop_after_failures=6)
    assert desk.stop is not None
    assert (desk.stop.reason, desk.stop.exit_code) == ("failures", 3)
    assert len(world.provider.sent) <= 6 + 3
