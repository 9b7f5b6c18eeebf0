"""The engine on the real ledger and the real folder, in real time: threads, group commits, files."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
import pytest

from fluxbatch.adapters.clock import SystemClock
from fluxbatch.adapters.disk import FileSource, FolderSink
from fluxbatch.adapters.ledger import SqliteLedger
from fluxbatch.engine import Engine
from fluxbatch.model.job import JobOutput, Photo
from fluxbatch.model.state import JobState, Reason
from fluxbatch.testing import Grant, Lose, ScriptedFetcher, ScriptedProvider, Serving, make_job
from tests.engine.world import World, jobs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from blockbuster import BlockBuster

    from fluxbatch.model.answer import Answer
    from fluxbatch.model.job import PlannedJob
    from fluxbatch.testing import Act


@asynccontextmanager
async def on_disk(folder: Path, guard: BlockBuster) -> AsyncIterator[World]:
    """A world whose ledger and sink are those of a folder; every call may be the first of a process."""
    guard.deactivate()  # to prepare the folder, which is done before a run
    sink = FolderSink(folder, folder / ".fluxbatch" / "landing")
    sink.sweep()
    guard.activate()
    ledger = await SqliteLedger(folder / ".fluxbatch" / "ledger.sqlite", kind="live").open()
    clock = SystemClock()
    world = World(
        clock=clock,  # type: ignore[arg-type]  # any clock will do
        ledger=ledger,
        sink=sink,
        provider=ScriptedProvider(clock, script),
        fetcher=ScriptedFetcher(clock, Serving(latency_s=0.003)),
    )
    try:
        yield world
    finally:
        await ledger.close()


def script(job: PlannedJob, attempt: int) -> Act:
    if attempt == 1 and job.position % 40 == 3:
        return Lose(latency_s=0.002, billed=True)
    return Grant(latency_s=0.002)


async def test_everything_lands(tmp_path: Path, blockbuster: BlockBuster) -> None:
    async with on_disk(tmp_path, blockbuster) as world:
        await world.plan(jobs(120))
        desk = world.desk()
        with anyio.fail_after(30):
            await Engine(desk).run()
        assert await world.states() == {"stored": 120}
        assert (desk.account.charged, desk.account.unknown) == (120, 3)
    assert len(list(tmp_path.glob("*.png"))) == 120
    assert list((tmp_path / ".fluxbatch" / "landing").iterdir()) == []


@pytest.mark.parametrize("after_s", [0.03, 0.08, 0.15])
async def test_a_cancelled_run_goes_on(tmp_path: Path, blockbuster: BlockBuster, after_s: float) -> None:
    planned = jobs(120)
    async with on_disk(tmp_path, blockbuster) as world:
        world.run_id = "first"
        await world.plan(planned)
        with anyio.move_on_after(after_s):
            await Engine(world.desk()).run()
        billed = world.provider.billed
    async with on_disk(tmp_path, blockbuster) as world:
        world.run_id = "second"
        desk = world.desk()
        engine = Engine(desk)
        await engine.recover()
        await engine.fetch_owed(10.0)
        await world.plan(planned)
        with anyio.fail_after(30):
            await engine.run()
        billed += world.provider.billed
        records = await world.ledger.recall([job.id for job in planned])
        for job in planned:
            record = records[job.id]
            assert record.charged <= billed[job.id] <= record.charged + record.unknown <= 2
            assert record.state is JobState.STORED or record.unknown == 2
        assert await world.ledger.in_state("submitted") == await world.ledger.in_state("generated") == []


async def test_chains_take_files_of_the_folder(tmp_path: Path, blockbuster: BlockBuster) -> None:
    opened: list[str] = []

    class Opening(ScriptedProvider):
        async def generate(self, job: PlannedJob) -> Answer:
            for image in job.images:
                assert isinstance(image, Photo)
                blockbuster.deactivate()  # the upload opens files on the loop too
                FileSource().open(image).close()
                blockbuster.activate()
                opened.append(image.ref)
            return await super().generate(job)

    async with on_disk(tmp_path, blockbuster) as world:
        planned = [make_job(n, images=(JobOutput(make_job(n - 10).id),) if n >= 10 else ()) for n in range(40)]
        world.provider = Opening(world.clock, Grant(latency_s=0.002))
        await world.plan(planned)
        with anyio.fail_after(30):
            await Engine(world.desk()).run()
        assert await world.states() == {"stored": 40}
    assert sorted(opened) == [f"{job.id}.png" for job in planned[:30]]


async def test_a_name_that_is_taken_by_something_else_fails_its_job_alone(
    tmp_path: Path, blockbuster: BlockBuster
) -> None:
    async with on_disk(tmp_path, blockbuster) as world:
        beneath, folder = make_job(0, id="in/the/way"), make_job(1, id="folder")
        (tmp_path / "in").write_text("a file where a folder should be")
        (tmp_path / "folder.png").mkdir()
        await world.plan([beneath, folder, *(make_job(n) for n in range(2, 5))])
        world.provider = ScriptedProvider(world.clock, Grant(latency_s=0.01))
        desk = world.desk()
        with anyio.fail_after(30):
            await Engine(desk).run()
        assert desk.stop is None
        assert await world.states() == {"stored": 3, "failed": 2}
        for job in (beneath, folder):
            record = await world.record(job)
            assert record.failure is not None
            assert record.failure.reason is Reason.STORAGE_FAILED
            assert record.lease is not None
