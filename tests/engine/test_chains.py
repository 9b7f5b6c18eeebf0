"""Jobs that take the output of others: sent once those are stored, in whatever shape they hang together."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from fluxbatch.adapters.http.body import segments
from fluxbatch.engine import Engine
from fluxbatch.engine.queue import JobQueue
from fluxbatch.errors import PhotoChanged, PhotoError, StorageError
from fluxbatch.model.events import JobFailed, JobStored, JobSubmitted
from fluxbatch.model.job import Fit, Fitting, JobOutput, Lease, Photo, Step
from fluxbatch.model.state import Charge, JobState, Reason
from fluxbatch.model.summary import Stop
from fluxbatch.ports import Disposition, Enlisted, RunRow
from fluxbatch.testing import (
    Grant,
    MemoryLedger,
    MemorySink,
    Refuse,
    ScriptedFetcher,
    ScriptedProvider,
    Send,
    Serving,
    make_job,
    make_png,
)
from tests.engine.world import VIRTUAL_TIME, NotingFitter, World, rounds

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fluxbatch.model.answer import Answer
    from fluxbatch.model.job import Image, PlannedJob, Record, Stored
    from fluxbatch.testing import Act

LARGE = Serving(data=make_png(3, width=256, height=128))
MODERATED = Refuse(status=403, message="Request Moderated")
NO_MODEL = Refuse(status=503, code="model_not_found", message="无可用渠道")


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return VIRTUAL_TIME


def name(position: int) -> str:
    return make_job(position).id


def link(position: int, *upstream: int, fit: Fit | None = None, **facts: Any) -> PlannedJob:
    return make_job(position, images=tuple(JobOutput(name(n), fit) for n in upstream), **facts)


class WatchedProvider(ScriptedProvider):
    """Refuses to take a job whose inputs are not ready, or not those that were asked for."""

    def __init__(self, world: World, planned: Sequence[PlannedJob], script: Any = None) -> None:
        super().__init__(world.clock, script)
        self._world = world
        self._planned = {job.id: job for job in planned}
        self.images: dict[str, tuple[Image, ...]] = {}

    async def generate(self, job: PlannedJob) -> Answer:
        planned = self._planned[job.id]
        rows = await self._world.ledger.recall(planned.needs)
        for asked, image in zip(planned.images, job.images, strict=True):
            if isinstance(asked, JobOutput):
                row = rows[asked.job]
                assert row.state is JobState.STORED, f"{job.id} was sent before {asked.job} was stored"
                assert isinstance(image, Photo)
                assert image.ref == row.stored.file
        self.images[job.id] = job.images
        return await super().generate(job)


async def run(planned: Sequence[PlannedJob], script: Any = None, world: World | None = None, **settings: Any) -> World:
    world = world or World()
    world.provider = WatchedProvider(world, planned, script)
    await world.run(planned, **settings)
    return world


def order(world: World) -> list[str]:
    return [sent.job_id for sent in world.provider.sent]


async def failure(world: World, position: int) -> tuple[Reason, str]:
    record = await world.record(make_job(position))
    assert record.state is JobState.FAILED
    assert record.failure is not None
    return record.failure.reason, record.failure.message


# ---------------------------------------------------------------------------------------------------------- shapes
async def test_a_chain_of_four() -> None:
    planned = [link(0), link(1, 0), link(2, 1), link(3, 2)]
    world = await run(planned)
    assert order(world) == [name(n) for n in range(4)]
    assert await world.states() == {"stored": 4}
    assert set(world.provider.billed.values()) == {1}


async def test_a_chain_that_is_written_backwards() -> None:
    world = await run([link(0, 1), link(1, 2), link(2, 3), link(3)])
    assert order(world) == [name(n) for n in (3, 2, 1, 0)]
    assert await world.states() == {"stored": 4}


async def test_one_feeds_a_hundred() -> None:
    world = World(ceiling=100)
    begun = world.clock.monotonic()
    await run([link(0), *(link(n, 0) for n in range(1, 101))], world=world)
    assert await world.states() == {"stored": 101}
    assert world.provider.peak == 100, "they were not sent together"
    assert world.clock.monotonic() - begun < 4


async def test_eight_feed_one() -> None:
    planned = [*(link(n) for n in range(8)), link(8, *range(8))]
    world = await run(planned, lambda job, _: Grant(latency_s=1.0 + 10 * job.position))
    assert await world.states() == {"stored": 9}
    assert [image.ref for image in world.provider.images[name(8)]] == [f"{name(n)}.png" for n in range(8)]
    assert order(world).count(name(8)) == 1


async def test_a_diamond() -> None:
    planned = [link(0), link(1, 0), link(2, 0), link(3, 1, 2, 1)]
    world = await run(planned, lambda job, _: Grant(latency_s=30.0 if job.position == 1 else 1.0))
    assert await world.states() == {"stored": 4}
    sent_at = {sent.job_id: sent.at for sent in world.provider.sent}
    assert sent_at[name(3)] > sent_at[name(1)] + 30
    assert len(world.provider.images[name(3)]) == 3


async def test_other_images_stay_as_they_are() -> None:
    photo = Photo("a.jpg", "/p/a.jpg", "image/jpeg", 9, 1, 1, 64, 64, "d")
    job = make_job(1, images=(photo, JobOutput(name(0)), photo))
    world = await run([link(0), job])
    first, middle, last = world.provider.images[name(1)]
    assert first is last is photo
    assert middle.ref == f"{name(0)}.png"
    assert world.fitter.asked == []


async def test_two_models() -> None:
    planned = [*(link(n, model="a" if n % 2 else "b") for n in range(20))]
    planned += [link(20 + n, n, model="b" if n % 2 else "a") for n in range(20)]
    world = await run(planned, world=World(ceiling=4, by_model={"a": 2, "b": 2}))
    assert await world.states() == {"stored": 40}
    assert world.provider.peak == 4


async def test_chains_are_finished_before_others_are_begun() -> None:
    planned = [*(link(n) for n in range(20)), *(link(20 + n, n) for n in range(20))]
    world = await run(planned, world=World(ceiling=2))
    sent = order(world)
    assert max(sent.index(name(20 + n)) - sent.index(name(n)) for n in range(20)) < 8


async def test_a_job_that_waits_for_nobody_we_know_stays_as_it_is() -> None:
    world = World()
    before = rounds()
    await run([link(0), make_job(1, images=(JobOutput("nobody"),))], world=world)
    assert await world.states() == {"stored": 1, "pending": 1}
    assert rounds() - before < 100


# -------------------------------------------------------------------------------------------------------- the queue
class AskedLedger(MemoryLedger):
    """Counts the questions after jobs that came free."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    async def freed(self, run_id: str, model: str, limit: int) -> list[Record]:
        self.asked += 1
        return await super().freed(run_id, model, limit)


