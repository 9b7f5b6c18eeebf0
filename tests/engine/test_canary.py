"""The first few jobs of a run go ahead; the others wait for how they fare."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest

from fluxbatch.engine import Engine
from fluxbatch.errors import PhotoError
from fluxbatch.model.events import JobFailed, JobStored
from fluxbatch.model.job import Fitting, JobOutput, Photo
from fluxbatch.testing import Grant, MemoryLedger, Refuse, ScriptedFetcher, ScriptedProvider, Serving, make_job
from tests.engine.world import VIRTUAL_TIME, World, jobs, rounds

if TYPE_CHECKING:
    from fluxbatch.engine import Desk
    from fluxbatch.model.job import PlannedJob
    from fluxbatch.testing import Act

MODERATED = Refuse(status=403, message="Request Moderated")
NO_MODEL = Refuse(status=503, code="model_not_found", message="无可用渠道")


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return VIRTUAL_TIME


async def run(world: World, planned: list[PlannedJob], script: Any = None, **settings: Any) -> Desk:
    world.provider = ScriptedProvider(world.clock, script)
    with anyio.fail_after(100_000):
        return await world.run(planned, **settings)


def ended_at(world: World) -> dict[str, float]:
    shift = world.clock.monotonic() - world.clock.now()
    ends = {event.job_id: event.at + shift for event in world.recorder.of(JobStored)}
    return ends | {event.job_id: event.at + shift for event in world.recorder.of(JobFailed)}


def sent_at(world: World) -> dict[str, float]:
    """When each was sent first."""
    return {sent.job_id: sent.at for sent in reversed(world.provider.sent)}


@pytest.mark.parametrize("commit_s", [0.0, 0.1])
async def test_the_others_follow_once_the_first_have_landed(commit_s: float) -> None:
    world = World(ceiling=20, ledger=MemoryLedger(commit_s=commit_s))
    desk = await run(world, jobs(50), lambda job, _: Grant(latency_s=1.0 + 5 * job.position), canary=3)
    assert await world.states() == {"stored": 50}
    assert desk.stop is None
    ends, starts = ended_at(world), sent_at(world)
    assert {job_id for job_id, at in starts.items() if at < 1.0} == {"job-00000", "job-00001", "job-00002"}
    assert min(starts[job.id] for job in jobs(50)[3:]) >= max(ends[job.id] for job in jobs(3)) - 0.001


async def test_too_many_failures_stop_the_run() -> None:
    world = World()
    desk = await run(world, jobs(50), lambda job, _: MODERATED if job.position < 2 else Grant(), canary=5)
    assert desk.stop is not None
    assert (desk.stop.reason, desk.stop.exit_code) == ("canary", 3)
    assert desk.stop.message == "2 of the first 5 jobs failed: moderated (Request Moderated)"
    assert len(world.provider.sent) == 5
    assert await world.states() == {"stored": 3, "failed": 2, "pending": 45}


async def test_few_failures_do_not() -> None:
    world = World()
    desk = await run(world, jobs(50), lambda job, _: MODERATED if job.position == 2 else Grant(), canary=5)
    assert desk.stop is None
    assert await world.states() == {"stored": 49, "failed": 1}


async def test_the_share_can_be_set() -> None:
    for share, stops in ((0.5, False), (0.4, True)):
        world = World()
        desk = await run(
            world, jobs(9), lambda job, _: MODERATED if job.position < 1 else Grant(), canary=2, canary_share=share
        )
        assert (desk.stop is not None) is stops


async def test_retries_and_remakes_are_waited_for() -> None:
    world = World()
    script: dict[str, list[Act]] = {
        "job-00000": [Refuse(status=429), Refuse(status=408, early=True), Grant()],
        "job-00001": [Grant(), Grant(latency_s=50.0)],
    }
    world.fetcher = ScriptedFetcher(
        world.clock, lambda lease, _: Serving(status=403 if "job-00001/1.png" in lease.url else 200)
    )
    desk = await run(world, jobs(20), script, canary=2)
    assert desk.stop is None
    assert await world.states() == {"stored": 20}
    starts = sent_at(world)
    assert min(starts[job.id] for job in jobs(20)[2:]) >= max(ended_at(world)[job.id] for job in jobs(2)) - 0.001 > 600


@pytest.mark.parametrize("count", [0, 1, 3])
async def test_fewer_than_asked_for_are_fine(count: int) -> None:
    world = World()
    desk = await run(world, jobs(count), MODERATED, canary=5)
    assert desk.stop is None
    assert len(world.provider.sent) == count


async def test_exactly_as_many_have_nobody_to_hold_back() -> None:
    world = World()
    desk = await run(world, jobs(3), MODERATED, canary=3)
    assert desk.stop is None
    assert await world.states() == {"failed": 3}


async def test_chains_fill_the_places_that_are_left() -> None:
    planned = [make_job(0), *(make_job(n, images=(JobOutput(f"job-{n - 1:05}"),)) for n in range(1, 6))]
    world = World()
    desk = await run(world, planned, lambda job, _: MODERATED if job.position == 2 else Grant(), canary=4)
    assert desk.stop is None, "there were three to be sent"
    assert await world.states() == {"stored": 2, "failed": 4}


async def test_what_came_free_waits_too() -> None:
    planned = [*jobs(2), *(make_job(n, images=(JobOutput("job-00000"),)) for n in range(2, 6))]
    world = World()
    desk = await run(world, planned, lambda job, _: Grant(latency_s=200.0 if job.position == 1 else 1.0), canary=2)
    assert desk.stop is None
    assert await world.states() == {"stored": 6}
    assert min(sent_at(world)[job.id] for job in planned[2:]) > 200


async def test_a_model_that_is_out_holds_nobody_back_for_ever() -> None:
    planned = [make_job(n, model="out" if n < 4 else "in") for n in range(20)]
    world = World(ceiling=4)
    before = rounds()
    desk = await run(
        world, planned, lambda job, _: NO_MODEL if job.model == "out" else Grant(), canary=4, canary_share=0.2
    )
    assert desk.stop is not None
    assert desk.stop.reason == "canary"
    assert rounds() - before < 5000
    world = World(ceiling=4)
    desk = await run(
        world, planned, lambda job, _: NO_MODEL if job.model == "out" else Grant(), canary=4, canary_share=1.0
    )
    assert desk.stop is None
    assert (await world.states())["stored"] == 16


async def test_a_retry_that_is_too_dear_hangs_nobody() -> None:
    planned = [make_job(0, model="dear", price=1.0), *(make_job(n, price=0.01) for n in range(1, 10))]
    script: dict[str, list[Act]] = {"job-00000": [Refuse(status=504, billed=True), Grant()]}
    world = World()
    desk = await run(world, planned, script, canary=1, max_cost_usd=1.5)
    assert desk.stop is not None
    assert desk.stop.reason == "budget"
    assert len(world.provider.sent) == 1


async def test_a_job_that_can_not_be_made_ready_gives_its_place_away() -> None:
    photo = Photo("a.heic", "/a.heic", "image/heic", 9, 1, 1, 64, 64, "d", Fitting(8, 8, 8, 8, "image/jpeg"))
    planned = [*(make_job(n, images=(photo,)) for n in range(5)), *(make_job(n) for n in range(5, 12))]
    world = World()
    world.fitter.error = PhotoError("a.heic can't be decoded")
    desk = await run(world, planned, canary=2)
    assert desk.stop is None
    assert await world.states() == {"stored": 7, "failed": 5}


async def test_images_of_an_earlier_run_are_fetched_and_do_not_count() -> None:
    world = World()
    world.provider = ScriptedProvider(world.clock)
    world.run_id = "earlier"
    await world.plan(jobs(3))
    desk = world.desk()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Engine(desk).run)
        await anyio.sleep(1.0)
        while desk.owed < 3:
            await anyio.sleep(0)
        tasks.cancel_scope.cancel()
    world.run_id = "run"
    world.ledger = world.ledger.reopen()
    world.fetcher = ScriptedFetcher(world.clock, Serving(latency_s=0.1))
    desk = await run(world, jobs(10), lambda job, _: MODERATED if job.position < 5 else Grant(), canary=2)
    assert desk.stop is not None
    assert desk.stop.message.startswith("2 of the first 2")
    assert {sent.job_id for sent in world.provider.sent} == {"job-00003", "job-00004"}
    assert await world.states() == {"stored": 3, "failed": 2, "pending": 5}
