"""A ledger that can't be written: what was paid for is kept elsewhere, fetched all the same, and found again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest

from fluxbatch.engine import Engine
from fluxbatch.errors import StorageError
from fluxbatch.model.events import StepsRescued
from fluxbatch.model.state import JobState
from fluxbatch.testing import Grant, MemoryLedger, MemoryRescue, ScriptedProvider
from tests.engine.world import VIRTUAL_TIME, World, jobs

if TYPE_CHECKING:
    from fluxbatch.model.job import Step


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return VIRTUAL_TIME


class FullLedger(MemoryLedger):
    """Can't be written between two moments."""

    full_from, full_until = float("inf"), float("inf")

    async def advance(self, step: Step) -> None:
        if self.full_from <= anyio.current_time() < self.full_until:
            raise StorageError("the ledger can't be written: no space left")
        await super().advance(step)


class FullRescue(MemoryRescue):
    """Can't be written either, until a moment."""

    full_until = 0.0

    async def keep(self, step: Step) -> None:
        if anyio.current_time() < self.full_until:
            raise StorageError("no place can be written")
        await super().keep(step)


def full_world(*, since: float, until: float) -> World:
    world = World(ceiling=4, ledger=FullLedger())
    world.ledger.full_from, world.ledger.full_until = since, until
    world.provider = ScriptedProvider(world.clock, Grant(latency_s=3.0))
    return world


async def test_what_is_paid_for_lands_although_the_ledger_is_full() -> None:
    begun = anyio.current_time()
    world = full_world(since=begun + 4, until=float("inf"))
    await world.plan(jobs(40))
    desk = world.desk()
    await Engine(desk).run()
    assert desk.stop is not None
    assert (desk.stop.reason, desk.stop.exit_code) == ("storage", 3)
    assert len(world.provider.sent) == 8, "something was sent after it was known that nothing can be written down"
    assert len(world.sink.files()) == 8
    assert desk.books.behind == 8, "four that were granted and stored; the four before them are in the ledger"
    assert anyio.current_time() - begun < 50, "the run waited for a ledger that nothing depends on"


async def test_the_next_run_finds_what_the_ledger_lacks() -> None:
    begun = anyio.current_time()
    world = full_world(since=begun + 4, until=float("inf"))
    await world.plan(jobs(12))
    await Engine(world.desk()).run()
    world.ledger.full_from = float("inf")
    world.ledger = world.ledger.reopen()
    world.run_id = "next"
    engine = Engine(world.desk())
    assert await engine.recover() == 0, "what is on record in the rescue is no unknown outcome"
    assert [(event.taken, event.strays) for event in world.recorder.of(StepsRescued)] == [(8, 0)]
    assert await world.rescue.kept() == []
    await world.plan(jobs(12))
    await engine.run()
    assert await world.states() == {"stored": 12}
    assert set(world.provider.billed.values()) == {1}


async def test_a_ledger_that_recovers_catches_up_by_itself() -> None:
    begun = anyio.current_time()
    world = full_world(since=begun + 4, until=begun + 6.05)
    await world.plan(jobs(40))
    desk = world.desk()
    await Engine(desk).run()
    world.check_leaks(desk)
    assert await world.states() == {"stored": 8, "pending": 32}
    assert await world.rescue.kept() == []


async def test_with_no_place_left_it_is_tried_as_long_as_a_url_lives() -> None:
    begun = anyio.current_time()
    world = full_world(since=begun + 4, until=begun + 200)
    world.rescue = FullRescue()
    world.rescue.full_until = float("inf")
    await world.plan(jobs(40))
    desk = world.desk()
    await Engine(desk).run()
    world.check_leaks(desk)
    assert await world.states() == {"stored": 8, "pending": 32}


async def test_a_run_that_dies_with_a_full_ledger_loses_no_url() -> None:
    begun = anyio.current_time()
    world = full_world(since=begun + 2, until=float("inf"))
    await world.plan(jobs(4))
    with anyio.move_on_after(3.05):  # granted at 3 s, and not fetched yet
        await Engine(world.desk()).run()
    world.ledger.full_from = float("inf")
    world.ledger, world.sink = world.ledger.reopen(), world.sink.reopen()
    world.run_id = "next"
    engine = Engine(world.desk())
    await engine.recover()
    assert len(await world.ledger.in_state(JobState.GENERATED)) == 4
    await world.plan(jobs(4))
    await engine.run()
    assert await world.states() == {"stored": 4}
    assert set(world.provider.billed.values()) == {1}


async def test_what_another_ledger_was_paid_for_is_not_thrown_away() -> None:
    """A disk that is not mounted, and a new ledger in its place: the file stays until its own ledger is back."""
    begun = anyio.current_time()
    world = full_world(since=begun + 2, until=float("inf"))
    await world.plan(jobs(4))
    with anyio.move_on_after(3.05):
        await Engine(world.desk()).run()
    world.ledger.full_from = float("inf")
    right, world.ledger = world.ledger.reopen(), MemoryLedger()
    with pytest.raises(StorageError, match="is its disk mounted"):
        await Engine(world.desk()).recover()
    assert len(await world.rescue.kept()) == 4
    world.ledger = right
    await Engine(world.desk()).recover()
    assert len(await world.ledger.in_state(JobState.GENERATED)) == 4
    assert await world.rescue.kept() == []