async def test_a_plan_without_chains_asks_for_none() -> None:
    world = World(ledger=AskedLedger())
    await world.run([link(n) for n in range(50)])
    assert world.ledger.asked == 0


async def test_after_the_last_link_nothing_is_asked_for() -> None:
    world = World(ceiling=1, ledger=AskedLedger())
    await run([link(0), link(1, 0), *(link(n) for n in range(2, 40))], world=world)
    assert 1 <= world.ledger.asked < 5


async def a_queue(ledger: MemoryLedger, planned: Sequence[PlannedJob]) -> JobQueue:
    await ledger.enlist("run", [Enlisted(job, Disposition.MAKE, waits=bool(job.needs)) for job in planned])
    queue = JobQueue(ledger, "run")
    await queue.open()
    await queue.fill()
    return queue


async def store(ledger: MemoryLedger, position: int) -> Step:
    await ledger.advance(Step(name(position), JobState.PENDING, JobState.SUBMITTED))
    step = Step(name(position), JobState.SUBMITTED, JobState.STORED)
    await ledger.advance(step)
    return step


def take(queue: JobQueue) -> int | None:
    record = queue.take(lambda _record: True, 0.0)
    return None if record is None else record.job.position


async def test_what_may_have_come_free_is_work() -> None:
    """Or a run could end in the moment between an image and the question who waited for it."""
    ledger = MemoryLedger()
    queue = await a_queue(ledger, [link(0, model="a"), link(1, 0, model="b")])
    assert (take(queue), take(queue), queue.models()) == (0, None, [])
    queue.heed(await store(ledger, 0))
    assert "b" in queue.models()
    await queue.fill()
    assert queue.models() == ["b"]
    assert (take(queue), queue.models(), queue.has_chains) == (1, [], False)


async def test_what_comes_free_during_the_question_is_asked_for_again() -> None:
    class Slow(MemoryLedger):
        queue: JobQueue | None = None

        async def freed(self, run_id: str, model: str, limit: int) -> list[Record]:
            page = await super().freed(run_id, model, limit)
            if self.queue is not None:
                queue, self.queue = self.queue, None
                queue.heed(await store(self, 1))
            return page

    ledger = Slow()
    queue = ledger.queue = await a_queue(ledger, [link(0), link(1), link(2, 0), link(3, 1)])
    queue.heed(await store(ledger, 0))
    await queue.fill()
    await queue.fill()
    assert {take(queue) for _ in range(5)} == {0, 1, 2, 3, None}


