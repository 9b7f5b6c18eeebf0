"""Runs that die at an await, and are run again until nothing is left to do."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import anyio

from fluxbatch.engine import Engine
from fluxbatch.errors import StorageError
from fluxbatch.model.state import PASSING, JobState, Reason
from fluxbatch.planning.plan import decide
from fluxbatch.ports import Disposition, Enlisted, RunRow
from fluxbatch.testing import ScriptedProvider, VirtualTimeLoop
from tests.engine.world import World

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from fluxbatch.model.answer import Answer
    from fluxbatch.model.job import PlannedJob, Record
    from fluxbatch.ports import Presence

BETWEEN_RUNS_S = 20.0
"""and each time so much longer"""


class RecordingLoop(VirtualTimeLoop):
    """Remembers at which moments anything happened: between two of them, all tasks stand at one await."""

    def __init__(self) -> None:
        self.moments: list[float] = []
        super().__init__()

    def jump(self, seconds: float) -> None:
        super().jump(seconds)
        self.moments.append(self.time())


class GreedyProvider(ScriptedProvider):
    """Bills a request whose client dies, whatever it would have answered."""

    async def generate(self, job: PlannedJob) -> Answer:
        before = self.billed[job.id]
        try:
            return await super().generate(job)
        except asyncio.CancelledError:
            self.billed[job.id] = max(self.billed[job.id], before + 1)
            raise


class MortalWorld(World):
    """A world that is left as a killed process leaves it, and plans as the app does."""

    def left_behind(self) -> tuple[Any, Any, Any]:
        """What is written now: not what a clean-up would yet write."""
        return self.ledger.reopen(), self.sink.reopen(), self.rescue.reopen()

    async def plan(self, planned: Iterable[PlannedJob]) -> None:
        planned = list(planned)
        await self.ledger.begin(RunRow(self.run_id, self.clock.now()))
        rows: dict[str, Record] = await self.ledger.recall([job.id for job in planned])
        stored = [row.stored for row in rows.values() if row.stored is not None]
        found = await self.sink.check(stored)
        there: dict[str, Presence] = {one.file: presence for one, presence in zip(stored, found, strict=True)}
        enlisted = [_enlisted(job, rows.get(job.id), there) for job in planned]
        made = {one.job.id for one in enlisted if _stays_stored(one, rows.get(one.job.id))}
        await self.ledger.enlist(
            self.run_id, [replace(one, waits=not made.issuperset(one.job.needs)) for one in enlisted]
        )


def _enlisted(job: PlannedJob, row: Record | None, there: dict[str, Presence]) -> Enlisted:
    presence = there[row.stored.file] if row is not None and row.stored is not None else None
    decision = decide(job, row, presence)
    return Enlisted(job, decision.disposition, pardon=decision.pardon)


def _stays_stored(enlisted: Enlisted, row: Record | None) -> bool:
    if enlisted.disposition is Disposition.RESTORE:
        return True
    return enlisted.disposition is Disposition.KEEP and row is not None and row.state is JobState.STORED


@dataclass(frozen=True)
class Life:
    """What dies and is run again.

    Attributes:
        plan: what is asked for.
        world: a new one.
        check: what must hold once nothing is left to do.
        most_runs: that a user has to start, beside those that die, until nothing is.
    """

    plan: Sequence[PlannedJob]
    world: Callable[[], MortalWorld]
    check: Callable[[MortalWorld, dict[str, Record]], None]
    most_runs: int = 1

    async def live(self, world: MortalWorld) -> dict[str, Record]:
        """Run until all is settled."""
        records: dict[str, Record] = {}
        for number in range(self.most_runs):
            world.run_id = f"{world.clock.monotonic():.3f}"
            try:
                await self._one_run(world)
            except StorageError:
                assert world.provider.in_flight == world.fetcher.in_flight == 0
            world.ledger = world.ledger.reopen()
            records = await world.ledger.recall([job.id for job in self.plan])
            if len(records) == len(self.plan) and all(_is_settled(record, records) for record in records.values()):
                return records
            await anyio.sleep(BETWEEN_RUNS_S * number)
        raise AssertionError({job_id: str(record.failure or record.state) for job_id, record in records.items()})

    async def _one_run(self, world: MortalWorld) -> None:
        """As the app does it: settle, fetch what is owed, plan, run."""
        desk = world.desk()
        engine = Engine(desk)
        await engine.recover()
        await engine.fetch_owed(60.0)
        await world.plan(self.plan)
        await engine.run()
        if not desk.books.behind:
            world.check_leaks(desk)

    async def die_and_go_on(self, moments: Sequence[float], *, politely: bool = False) -> None:
        """Live, but for these moments (seconds of each life), and settle all in the end."""
        world = self.world()
        for moment in moments:
            left: list[tuple[Any, Any, Any]] = []
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(_kill, world, moment, left, scope)
                    await self.live(world)
                    scope.cancel()
            if left and not politely:
                world.ledger, world.sink, world.rescue = left[0]
            else:
                assert world.sink.landings == set(), "a cancelled run leaves temporary files"
                world.ledger = world.ledger.reopen()
        self.check(world, await self.live(world))

    def moments(self) -> list[float]:
        """A moment within each await of an undisturbed life."""
        found: list[float] = in_virtual_time(self._watched)
        return found

    async def _watched(self) -> list[float]:
        world = self.world()
        self.check(world, await self.live(world))
        loop = asyncio.get_running_loop()
        assert isinstance(loop, RecordingLoop)
        return [(a + b) / 2 for a, b in pairwise([0.0, *loop.moments]) if b - a > 1e-6]


async def _kill(world: MortalWorld, moment: float, left: list[tuple[Any, Any, Any]], scope: anyio.CancelScope) -> None:
    await anyio.sleep(moment)
    left.append(world.left_behind())
    scope.cancel()


def _is_settled(record: Record, records: dict[str, Record]) -> bool:
    if record.state is JobState.FAILED:
        assert record.failure is not None
        if record.failure.reason is Reason.DEPENDENCY_FAILED:
            upstream = [records[job_id] for job_id in record.job.needs]
            return any(one.state is JobState.FAILED and _is_settled(one, records) for one in upstream)
        return record.failure.reason not in PASSING
    return record.state is JobState.STORED


def in_virtual_time(function: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
    return anyio.run(function, *arguments, backend_options={"loop_factory": RecordingLoop})


def check_money(world: MortalWorld, records: dict[str, Record], *, most_lost: int = 0) -> None:
    """Nobody pays for what nobody knows of, nor more than twice, and what was paid for is there."""
    for record in records.values():
        billed = world.provider.billed[record.job.id]
        assert record.charged <= billed <= record.charged + record.unknown, "a charge that nobody knows of"
        assert record.charged + record.unknown <= 2, "sent a third time"
        assert record.lost <= most_lost, "an image was lost although its URL lived"
        assert record.charged - record.lost == (record.state is JobState.STORED), "paid for, and neither there nor lost"
        if record.state is JobState.STORED:
            assert record.stored is not None
            assert world.sink.read(record.stored.file) is not None
    assert world.sink.landings == set()
    told = {record.stored.file for record in records.values() if record.stored is not None}
    lost = {f"{record.job.filename}.png" for record in records.values() if record.lost}
    assert told <= set(world.sink.files()) <= told | lost
