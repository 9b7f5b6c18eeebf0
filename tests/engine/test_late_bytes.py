"""Bytes that are here while the disk is full: kept beyond the life of their URL, and not fetched again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest

from fluxbatch.engine import Engine
from fluxbatch.errors import StorageError, TargetBlocked
from fluxbatch.model.state import JobState, Reason
from fluxbatch.testing import Grant, MemorySink, ScriptedProvider, Send, make_job, make_png
from fluxbatch.testing.sink import MemoryLanding
from tests.engine.test_delivery import leave_leases
from tests.engine.world import VIRTUAL_TIME, World, jobs

if TYPE_CHECKING:
    from pathlib import Path

    from fluxbatch.model.job import PlannedJob, Stored


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return VIRTUAL_TIME


class Stuck(MemorySink):
    """What is fetched can't be put in place for a while, or never under one name."""

    def __init__(self, world: World, seconds: float = 0.0, blocked: str = "") -> None:
        super().__init__()
        self.world, self.seconds, self.blocked = world, seconds, blocked

    async def land(self) -> MemoryLanding:
        landing = StuckLanding(self)
        self.landings.add(landing)
        return landing


class StuckLanding(MemoryLanding):
    def __init__(self, sink: Stuck) -> None:
        super().__init__(sink)
        self.stuck = sink

    async def commit(self, filename: str, job: PlannedJob | None = None) -> Stored:
        if filename == self.stuck.blocked:
            raise TargetBlocked(f"{filename}.png is a folder", remedy="move it away")
        if self.stuck.world.clock.monotonic() < self.stuck.seconds:
            raise StorageError("the sink can't be written: no space left")
        return await super().commit(filename, job)


async def test_an_image_that_is_fetched_is_not_fetched_again() -> None:
    world = World(ceiling=3)
    world.sink = Stuck(world, seconds=world.clock.monotonic() + 300)
    desk = await world.run(jobs(10))
    assert desk.stop is not None
    assert desk.stop.reason == "storage"
    states = await world.states()
    assert states["stored"] == world.provider.billed.total() == len(world.fetcher.tries)


async def test_an_image_that_is_fetched_outlives_its_url() -> None:
    world = World(ceiling=3)
    world.provider = ScriptedProvider(world.clock, Grant(life_s=100.0))
    world.sink = Stuck(world, seconds=world.clock.monotonic() + 300)
    desk = await world.run(jobs(3))
    assert await world.states() == {"stored": 3}
    assert desk.account.lost == 0
    assert len(world.fetcher.tries) == 3


async def test_an_image_that_there_is_never_room_for_is_given_up_after_a_while() -> None:
    world = World(ceiling=3)
    world.provider = ScriptedProvider(world.clock, Grant(life_s=100.0))
    world.sink = Stuck(world, seconds=float("inf"))
    begun = world.clock.monotonic()
    desk = await world.run(jobs(10))
    assert 600 <= world.clock.monotonic() - begun < 700
    assert desk.stop is not None
    assert (desk.stop.reason, desk.stop.exit_code) == ("storage", 3)
    sent = len(world.provider.sent)
    assert await world.states() == {"generated": sent, "pending": 10 - sent}, "the next run has the last word"


async def test_a_blocked_name_is_its_own_jobs_matter() -> None:
    world = World(ceiling=3)
    world.sink = Stuck(world, blocked="job-00001")
    desk = await world.run(jobs(6))
    assert desk.stop is None
    assert await world.states() == {"stored": 5, "failed": 1}
    record = await world.record(make_job(1))
    assert record.failure is not None
    assert (record.failure.reason, record.lost) == (Reason.STORAGE_FAILED, 0)
    assert record.lease is not None, "the URL is still to be tried"


async def test_a_blocked_name_loses_an_image_that_came_in_the_answer(tmp_path: Path) -> None:
    """There is no URL to try again: it is paid for and lost, and said so."""
    world = World(ceiling=3)
    world.sink = Stuck(world, blocked="job-00001")
    world.provider = ScriptedProvider(world.clock, Send(), spool=tmp_path)
    desk = await world.run(jobs(3))
    assert desk.stop is None
    record = await world.record(make_job(1))
    assert (record.state, record.charged, record.lost) == (JobState.FAILED, 1, 1)
    assert desk.account.lost == 1


async def test_an_image_whose_landing_was_not_recorded_is_found() -> None:
    """Killed between putting it in place and writing that down; the URL is dead when the next run looks."""
    world = World(ceiling=3)
    await anyio.sleep(3600)
    [job] = await leave_leases(world, {"job-00000": 300.0})
    world.sink.alter("job-00000.png", make_png(5))
    await anyio.sleep(3600)
    desk = world.desk()
    await Engine(desk).fetch_owed(60.0)
    assert (desk.account.lost, desk.account.stored) == (0, 1)
    record = await world.record(job)
    assert record.state is JobState.STORED
    assert record.stored is not None
    assert (record.stored.file, record.stored.fingerprint) == ("job-00000.png", job.fingerprint)
    assert len(world.fetcher.tries) == 1, "the host has the first word"


async def test_an_older_image_under_the_name_is_not_taken_for_it() -> None:
    world = World(ceiling=3)
    world.sink.alter("job-00000.png", make_png(77))
    await anyio.sleep(3600)
    await leave_leases(world, {"job-00000": -10.0})
    desk = world.desk()
    await Engine(desk).fetch_owed(60.0)
    assert desk.account.lost == 1