async def test_what_comes_free_for_a_model_that_is_out_stays_where_it_is() -> None:
    ledger = MemoryLedger()
    queue = await a_queue(ledger, [link(0, model="in"), link(1, 0, model="out")])
    assert take(queue) == 0
    queue.drop("out")
    queue.heed(await store(ledger, 0))
    await queue.fill()
    assert (take(queue), queue.models(), queue.has_chains) == (None, [], True)


@pytest.mark.slow
async def test_ten_thousand_jobs_in_chains_come_by_pages() -> None:
    chains = 2500
    planned = [link(n, *([n - chains] if n >= chains else [])) for n in range(4 * chains)]
    world = World(ceiling=200)
    world.provider = ScriptedProvider(world.clock)
    before = rounds()
    await world.run(planned, downloads=100)
    assert await world.states() == {"stored": 4 * chains}
    assert len(world.provider.sent) == 4 * chains
    assert max(world.ledger.pages) <= 128
    assert rounds() - before < 40 * len(planned)


async def test_many_that_come_free_at_once_come_by_pages() -> None:
    count = 3000
    world = World(ceiling=10)
    world.provider = ScriptedProvider(world.clock)
    await world.run([link(0), *(link(n, 0) for n in range(1, count))])
    assert await world.states() == {"stored": count}
    assert max(world.ledger.pages) <= 128


async def test_many_that_come_free_are_all_sent_though_none_of_them_is_made() -> None:
    """No image of theirs gives rise to the question after more."""
    world = World(ceiling=10)
    world.provider = ScriptedProvider(world.clock, lambda job, _: MODERATED if job.position else Grant())
    await world.run([link(0), *(link(n, 0) for n in range(1, 500))])
    assert await world.states() == {"stored": 1, "failed": 499}


# -------------------------------------------------------------------------------------------------------- failures
async def test_failures_cascade() -> None:
    """Whatever the order of the plan; what hangs on others is made."""
    planned = [link(0, 1), link(1, 2), link(2, 3), link(3), link(4, 3), link(5, 6), link(6), link(7, 6, 4)]
    world = await run(planned, {name(2): [MODERATED], name(4): [MODERATED]})
    assert await world.states() == {"stored": 3, "failed": 5}
    assert await failure(world, 2) == (Reason.MODERATED, "Request Moderated")
    assert await failure(world, 1) == (
        Reason.DEPENDENCY_FAILED,
        f"needs {name(2)!r}, which failed: moderated",
    )
    assert await failure(world, 0) == (
        Reason.DEPENDENCY_FAILED,
        f"needs {name(1)!r}, which failed: dependency_failed",
    )
    assert await failure(world, 7) == (Reason.DEPENDENCY_FAILED, f"needs {name(4)!r}, which failed: moderated")
    assert {event.job_id for event in world.recorder.of(JobFailed)} == {name(n) for n in (0, 1, 2, 4, 7)}
    assert {name(0), name(1), name(7)}.isdisjoint(order(world))


async def test_what_is_stranded_is_counted() -> None:
    world = World()
    world.provider = ScriptedProvider(world.clock, {name(0): [MODERATED]})
    desk = await world.run([link(0), *(link(n, 0) for n in range(1, 1200))])
    assert (desk.account.failed, desk.account.charged) == (1200, 0)
    assert await world.states() == {"failed": 1200}
    assert max(world.ledger.pages) <= 500


async def test_upstream_that_failed_before_strands_at_once() -> None:
    world = await run([link(0)], {name(0): [MODERATED]})
    world.run_id = "later"
    planned = [link(0), link(1, 0)]
    await run(planned, world=world)
    assert order(world) == []
    assert (await failure(world, 1))[0] is Reason.DEPENDENCY_FAILED
    # once it is mended, what needs it is made
    world.run_id = "mended"
    await world.ledger.enlist("mended", [Enlisted(planned[0], Disposition.MAKE)])
    await world.ledger.enlist("mended", [Enlisted(planned[1], Disposition.MAKE, waits=True)])
    world.provider = WatchedProvider(world, planned)
    await Engine(world.desk()).run()
    assert await world.states() == {"stored": 2}


