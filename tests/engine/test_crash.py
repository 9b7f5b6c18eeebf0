"""A run is killed at each of its awaits; the next one loses nothing, and pays for nothing more than twice."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from fluxbatch.engine import Engine
from fluxbatch.model.state import JobState
from fluxbatch.testing import (
    Grant,
    MemoryLedger,
    MemorySink,
    Refuse,
    ScriptedFetcher,
    ScriptedProvider,
    Serving,
    VirtualClock,
    VirtualTimeLoop,
)
from tests.engine.world import World, jobs

if TYPE_CHECKING:
    from collections.abc import Callable

    from fluxbatch.model.job import Lease, PlannedJob
    from fluxbatch.testing import Act

PLAN = jobs(4)


class RecordingLoop(VirtualTimeLoop):
    """Remembers at which moments anything happened: between two of them, all tasks stand at one await."""

    def __init__(self) -> None:
        self.moments: list[float] = []
        super().__init__()

    def jump(self, seconds: float) -> None:
        super().jump(seconds)
        self.moments.append(self.time())


def script(job: PlannedJob, attempt: int) -> Act:
    """One of each: at once, after a refusal, after a doubt."""
    if attempt == 1 and job.position == 1:
        return Refuse(status=429, latency_s=0.31)
    if attempt == 1 and job.position == 2:
        return Refuse(status=504, latency_s=0.77, billed=True)
    return Grant(latency_s=1.13 + job.position / 10)


def serve(_lease: Lease, attempt: int) -> Serving:
    return Serving(latency_s=0.43, cut_after=30 if attempt == 1 else None, etag='"one"')


def new_world() -> World:
    clock = VirtualClock()
    return World(
        clock=clock,
        provider=ScriptedProvider(clock, script),
        fetcher=ScriptedFetcher(clock, serve),
        # each call takes a time of its own, so that each await can be told from the others
        ledger=MemoryLedger(commit_s=0.007),
        sink=MemorySink(latency_s=0.003),
        ceiling=2,
    )


async def whole_run(world: World) -> None:
    """As the app does it: settle, fetch what is owed, plan, run."""
    engine = Engine(world.desk())
    await engine.recover()
    await engine.fetch_owed(60.0)
    await world.plan(PLAN)
    await engine.run()


def in_virtual_time(function: Callable[..., Any], *arguments: Any) -> Any:
    return anyio.run(function, *arguments, backend_options={"loop_factory": RecordingLoop})


async def watched() -> list[float]:
    await whole_run(new_world())
    loop = asyncio.get_running_loop()
    assert isinstance(loop, RecordingLoop)
    return loop.moments


MOMENTS = in_virtual_time(watched)
BETWEEN = [(a + b) / 2 for a, b in pairwise([0.0, *MOMENTS]) if b - a > 1e-6]


async def kill(world: World, moment: float, left: list[tuple[Any, Any]], scope: anyio.CancelScope) -> None:
    await anyio.sleep(moment)
    # what a killed process leaves is what is written now, not what its clean-up would have written
    left.append((world.ledger.reopen(), world.sink.reopen()))
    scope.cancel()


async def die_and_go_on(moments: list[float], *, politely: bool) -> None:
    world = new_world()
    for number, moment in enumerate(moments):
        world.run_id = f"run-{number}"
        left: list[tuple[MemoryLedger, MemorySink]] = []
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(kill, world, moment, left, scope)
                await whole_run(world)
                scope.cancel()
        if left and not politely:
            world.ledger, world.sink = left[0]
        else:
            assert world.sink.landings == set(), "a cancelled run leaves temporary files"
            world.ledger = world.ledger.reopen()
    world.run_id = "the last run"
    await whole_run(world)
    await check(world)


async def check(world: World) -> None:
    records = await world.ledger.recall([job.id for job in PLAN])
    for job in PLAN:
        record = records[job.id]
        billed = world.provider.billed[job.id]
        assert record.charged <= billed <= record.charged + record.unknown, "a charge that nobody knows of"
        assert record.charged + record.unknown <= 2, "sent a third time"
        assert record.lost == 0, "an image was lost although its URL lived"
        if record.state is JobState.STORED:
            assert record.stored is not None
            assert world.sink.read(record.stored.file) is not None
        else:
            # held: twice it was under way when everything died, or died once and was unsure once
            assert (record.state, record.charged + record.unknown) == (JobState.FAILED, 2)
    if all(record.unknown < 2 for record in records.values()):
        assert {record.state for record in records.values()} == {JobState.STORED}


def test_there_are_enough_moments() -> None:
    assert len(BETWEEN) > 50


@pytest.mark.parametrize("politely", [False, True], ids=["killed", "cancelled"])
def test_death_at_every_await(*, politely: bool) -> None:
    for moment in BETWEEN:
        in_virtual_time(_with(die_and_go_on, [moment], politely=politely))


def test_death_at_two_awaits() -> None:
    for number, first in enumerate(BETWEEN[::5]):
        for second in BETWEEN[number % 7 :: 7]:
            in_virtual_time(_with(die_and_go_on, [first, second], politely=False))


def _with(function: Callable[..., Any], *arguments: Any, **options: Any) -> Callable[[], Any]:
    async def call() -> Any:
        return await function(*arguments, **options)

    return call
