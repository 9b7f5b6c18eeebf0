"""Results: each is fetched while its URL lives, lost only if its host says so, and made again once."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from fluxbatch.engine import Engine
from fluxbatch.engine.due import Due, DueQueue
from fluxbatch.errors import StorageError
from fluxbatch.model.events import DeliveryRetried, JobLost, JobStored
from fluxbatch.model.job import Lease, Record, Step
from fluxbatch.model.state import Charge, JobState, Reason
from fluxbatch.policy.admission import may_order
from fluxbatch.ports import Disposition, Enlisted
from fluxbatch.testing import (
    Grant,
    MemoryLedger,
    MemorySink,
    ScriptedFetcher,
    ScriptedProvider,
    Send,
    Serving,
    make_job,
)
from fluxbatch.testing.images import make_png
from tests.engine.world import VIRTUAL_TIME, World, jobs

if TYPE_CHECKING:
    from pathlib import Path

    from fluxbatch.model.job import PlannedJob
    from fluxbatch.policy.admission import Load

GONE = Serving(status=403)


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return VIRTUAL_TIME


def job_of(lease: Lease) -> str:
    return lease.url.split("/")[-2]


async def leave_leases(world: World, lives: dict[str, float]) -> list[PlannedJob]:
    """Leases of an earlier run, by job id and seconds left."""
    planned = [make_job(n, id=name) for n, name in enumerate(lives)]
    await world.ledger.enlist("earlier", [Enlisted(job, Disposition.MAKE) for job in planned])
    now = world.clock.now()
    for job in planned:
        await world.ledger.advance(Step(job.id, JobState.PENDING, JobState.SUBMITTED))
        lease = Lease(f"https://delivery.example/results/{job.id}/1.png", now + lives[job.id], now)
        step = Step(job.id, JobState.SUBMITTED, JobState.GENERATED, charge=Charge.CHARGED, usd=0.03, lease=lease)
        await world.ledger.advance(step)
    return planned


async def test_the_url_that_dies_first_is_known_fetched_or_not() -> None:
    world = World()
    await leave_leases(world, {"late": 500.0, "soon": 50.0, "later": 900.0})
    takes_s = {"soon": 5.0, "late": 20.0, "later": 20.0}
    world.fetcher = ScriptedFetcher(world.clock, lambda lease, _: Serving(latency_s=takes_s[job_of(lease)]))
    engine = Engine(world.desk(downloads=1))
    seen: list[str] = []

    async def look() -> None:
        for _ in range(5):
            lease = engine.first_to_die
            seen.append("" if lease is None else job_of(lease))
            await anyio.sleep(11.5)

    assert engine.first_to_die is None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(engine.fetch_owed, 600.0)
        await anyio.sleep(1.0)
        tasks.start_soon(look)
    assert seen == ["soon", "late", "late", "later", ""]


# ---------------------------------------------------------------------------------------------------------- faults
async def test_faults_of_hosts_are_outlived() -> None:
    """Early refusals, HTML, half a file, a stall, 5xx: no image is lost, none is made twice."""
    world = World()
    faults = [
        GONE,
        Serving(data=b"<html>try later</html>"),
        Serving(cut_after=20),
        Serving(cut_after=20, etag='"one"'),
        Serving(stall_after=0),
        Serving(status=503, retry_after=2.0),
        Serving(status=404),
        Serving(data=b""),
    ]
    world.fetcher = ScriptedFetcher(
        world.clock, lambda lease, attempt: faults[int(job_of(lease)[-1])] if attempt < 4 else Serving(etag='"one"')
    )
    desk = await world.run(jobs(8))
    assert await world.states() == {"stored": 8}
    assert set(world.provider.billed.values()) == {1}
    assert desk.account.lost == 0
    assert len(world.recorder.of(DeliveryRetried)) == 24


async def test_ten_minutes_of_refusals_cost_one_image() -> None:
    world = World()
    world.fetcher = ScriptedFetcher(world.clock, lambda lease, _: GONE if lease.url.find("/1.png") > 0 else Serving())
    desk = await world.run(jobs(3))
    assert await world.states() == {"stored": 3}
    record = await world.record(make_job(0))
    assert (record.charged, record.lost, record.risked) == (2, 1, 2)
    assert [event.again for event in world.recorder.of(JobLost)] == [True] * 3
    # each was tried for as long as it lived
    lost_after = min(event.at for event in world.recorder.of(JobLost)) - world.recorder.events[0].at
    assert lost_after > 600
    assert desk.account.lost == 3


async def test_a_second_loss_is_the_end() -> None:
    world = World()
    world.fetcher = ScriptedFetcher(world.clock, GONE)
    await world.run(jobs(2))
    assert set(world.provider.billed.values()) == {2}
    record = await world.record(make_job(0))
    assert (record.state, record.charged, record.lost) == (JobState.FAILED, 2, 2)
    assert record.failure is not None
    assert record.failure.reason is Reason.EXPIRED
    assert [event.again for event in world.recorder.of(JobLost)] == [True, True, False, False]


async def test_a_host_that_is_silent_past_the_deadline_loses_nothing() -> None:
    """Not expired: the URL stays on record, for a later run to try."""
    world = World()
    world.fetcher = ScriptedFetcher(world.clock, Serving(status=503), honours_deadline=False)
    await world.run(jobs(2))
    record = await world.record(make_job(0))
    assert (record.state, record.charged, record.lost) == (JobState.FAILED, 1, 0)
    assert record.failure is not None
    assert record.failure.reason is Reason.DOWNLOAD_FAILED
    assert record.lease is not None
    assert set(world.provider.billed.values()) == {1}
    # it is taken up again, and lands
    world.fetcher = ScriptedFetcher(world.clock, honours_deadline=False)
    world.run_id = "run-2"
    await world.ledger.enlist("run-2", [Enlisted(job, Disposition.FETCH) for job in jobs(2)])
    await Engine(world.desk()).run()
    assert await world.states() == {"stored": 2}


async def test_a_clock_that_is_off_buys_nothing_twice() -> None:
    """Our clock says that every URL is dead: they are tried all the same."""
    world = World()
    world.provider = ScriptedProvider(world.clock, Grant(life_s=-3600.0))
    world.fetcher = ScriptedFetcher(world.clock, honours_deadline=False)
    desk = await world.run(jobs(20))
    assert await world.states() == {"stored": 20}
    assert desk.account.lost == 0


# ----------------------------------------------------------------------------------------------------------- order
async def test_the_earliest_deadline_is_first() -> None:
    world = World()
    await leave_leases(world, {"c": 300.0, "a": 100.0, "d": 400.0, "b": 200.0, "late": -50.0})
    world.fetcher = ScriptedFetcher(world.clock, honours_deadline=False)
    await world.run([], downloads=1)
    assert [job_of(Lease(one.url, 0, 0)) for one in world.fetcher.tries] == ["a", "b", "c", "d", "late"]


async def test_the_earliest_deadline_is_first_for_retries_too() -> None:
    world = World()
    await leave_leases(world, {"b": 200.0, "c": 300.0, "d": 400.0, "e": 500.0, "a": 100.0})
    world.fetcher = ScriptedFetcher(
        world.clock,
        lambda lease, attempt: Serving(status=503) if job_of(lease) == "a" and attempt == 1 else Serving(latency_s=2.0),
    )
    await world.run([], downloads=1)
    # its pause is shorter than one delivery
    assert [job_of(Lease(one.url, 0, 0)) for one in world.fetcher.tries] == ["a", "b", "a", "c", "d", "e"]


async def test_late_leases_are_tried_too() -> None:
    world = World()
    planned = await leave_leases(world, {"late-1": -50.0, "late-2": -1000.0})
    await world.run(planned)
    assert Counter(job_of(Lease(one.url, 0, 0)) for one in world.fetcher.tries if one.attempt == 1).total() >= 2
    assert await world.states() == {"failed": 2}
    assert not world.provider.billed, "lost, and made once more only by a run that was asked for it"


def test_the_queue_of_leases() -> None:
    queue = DueQueue()

    def due(deadline: float) -> Due:
        return Due(Record(make_job()), Lease("https://x.example", deadline, 0.0))

    late, soon, later, waiting = due(5.0), due(20.0), due(30.0), due(10.0)
    for one in (later, late, soon):
        queue.put(one)
    queue.put_later(waiting, 100.0)
    assert (len(queue), queue.next_due()) == (4, 100.0)
    assert queue.take(wall=9.0, now=99.0) is soon
    assert queue.take(wall=9.0, now=100.0) is waiting
    assert queue.take(wall=9.0, now=100.0) is later
    assert queue.take(wall=9.0, now=100.0) is late
    assert queue.take(wall=9.0, now=1e9) is None
    assert len(queue) == 0


# ------------------------------------------------------------------------------------------------------- admission
async def test_no_more_is_ordered_than_can_be_fetched() -> None:
    """A narrow line: 40 s a delivery, two at a time, URLs that live 600 s."""
    world = World(ceiling=50)
    image = make_png(1, width=100, height=100)
    world.fetcher = ScriptedFetcher(world.clock, Serving(data=image), bandwidth={"": len(image) / 40.0})
    desk = await world.run(jobs(60), downloads=2)
    assert await world.states() == {"stored": 60}
    assert desk.account.lost == 0
    assert set(world.provider.billed.values()) == {1}


async def test_an_api_faster_than_its_host_is_not_run_far_ahead_of() -> None:
    """What is owed sits in memory, is paid for, and ages."""
    world = World(ceiling=24)
    world.provider = ScriptedProvider(world.clock, Grant(latency_s=0.1))
    world.fetcher = ScriptedFetcher(world.clock, Serving(latency_s=1.0))
    await world.plan(jobs(400))
    desk = world.desk(downloads=4)
    owed: list[int] = []

    def admission(load: Load) -> bool:
        owed.append(load.owed)
        return may_order(load)

    desk.admission = admission
    begun = world.clock.monotonic()
    await Engine(desk).run()
    assert await world.states() == {"stored": 400}
    assert 4 < max(owed) <= 16 * 4 + 2 * 24, "those that were under way come on top"
    assert world.clock.monotonic() - begun < 400 / 4 * 1.1, "the host was left waiting"


async def test_the_slots_are_held_and_used() -> None:
    world = World(ceiling=24)
    world.fetcher = ScriptedFetcher(world.clock, Serving(latency_s=3.0))
    await world.run(jobs(100), downloads=5)
    assert world.fetcher.peak == 5


# --------------------------------------------------------------------------------------------------------- storage
async def test_a_full_disk_keeps_what_is_paid_for() -> None:
    """It stops sending, tries to land as long as the URL lives, and goes on once there is room."""
    world = World(ceiling=4, sink=MemorySink(capacity=400))

    class Freed(MemorySink):
        def take(self, count: int) -> None:
            if world.clock.monotonic() - begun > 300:
                self.capacity = None
            super().take(count)

    begun = world.clock.monotonic()
    world.sink = Freed(capacity=400)
    desk = await world.run(jobs(50), free_space_floor=0)
    assert desk.stop is not None
    assert (desk.stop.reason, desk.stop.exit_code) == ("storage", 3)
    sent = len(world.provider.sent)
    assert sent < 20
    assert await world.states() == {"stored": sent, "pending": 50 - sent}
    assert desk.account.lost == 0


async def test_a_disk_that_stays_full_ends_the_run_once_the_urls_are_dead() -> None:
    world = World(ceiling=4, sink=MemorySink(capacity=400))
    begun = world.clock.monotonic()
    desk = await world.run(jobs(50), free_space_floor=0)
    assert desk.stop is not None
    assert desk.stop.exit_code == 3
    assert 590 < world.clock.monotonic() - begun < 700
    sent = len(world.provider.sent)
    assert sent < 20
    states = await world.states()
    assert states == {"stored": states["stored"], "pending": 50 - states["stored"]}
    assert desk.account.lost == sent - states["stored"] > 0


async def test_too_little_room_stops_before_anything_is_sent() -> None:
    world = World(sink=MemorySink(capacity=1 << 20))
    desk = await world.run(jobs(5), free_space_floor=2 << 20)
    assert world.provider.sent == []
    assert desk.stop is not None
    assert desk.stop.reason == "storage"


class Breaking(MemoryLedger):
    """Refuses to write some steps while it is broken."""

    def __init__(self, kind: JobState, seconds: float) -> None:
        super().__init__()
        self._kind = kind
        self._seconds = seconds
        self._since: float | None = None
        self.clock: Any = None

    async def advance(self, step: Step) -> None:
        if step.to is self._kind:
            self._since = self.clock.monotonic() if self._since is None else self._since
            if self.clock.monotonic() - self._since < self._seconds:
                raise StorageError("the ledger can't be written: disk full")
        await super().advance(step)


@pytest.mark.parametrize("kind", [JobState.SUBMITTED, JobState.GENERATED, JobState.STORED])
async def test_a_ledger_that_can_not_write_for_a_while_loses_nothing(kind: JobState) -> None:
    ledger = Breaking(kind, 10.0)
    world = World(ceiling=4, ledger=ledger)
    ledger.clock = world.clock
    desk = await world.run(jobs(30))
    assert desk.stop is not None
    assert (desk.stop.reason, desk.stop.exit_code) == ("storage", 3)
    states = await world.states()
    assert states.get("stored", 0) == world.provider.billed.total()
    assert states.get("submitted", 0) == states.get("generated", 0) == 0
    assert desk.account.unknown == 0
    if kind is JobState.STORED:
        assert len(world.fetcher.tries) == states["stored"], "what is on disk is not fetched again"


async def test_a_ledger_that_can_not_write_a_failure_does_not_end_the_others() -> None:
    """A delivery that fails for good while the ledger is broken: what is in flight goes on."""
    ledger = Breaking(JobState.FAILED, 20.0)
    world = World(ceiling=4, ledger=ledger)
    ledger.clock = world.clock
    await leave_leases(world, {"silent": 5.0})
    world.provider = ScriptedProvider(world.clock, Grant(latency_s=40.0))
    world.fetcher = ScriptedFetcher(
        world.clock,
        lambda lease, _: Serving(status=503) if job_of(lease) == "silent" else Serving(),
        honours_deadline=False,
    )
    desk = await world.run(jobs(4))
    assert desk.stop is not None
    assert desk.stop.reason == "storage"
    assert await world.states() == {"stored": 4}
    silent = (await world.ledger.recall(["silent"]))["silent"]
    assert silent.lease is not None
    assert silent.state in {JobState.FAILED, JobState.GENERATED}


async def test_a_full_disk_keeps_an_image_that_came_in_the_answer(tmp_path: Path) -> None:
    world = World(ceiling=2)

    class Freed(MemorySink):
        async def room(self) -> int:
            return 1 << 40

        def take(self, count: int) -> None:
            if world.clock.monotonic() - begun > 120:
                self.capacity = None
            super().take(count)

    begun = world.clock.monotonic()
    world.sink = Freed(capacity=150)
    world.provider = ScriptedProvider(world.clock, Send(), spool=tmp_path)
    desk = await world.run(jobs(20))
    assert desk.stop is not None
    assert desk.stop.reason == "storage"
    states = await world.states()
    assert states["stored"] == world.provider.billed.total() > 1
    assert states == {"stored": states["stored"], "pending": 20 - states["stored"]}


async def test_ages_are_told() -> None:
    world = World()
    world.fetcher = ScriptedFetcher(world.clock, Serving(latency_s=2.0))
    desk = await world.run(jobs(3))
    assert desk.account.url_age_p50_s == pytest.approx(2.0, abs=0.01)
    assert desk.account.url_age_max_s == pytest.approx(2.0, abs=0.01)
    stored = world.recorder.of(JobStored)[0].stored
    assert stored.fingerprint == make_job(int(stored.file[4:9])).fingerprint