async def test_a_ledger_that_can_not_be_written_strands_nobody_and_hangs_nobody() -> None:
    class Full(MemoryLedger):
        async def advance(self, step: Step) -> None:
            if step.failure is not None and step.failure.reason is Reason.DEPENDENCY_FAILED:
                raise StorageError("the ledger can't be written")
            await super().advance(step)

    world = World(ledger=Full())
    world.provider = ScriptedProvider(world.clock, {name(0): [MODERATED]})
    desk = await world.run([link(0), link(1, 0), link(2, 0)])
    assert await world.states() == {"failed": 1, "pending": 2}
    assert desk.stop is not None
    assert desk.stop.reason == "storage"


async def test_a_model_that_is_out_leaves_its_chains_for_another_day() -> None:
    planned = [link(0, model="out"), link(1, model="out"), link(2, 1, model="in"), link(3, model="in")]
    planned += [link(4, 3, model="out"), link(5, 4, model="in")]
    world = await run(
        planned,
        lambda job, _: NO_MODEL if job.model == "out" else Grant(latency_s=60.0),
        world=World(ceiling=1),
    )
    states = await world.states()
    assert states["stored"] == 1
    assert states.get("pending", 0) >= 3
    assert (await world.record(make_job(5))).state is JobState.PENDING


# -------------------------------------------------------------------------------------------------------- stopping
async def test_out_of_budget_what_merely_waits_stays_pending() -> None:
    planned = [link(0), link(1, 0), link(2, 1), link(3, 2)]
    world = World()
    world.provider = WatchedProvider(world, planned)
    desk = await world.run(planned, max_cost_usd=0.07)
    assert desk.stop is not None
    assert desk.stop.reason == "budget"
    assert await world.states() == {"stored": 2, "pending": 2}


async def test_an_interrupt_lets_the_link_under_way_land() -> None:
    planned = [link(0), link(1, 0), link(2, 1), link(3), link(4, 3)]
    world = World()
    world.provider = WatchedProvider(
        world, planned, lambda job, _: MODERATED if job.position == 3 else Grant(latency_s=10.0)
    )
    await world.plan(planned)
    desk = world.desk()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Engine(desk).run)
        await anyio.sleep(15.0)
        desk.ask_to_stop(Stop("interrupted", "interrupted", exit_code=130))
    world.check_leaks(desk)
    assert await world.states() == {"stored": 2, "pending": 1, "failed": 2}
    assert (await failure(world, 4))[0] is Reason.DEPENDENCY_FAILED
    # the next run goes on where this one stopped
    world.run_id = "next"
    await run(planned, world=world)
    assert order(world) == [name(2)]


async def test_a_stop_while_photos_are_fitted_sends_nothing() -> None:
    class Slow(NotingFitter):
        async def fit(self, photo: Photo) -> Photo:
            await anyio.sleep(100.0)
            return await super().fit(photo)

    planned = [link(0), link(1, 0, fit=Fit(long_edge=128))]
    world = World(fitter=Slow())
    world.fetcher = ScriptedFetcher(world.clock, LARGE)
    world.provider = WatchedProvider(world, planned)
    await world.plan(planned)
    desk = world.desk()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Engine(desk).run)
        await anyio.sleep(50.0)
        desk.ask_to_stop(Stop("interrupted", "interrupted", exit_code=130))
    world.check_leaks(desk)
    assert await world.states() == {"stored": 1, "pending": 1}
    assert [event.job_id for event in world.recorder.of(JobSubmitted)] == [name(0)]
    assert name(1) not in {step.job_id for step in world.ledger.steps}


# --------------------------------------------------------------------------------------------- retries and earlier runs
async def test_links_are_tried_again() -> None:
    script: dict[str, list[Act]] = {
        name(0): [Refuse(status=429), Refuse(status=502), Grant()],
        name(1): [Refuse(status=408, early=True), Refuse(status=504, billed=True), Grant()],
    }
    world = await run([link(0), link(1, 0), link(2, 1)], script)
    assert await world.states() == {"stored": 3}
    assert Counter(order(world)) == {name(0): 3, name(1): 3, name(2): 1}
    assert world.provider.billed == {name(0): 1, name(1): 2, name(2): 1}


async def test_a_link_that_is_lost_is_remade_before_the_next() -> None:
    world = World()
    world.fetcher = ScriptedFetcher(
        world.clock, lambda lease, _: Serving(status=403 if f"{name(0)}/1.png" in lease.url else 200)
    )
    await run([link(0), link(1, 0)], world=world)
    assert await world.states() == {"stored": 2}
    assert order(world) == [name(0), name(0), name(1)]
    record = await world.record(make_job(0))
    assert (record.charged, record.lost) == (2, 1)


