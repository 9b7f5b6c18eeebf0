"""What the fakes do beyond their ports: scripts, limits, faults, and the words to look at what happened."""

from __future__ import annotations

import sys
from typing import Any

import anyio
import pytest

import fluxbatch.testing
from fluxbatch.errors import DeliveryError, LedgerError, StorageError
from fluxbatch.model.answer import Granted, Refused
from fluxbatch.model.events import RunEnded, RunPaused
from fluxbatch.model.job import Lease, Step
from fluxbatch.model.state import JobState
from fluxbatch.ports import Disposition, Enlisted
from fluxbatch.testing import (
    Congestion,
    Grant,
    MemoryLedger,
    MemorySink,
    Recorder,
    Refuse,
    ScriptedFetcher,
    ScriptedProvider,
    Send,
    Serving,
    VirtualClock,
    VirtualTimeLoop,
    make_job,
    make_png,
)


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "asyncio", {"loop_factory": VirtualTimeLoop}


def test_all_names_are_there() -> None:
    for name in fluxbatch.testing.__all__:
        assert getattr(fluxbatch.testing, name).__doc__ or name in {"EPOCH", "Act"}


def test_it_needs_no_pytest() -> None:
    mine = {name for name in sys.modules if name.startswith("fluxbatch.testing")}
    assert mine
    for name in mine:
        assert "pytest" not in vars(sys.modules[name])


# -------------------------------------------------------------------------------------------------------- provider
async def test_acts_go_by_job_and_attempt_and_the_last_one_stays() -> None:
    provider = ScriptedProvider(VirtualClock(), {"job-00001": [Refuse(status=502), Grant(request_id="r")]})
    found = [await provider.generate(make_job(1)) for _ in range(3)]
    assert [type(answer) for answer in found] == [Refused, Granted, Granted]
    assert isinstance(await provider.generate(make_job(2)), Granted)
    assert [(sent.job_id, sent.attempt) for sent in provider.sent][-2:] == [("job-00001", 3), ("job-00002", 1)]
    assert provider.billed == {"job-00001": 2, "job-00002": 1}


async def test_a_hidden_limit_refuses_what_goes_beyond() -> None:
    provider = ScriptedProvider(
        VirtualClock(), Grant(latency_s=5.0), congestion={"narrow": Congestion(limit=2, retry_after=9.0)}
    )
    found: list[Any] = []

    async def one(model: str) -> None:
        found.append(await provider.generate(make_job(len(found), model=model)))

    async with anyio.create_task_group() as tasks:
        for model in ["narrow"] * 5 + ["wide"] * 4:
            tasks.start_soon(one, model)
    refused = [answer.verdict for answer in found if isinstance(answer, Refused)]
    assert [(verdict.congestion, verdict.pause) for verdict in refused] == [(True, 9.0)] * 3
    assert provider.peak == 6


async def test_images_in_answers_need_a_spool() -> None:
    with pytest.raises(ValueError, match="spool"):
        await ScriptedProvider(VirtualClock(), Send()).generate(make_job())


# --------------------------------------------------------------------------------------------------------- fetcher
async def test_bandwidth_is_by_host() -> None:
    clock = VirtualClock()
    data = make_png(1)
    fetcher = ScriptedFetcher(clock, Serving(data=data, latency_s=1.0), bandwidth={"slow.example": len(data) / 60.0})
    for host, seconds in (("slow.example", 61.0), ("fast.example", 1.0)):
        begun = clock.monotonic()
        await fetcher.fetch(Lease(f"https://{host}/x", clock.now() + 600, clock.now()), await MemorySink().land())
        assert clock.monotonic() - begun == pytest.approx(seconds)


async def test_a_deadline_is_honoured_by_the_clock() -> None:
    clock = VirtualClock()
    fetcher = ScriptedFetcher(clock)
    lease = Lease("https://x.example/a", clock.now() + 10, clock.now())
    await fetcher.fetch(lease, await MemorySink().land())
    await anyio.sleep(11)
    with pytest.raises(DeliveryError) as caught:
        await fetcher.fetch(lease, await MemorySink().land())
    assert caught.value.refused