async def leave_a_lease(world: World, job: PlannedJob) -> None:
    world.run_id = "earlier"
    await world.plan([job])
    await world.ledger.advance(Step(job.id, JobState.PENDING, JobState.SUBMITTED))
    now = world.clock.now()
    lease = Lease("https://delivery.example/left.png?sig=1", deadline=now + 500, granted_at=now)
    await world.ledger.advance(
        Step(job.id, JobState.SUBMITTED, JobState.GENERATED, charge=Charge.CHARGED, usd=0.03, lease=lease)
    )
    world.run_id = "run"


async def test_a_lease_of_an_earlier_run_frees_what_waits_for_it() -> None:
    world = World()
    await leave_a_lease(world, link(0))
    await run([link(0), link(1, 0), link(2, 1)], world=world)
    assert order(world) == [name(1), name(2)]
    assert await world.states() == {"stored": 3}


async def test_a_lease_of_what_is_no_longer_asked_for_frees_nobody() -> None:
    """Its image is not the one that the next link was planned with."""
    world = World()
    await leave_a_lease(world, link(0))
    planned = [link(0, fingerprint="changed"), link(1, 0)]
    await run(planned, world=world)
    assert order(world) == []
    assert await world.states() == {"stored": 1, "pending": 1}
    world.run_id = "next"
    await world.ledger.begin(RunRow("next", 1.0))
    await world.ledger.enlist(
        "next", [Enlisted(planned[0], Disposition.MAKE), Enlisted(planned[1], Disposition.MAKE, waits=True)]
    )
    world.provider = WatchedProvider(world, planned)
    await Engine(world.desk()).run()
    assert order(world) == [name(0), name(1)]


# ---------------------------------------------------------------------------------------------------------- inputs
class ForgetfulSink(MemorySink):
    """Someone else gets at an output as soon as it is there."""

    def __init__(self, data: bytes | None) -> None:
        super().__init__()
        self._with = data

    def put(self, file: str, data: bytes) -> int:
        at = super().put(file, data)
        if file == f"{name(0)}.png":
            if self._with is None:
                self.lose(file)
            else:
                self._files[file].data = self._with
        return at


@pytest.mark.parametrize(
    ("data", "reason"), [(None, Reason.INPUT_CHANGED), (make_png(1)[:50], Reason.BAD_IMAGE), (make_png(9), None)]
)
async def test_an_output_is_taken_as_it_is_now(data: bytes | None, reason: Reason | None) -> None:
    world = await run([link(0), link(1, 0), link(2)], world=World(sink=ForgetfulSink(data)))
    record = await world.record(make_job(1))
    if reason is None:
        assert record.state is JobState.STORED
        return
    assert await failure(world, 1) == (reason, record.failure.message if record.failure else "")
    assert name(1) not in order(world)
    assert (record.charged, record.unknown, record.attempts) == (0, 0, 0)
    assert {step.to for step in world.ledger.steps if step.job_id == name(1)} == {JobState.FAILED}
    assert await world.states() == {"stored": 2, "failed": 1}


async def test_an_upstream_that_is_stored_no_more_was_changed() -> None:
    """As when someone else's plan came in between."""
    world = World()
    planned = [link(0), link(1, 0)]
    await world.run(planned[:1])
    await world.plan(planned)
    await world.ledger.enlist("other", [Enlisted(planned[0], Disposition.MAKE)])
    world.provider = ScriptedProvider(world.clock)
    desk = world.desk()
    await Engine(desk).run()
    world.check_leaks(desk)
    assert (await failure(world, 1))[0] is Reason.INPUT_CHANGED
    assert world.provider.sent == []


FITTING = Fitting(8, 8, 8, 8, "image/jpeg")
PHOTO = Photo("a.heic", "/p/a.heic", "image/heic", 9, 1, 1, 64, 64, "d", FITTING)


async def test_photos_are_fitted_before_anything_is_on_record() -> None:
    world = World()

    class Watching(NotingFitter):
        async def fit(self, photo: Photo) -> Photo:
            assert (await world.record(make_job(0))).state is JobState.PENDING
            return await super().fit(photo)

    world.fitter = Watching()
    plain = replace(PHOTO, ref="b.jpg", fitting=None)
    job = make_job(0, images=(PHOTO, plain))
    await run([job], world=world)
    assert world.fitter.asked == [PHOTO]
    assert world.provider.images[job.id] == (replace(PHOTO, path="/p/a.heic.fitted", fitting=None), plain)
    assert (await world.record(job)).job == job, "what is on record is what was planned"