async def test_servings_go_by_url_and_the_last_one_stays() -> None:
    clock = VirtualClock()
    lease = Lease("https://x.example/a", clock.now() + 600, clock.now())
    fetcher = ScriptedFetcher(clock, {lease.url: [Serving(status=503), Serving(data=make_png(5))]})
    landing = await MemorySink().land()
    with pytest.raises(DeliveryError):
        await fetcher.fetch(lease, landing)
    for _ in range(2):
        await fetcher.fetch(lease, landing)
    assert landing.data == make_png(5)
    assert [(one.attempt, one.offset) for one in fetcher.tries] == [(1, 0), (2, 0), (3, 0)]


# ------------------------------------------------------------------------------------------------------------ sink
async def test_a_sink_is_full_from_a_byte_on() -> None:
    sink = MemorySink(capacity=100)
    landing = await sink.land()
    landing.write(b"x" * 60)
    assert await sink.room() == 40
    with pytest.raises(StorageError):
        landing.write(b"x" * 41)
    assert landing.size == 60
    sink.capacity = 50
    with pytest.raises(StorageError):
        await sink.land()
    await landing.discard()
    assert await sink.room() == 50


# ---------------------------------------------------------------------------------------------------------- ledger
async def test_a_broken_ledger_writes_nothing() -> None:
    ledger = MemoryLedger()
    await ledger.enlist("run", [Enlisted(make_job(), Disposition.MAKE)])
    ledger.broken = StorageError("full")
    with pytest.raises(StorageError):
        await ledger.advance(Step("job-00000", JobState.PENDING, JobState.SUBMITTED))
    with pytest.raises(StorageError):
        await ledger.enlist("run", [Enlisted(make_job(1), Disposition.MAKE)])
    assert len(await ledger.in_state("pending")) == 1
    ledger.broken = None
    await ledger.advance(Step("job-00000", JobState.PENDING, JobState.SUBMITTED))
    assert [step.to for step in ledger.steps] == [JobState.SUBMITTED]


async def test_a_commit_takes_its_time_and_stands_at_once() -> None:
    ledger = MemoryLedger(commit_s=2.0)
    begun = anyio.current_time()
    with anyio.move_on_after(1.0):
        await ledger.enlist("run", [Enlisted(make_job(), Disposition.MAKE)])
    assert anyio.current_time() - begun == pytest.approx(1.0)
    assert len(await ledger.in_state("pending")) == 1


async def test_the_next_process_finds_the_same_rows() -> None:
    ledger = MemoryLedger()
    await ledger.enlist("run", [Enlisted(make_job(), Disposition.MAKE)])
    other = ledger.reopen()
    await ledger.advance(Step("job-00000", JobState.PENDING, JobState.SUBMITTED))
    assert len(await other.in_state("pending")) == 1
    await ledger.close()
    with pytest.raises(LedgerError):
        await ledger.in_state("pending")


# -------------------------------------------------------------------------------------------------------- recorder
def test_events_are_kept_in_order_and_by_kind() -> None:
    recorder = Recorder()
    paused = RunPaused(at=1.0, scope="model", seconds=2.0, message="")
    ended = RunEnded(at=2.0, run_id="r", exit_code=0, stop_reason="")
    recorder.note(paused)
    recorder.note(ended)
    assert recorder.events == [paused, ended]
    assert recorder.of(RunEnded) == [ended]
    assert recorder.of(RunPaused) == [paused]


def test_jobs_follow_from_their_position() -> None:
    job = make_job(7, fields={"seed": 1, "width": 64})
    assert (job.id, job.filename, job.fields["seed"], job.fields["width"]) == ("job-00007", "job-00007", 1, 64)
    assert make_job(7) == make_job(7)