async def test_an_output_is_fitted_as_asked() -> None:
    planned = [link(0), link(1, 0, fit=Fit(long_edge=128)), link(2, 0, fit=Fit()), link(3, 0)]
    world = World()
    world.fetcher = ScriptedFetcher(world.clock, LARGE)
    await run(planned, world=world)
    asked = {photo.fitting for photo in world.fitter.asked}
    assert len(world.fitter.asked) == 1, "an output that is fit already was fitted"
    fitting = asked.pop()
    assert fitting is not None
    assert (fitting.width, fitting.height) == (128, 64)
    assert world.provider.images[name(1)][0].path.endswith(".fitted")
    assert not world.provider.images[name(3)][0].path.endswith(".fitted")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (PhotoChanged("a.heic has changed"), Reason.INPUT_CHANGED),
        (PhotoError("a.heic can't be decoded"), Reason.BAD_IMAGE),
    ],
)
async def test_a_photo_that_can_not_be_fitted_fails_its_job_alone(error: PhotoError, reason: Reason) -> None:
    world = World()
    world.fitter.error = error
    await run([make_job(0, images=(PHOTO,)), link(1, 0), link(2)], world=world)
    assert await failure(world, 0) == (reason, error.message)
    assert (await failure(world, 1))[0] is Reason.DEPENDENCY_FAILED
    assert order(world) == [name(2)]
    assert {step.charge for step in world.ledger.steps if step.job_id == name(0)} == {Charge.NONE}


async def test_no_room_for_a_fitted_photo_stops_the_run() -> None:
    world = World()
    world.fitter.error = StorageError("no space left")
    world.provider = ScriptedProvider(world.clock)
    desk = await world.run([make_job(0, images=(PHOTO,))])
    assert desk.stop is not None
    assert desk.stop.reason == "storage"
    assert await world.states() == {"pending": 1}


def test_what_was_not_made_ready_never_becomes_a_body() -> None:
    with pytest.raises(TypeError, match="job-00000"):
        segments(link(1, 0))


# ----------------------------------------------------------------------------------------------------- what is stored
async def test_an_image_says_what_made_it(tmp_path: Path) -> None:
    """Whichever way it came."""
    world = World()
    script: dict[str, list[Act]] = {name(0): [Grant()], name(1): [Send()]}
    world.provider = ScriptedProvider(world.clock, script, spool=tmp_path)
    await world.run([link(0, model="m1"), link(1, model="m2", fields={"seed": 77}), link(2, fields={"seed": None})])
    stored: dict[str, Stored] = {event.job_id: event.stored for event in world.recorder.of(JobStored)}
    assert (stored[name(0)].model, stored[name(0)].seed) == ("m1", 0)
    assert (stored[name(1)].model, stored[name(1)].seed) == ("m2", 77)
    assert stored[name(2)].seed is None
    assert {job_id: (await world.ledger.recall([job_id]))[job_id].stored for job_id in stored} == stored


async def test_chaos_in_chains_leaves_the_books_right() -> None:
    """Faults everywhere: each chain ends, nothing is sent before what it needs, nothing is paid for a third time."""
    acts: list[Act] = [Grant(), Refuse(status=502), Refuse(status=504, billed=True), Grant(life_s=0.2), MODERATED]

    def script(job: PlannedJob, attempt: int) -> Act:
        return acts[(job.position * 7 + attempt * 3) % len(acts)] if (job.position + attempt) % 3 == 0 else Grant()

    world = World(ceiling=8, ledger=MemoryLedger(commit_s=0.003))
    world.fetcher = ScriptedFetcher(
        world.clock, lambda _lease, attempt: Serving(status=503) if attempt == 1 else Serving()
    )
    planned = [link(n, *{n - 1 - n % 7, n // 2} - {n}) if n > 6 else link(n, model=f"m{n % 2}") for n in range(120)]
    await run(planned, script, world=world)
    states = await world.states()
    assert set(states) <= {"stored", "failed"}
    assert states["stored"] > 20
    for record in (await world.ledger.recall([job.id for job in planned])).values():
        billed = world.provider.billed[record.job.id]
        assert record.charged <= billed <= record.charged + record.unknown <= 2
        if record.failure is not None and record.failure.reason is Reason.DEPENDENCY_FAILED:
            assert billed == 0
