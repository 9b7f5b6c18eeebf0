"""What every ``Ledger`` holds to."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

import anyio
import anyio.lowlevel

from fluxbatch.errors import LedgerError, StepRefused
from fluxbatch.model.job import Failure, Fit, Fitting, JobOutput, Lease, ObjectPhoto, Photo, RemoteImage, Step, Stored
from fluxbatch.model.state import NEXT, Charge, JobState, Reason
from fluxbatch.ports import Disposition, Enlisted, RunRow
from fluxbatch.testing.conformance.expect import equal, expect, raises
from fluxbatch.testing.jobs import make_job

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from fluxbatch.model.job import PlannedJob, Record
    from fluxbatch.ports import Ledger

__all__ = ["CASES", "Case", "Factory", "Rig"]

_RUN: Final = "run-1"
_LEASE: Final = Lease("https://delivery.example/a?sig=s%2F", deadline=1600.25, granted_at=1000.5, request_id="req-1")
_STORED: Final = Stored("a.png", "ab" * 32, 1234, 64, 48, 99, "fingerprint", 12.5, "flux-2-pro", 42)
_FAILED: Final = Failure(Reason.MODERATED, "Request Moderated", 403)
_PENDING, _SUBMITTED, _GENERATED = JobState.PENDING, JobState.SUBMITTED, JobState.GENERATED
_STORED_STATE, _FAILED_STATE = JobState.STORED, JobState.FAILED


class Rig(Protocol):
    """A ledger that is empty at first."""

    @property
    def ledger(self) -> Ledger:
        """What is under test."""
        ...

    async def reopen(self) -> None:
        """Close the ledger and open it again, as the next process does."""
        ...


Factory: TypeAlias = "Callable[[], AbstractAsyncContextManager[Rig]]"
Case: TypeAlias = "Callable[[Factory], Awaitable[None]]"


async def an_empty_ledger_knows_nothing(make: Factory) -> None:
    """And says so without an error."""
    async with make() as rig:
        ledger = rig.ledger
        equal(await ledger.last_run(), None, "the last run")
        equal(await ledger.recall(["a"]), {}, "rows recalled")
        equal(await ledger.pending_models(_RUN), {}, "models with work")
        equal(await ledger.pending(_RUN, "flux-2-pro", -1, 10), [], "pending jobs")
        equal(await ledger.freed(_RUN, "flux-2-pro", 10), [], "jobs that came free")
        equal(await ledger.stranded(_RUN, -1, 10), [], "jobs that are stranded")
        equal((await ledger.waiting(_RUN), await ledger.ids()), (0, []), "jobs that wait, and ids")
        await ledger.forget(["a"])
        equal(await ledger.in_state("pending"), [], "rows in a state")
        equal(await ledger.manifests(), [], "manifests")
        equal([record async for record in ledger.rows()], [], "present rows")
        equal((await ledger.tally()).total, 0, "jobs in the tally")


async def runs_are_remembered(make: Factory) -> None:
    """The newest one, with its account once it has ended."""
    async with make() as rig:
        await rig.ledger.begin(RunRow("one", 1.5))
        equal(await rig.ledger.last_run(), RunRow("one", 1.5), "a run that lives")
        await rig.ledger.end("one", 2.5, {"stored": 3, "stop_reason": ""})
        await rig.reopen()
        ended = RunRow("one", 1.5, 2.5, {"stored": 3, "stop_reason": ""})
        equal(await rig.ledger.last_run(), ended, "a run that ended")
        await rig.ledger.begin(RunRow("two", 1.0))
        equal(await rig.ledger.last_run(), RunRow("two", 1.0), "the newest run")


async def runs_are_told_by_when_they_were_over(make: Factory) -> None:
    """The end of one that was killed is not known, but it was over when the next one began."""
    async with make() as rig:
        equal(await rig.ledger.runs(0.0), [], "runs, before there is one")
        await rig.ledger.begin(RunRow("ended", 1.0))
        await rig.ledger.end("ended", 2.0, {"spent_at": {"0": 0.5}})
        await rig.ledger.begin(RunRow("killed", 3.0))
        await rig.ledger.begin(RunRow("lives", 5.0))
        await rig.reopen()
        ended = RunRow("ended", 1.0, 2.0, {"spent_at": {"0": 0.5}})
        killed, lives = RunRow("killed", 3.0), RunRow("lives", 5.0)
        equal(await rig.ledger.runs(0.0), [ended, killed, lives], "all runs")
        equal(await rig.ledger.runs(2.0), [ended, killed, lives], "runs since one ended")
        equal(await rig.ledger.runs(2.5), [killed, lives], "runs since then")
        equal(await rig.ledger.runs(5.5), [lives], "runs since the last one began")


async def a_run_knows_what_it_spent(make: Factory) -> None:
    """Surely and maybe, step by step, on top of what it carries over; a run that was killed knows it as well."""
    async with make() as rig:
        job, ledger = make_job(), rig.ledger
        await ledger.begin(RunRow("one", 1.0))
        await _plan(ledger, [job])
        await _attempt(ledger, job, Charge.CHARGED, usd=0.5)
        await ledger.begin(RunRow("two", 2.0, carried_usd=0.5))
        await _attempt(ledger, job, Charge.CHARGED, usd=0.25)
        await _attempt(ledger, job, Charge.UNKNOWN, usd=1.0)
        await _attempt(ledger, job, Charge.NONE, usd=8.0)
        with raises(StepRefused, "a step that is not allowed"):
            await ledger.advance(Step(job.id, _GENERATED, _PENDING, charge=Charge.CHARGED, usd=16.0))
        killed = RunRow("two", 2.0, carried_usd=0.5, spent_usd=1.25)
        equal(await ledger.last_run(), killed, "a run under way")
        await rig.reopen()
        equal(await rig.ledger.last_run(), killed, "a run that was killed")
        await rig.ledger.end("two", 3.0, {})
        equal(await rig.ledger.last_run(), replace(killed, ended_at=3.0, summary={}), "a run that ended")
        await _attempt(rig.ledger, job, Charge.CHARGED, usd=32.0)
        equal((await rig.ledger.tally(_RUN)).cost_usd, 32.75, "USD of the job")
        spent = await rig.ledger.last_run()
        equal(spent and spent.spent_usd, 1.25, "USD of the last run, after a step of no run")


async def a_step_is_seen_through(make: Factory) -> None:
    """Whoever is cancelled while it is written learns of it once it is, and has written it."""
    job = make_job()
    async with make() as rig:
        await _plan(rig.ledger, [job])
        begun: list[str] = []

        async def send() -> None:
            begun.append("step")
            await rig.ledger.advance(Step(job.id, _PENDING, _SUBMITTED))
            begun.append("after it")
            await anyio.lowlevel.checkpoint()
            begun.append("further")

        sender = asyncio.ensure_future(send())
        while not begun:
            await anyio.lowlevel.checkpoint()
        sender.cancel()
        await asyncio.wait([sender])
        equal((begun, sender.cancelled()), (["step", "after it"], True), "how far it went")
        with anyio.CancelScope() as scope:
            scope.cancel()
            await rig.ledger.advance(Step(job.id, _SUBMITTED, _PENDING))
            await anyio.lowlevel.checkpoint()
        equal(scope.cancelled_caught, True, "a scope of anyio, cancelled before")
        await rig.reopen()
        equal((await _row(rig.ledger, job)).state, _PENDING, "the state")


async def a_job_comes_back_as_it_was_planned(make: Factory) -> None:
    """Down to every photo and field, also after closing."""
    photo = Photo("a.jpg", "/p/a.jpg", "image/jpeg", 9, 1_700_000_000_123_456_789, 77, 64, 65, "d1")
    fitted = replace(photo, ref="b.heic", fitting=Fitting(9, 8, 7, 6, "image/png", "#FFFFFF", ("HEIC", "too large")))
    outputs = (JobOutput("a"), JobOutput("b", Fit(max_megapixels=1.5, background="#000000")))
    stored = (ObjectPhoto("s3://b/c.jpg", "e-2", 9), ObjectPhoto("oss://b/ü", "e", 9, Fit(off=True), presign=True))
    images = (photo, RemoteImage("https://example.com/b.jpg"), *outputs, *stored, fitted)
    job = make_job(3, images=images, fields={"text": "é 中 \U0001f426", "n": [1]})
    async with make() as rig:
        await _plan(rig.ledger, [job])
        await rig.reopen()
        record = await _row(rig.ledger, job)
        equal(record.job, job, "the job")
        equal((record.state, record.run_id, record.selected), (_PENDING, _RUN, True), "state, run and selection")


async def pending_pages_by_position(make: Factory) -> None:
    """One model at a time, from a position on, only what this run stamped and selected."""
    jobs = [make_job(n, model="m1" if n % 3 else "m2") for n in range(20)]
    async with make() as rig:
        ledger = rig.ledger
        await _plan(ledger, list(reversed(jobs[:15])))
        await ledger.enlist(_RUN, [Enlisted(job, Disposition.MAKE, selected=False) for job in jobs[15:18]])
        await ledger.enlist("another run", [Enlisted(job, Disposition.MAKE) for job in jobs[18:]])
        seen: list[int] = []
        after = -1
        while page := await ledger.pending(_RUN, "m1", after, 4):
            expect(len(page) <= 4, f"a page of {len(page)}, 4 were asked for")
            seen += [record.job.position for record in page]
            after = page[-1].job.position
        equal(seen, [n for n in range(15) if n % 3], "positions of m1")
        equal(await ledger.pending_models(_RUN), {"m2": 5, "m1": 10}, "jobs to send, by model")
        equal(list(await ledger.pending_models(_RUN)), ["m2", "m1"], "models, by their first job")


async def steps_are_compare_and_set(make: Factory) -> None:
    """From the state named, along ``NEXT`` alone; a refused step changes nothing."""
    async with make() as rig:
        job = make_job()
        await _plan(rig.ledger, [job])
        before = await _row(rig.ledger, job)
        for frm in JobState:
            for to in JobState:
                if frm is not _PENDING or to not in NEXT[frm]:
                    with raises(StepRefused, f"a PENDING job taken from {frm} to {to}"):
                        await rig.ledger.advance(Step(job.id, frm, to, charge=Charge.CHARGED, usd=1.0, attempts=1))
        with raises(StepRefused, "a step of a job that is not there"):
            await rig.ledger.advance(Step("nobody", _PENDING, _SUBMITTED))
        equal(await _row(rig.ledger, job), before, "the row after refused steps")


async def one_of_many_wins(make: Factory) -> None:
    """The same step asked for at the same time is taken once."""
    async with make() as rig:
        job = make_job()
        await _plan(rig.ledger, [job])
        refused: list[StepRefused] = []

        async def take() -> None:
            try:
                await rig.ledger.advance(Step(job.id, _PENDING, _SUBMITTED, attempts=1))
            except StepRefused as refusal:
                refused.append(refusal)

        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(take)
        equal(len(refused), 9, "refused of ten equal steps")
        equal((await _row(rig.ledger, job)).attempts, 1, "attempts")


async def charges_add_up(make: Factory) -> None:
    """Charged, unknown, lost and their money, over the life of a job; the lease goes as the step says."""
    async with make() as rig:
        job, ledger = make_job(), rig.ledger
        await _plan(ledger, [job])
        await ledger.advance(Step(job.id, _PENDING, _SUBMITTED))
        await ledger.advance(Step(job.id, _SUBMITTED, _PENDING, charge=Charge.UNKNOWN, usd=0.5, attempts=1))
        await ledger.advance(Step(job.id, _PENDING, _SUBMITTED))
        granted = Step(job.id, _SUBMITTED, _GENERATED, charge=Charge.CHARGED, usd=0.25, attempts=1, lease=_LEASE)
        await ledger.advance(granted)
        await rig.reopen()
        record = await _row(rig.ledger, job)
        equal(
            (record.state, record.lease, record.request_id), (_GENERATED, _LEASE, "req-1"), "state, lease, request id"
        )
        equal((record.attempts, record.charged, record.unknown, record.lost), (2, 1, 1, 0), "counters")
        equal((record.cost_usd, record.unknown_usd), (0.25, 0.5), "USD")
        equal(record.risked, 2, "possibly-charged attempts")
        await rig.ledger.advance(Step(job.id, _GENERATED, _PENDING, lost=True))
        record = await _row(rig.ledger, job)
        equal((record.lease, record.lost, record.charged), (None, 1, 1), "lease, lost and charged after a loss")


async def a_stored_image_is_on_record(make: Factory) -> None:
    """With the run that stored it; its URL is forgotten."""
    async with make() as rig:
        job, ledger = make_job(), rig.ledger
        await ledger.begin(RunRow(_RUN, 1.0))
        await _plan(ledger, [job])
        await ledger.advance(Step(job.id, _PENDING, _SUBMITTED))
        await ledger.advance(Step(job.id, _SUBMITTED, _GENERATED, lease=_LEASE))
        await ledger.advance(Step(job.id, _GENERATED, _STORED_STATE, stored=_STORED))
        await rig.reopen()
        record = await _row(rig.ledger, job)
        equal((record.state, record.stored, record.stored_by), (_STORED_STATE, _STORED, _RUN), "state, image and run")
        equal((record.lease, record.failure), (None, None), "lease and failure")


async def a_failure_may_keep_its_lease(make: Factory) -> None:
    """So that the URL is tried again by ``FETCH``."""
    async with make() as rig:
        job, ledger = make_job(), rig.ledger
        await _plan(ledger, [job])
        await ledger.advance(Step(job.id, _PENDING, _SUBMITTED))
        await ledger.advance(Step(job.id, _SUBMITTED, _GENERATED, charge=Charge.CHARGED, usd=0.25, lease=_LEASE))
        await ledger.advance(Step(job.id, _GENERATED, _FAILED_STATE, failure=_FAILED, lease=_LEASE))
        record = await _row(ledger, job)
        equal(
            (record.state, record.failure, record.lease), (_FAILED_STATE, _FAILED, _LEASE), "state, failure and lease"
        )
        await ledger.enlist("run-2", [Enlisted(job, Disposition.FETCH)])
        await rig.reopen()
        record = await _row(rig.ledger, job)
        equal((record.state, record.failure, record.lease), (_GENERATED, None, _LEASE), "the same, to be fetched again")
        equal((record.charged, record.attempts, record.run_id), (1, 0, "run-2"), "charged, attempts and run")


async def what_is_under_way_is_only_stamped(make: Factory) -> None:
    """SUBMITTED and GENERATED rows keep job, state, counters and lease, whatever the plan says."""
    for disposition in Disposition:
        for leased in (False, True):
            async with make() as rig:
                job, ledger = make_job(1), rig.ledger
                await _plan(ledger, [job])
                await ledger.advance(Step(job.id, _PENDING, _SUBMITTED, attempts=1))
                if leased:
                    await ledger.advance(Step(job.id, _SUBMITTED, _GENERATED, charge=Charge.CHARGED, lease=_LEASE))
                before = await _row(ledger, job)
                changed = replace(
                    job, fingerprint="another", model="m9", filename="else", manifest="b.yaml", position=9, price=1.0
                )
                await ledger.enlist("run-2", [Enlisted(changed, disposition, selected=False, pardon=True)])
                after = await _row(ledger, job)
                stamped = replace(before.job, manifest="b.yaml", position=9)
                wanted = replace(before, job=stamped, run_id="run-2", selected=False)
                equal(after, wanted, f"a row under way after {disposition}")


async def a_plan_sets_the_state(make: Factory) -> None:
    """As ``Disposition`` says, for a row that failed."""
    for disposition, state in (
        (Disposition.MAKE, _PENDING),
        (Disposition.KEEP, _FAILED_STATE),
        (Disposition.RESTORE, _STORED_STATE),
        (Disposition.REFUSE, _FAILED_STATE),
    ):
        async with make() as rig:
            job, ledger = make_job(), rig.ledger
            await _plan(ledger, [job])
            await ledger.advance(Step(job.id, _PENDING, _SUBMITTED))
            failed = Step(
                job.id,
                _SUBMITTED,
                _FAILED_STATE,
                charge=Charge.UNKNOWN,
                usd=0.5,
                attempts=1,
                failure=_FAILED,
                lease=_LEASE,
            )
            await ledger.advance(failed)
            defect = Failure(Reason.BAD_IMAGE, "not a photo") if disposition is Disposition.REFUSE else None
            await ledger.enlist("run-2", [Enlisted(replace(job, defect=defect), disposition)])
            record = await _row(ledger, job)
            kept = disposition is Disposition.KEEP
            equal(record.state, state, f"state after {disposition}")
            equal(record.failure, _FAILED if kept else defect, f"failure after {disposition}")
            equal(record.lease, _LEASE if kept else None, f"lease after {disposition}")
            equal(record.attempts, 1 if kept else 0, f"attempts after {disposition}")
            equal((record.unknown, record.unknown_usd), (1, 0.5), f"unknown charges after {disposition}")


async def a_changed_job_starts_anew(make: Factory) -> None:
    """Its counters begin at nothing; the image of the earlier fingerprint stays on record."""
    async with make() as rig:
        job, ledger = make_job(), rig.ledger
        await _store(ledger, job)
        await ledger.enlist("run-2", [Enlisted(replace(job, fingerprint="another"), Disposition.MAKE)])
        record = await _row(ledger, job)
        equal(
            (record.state, record.charged, record.cost_usd, record.risked), (_PENDING, 0, 0.0, 0), "state and counters"
        )
        equal(record.stored, _STORED, "the earlier image")
        equal(record.job.fingerprint, "another", "the fingerprint")


async def a_job_changed_back_takes_up_its_counters(make: Factory) -> None:
    """What was risked and paid for one fingerprint counts for life, however often others come in between."""
    for disposition in (Disposition.MAKE, Disposition.KEEP, Disposition.RESTORE, Disposition.REFUSE):
        async with make() as rig:
            job, ledger = make_job(), rig.ledger
            other = replace(job, fingerprint="another")
            await _plan(ledger, [job])
            await _attempt(ledger, job, Charge.CHARGED, usd=0.25, lost=True)
            await _attempt(ledger, job, Charge.UNKNOWN, usd=0.5)
            await ledger.enlist(_RUN, [Enlisted(job, Disposition.MAKE, pardon=True)])
            before = await _row(ledger, job)
            await ledger.enlist(_RUN, [Enlisted(other, disposition)])
            equal(_counters(await _row(ledger, job)), (0, 0, 0, 0, 0.0, 0.0), f"counters changed by {disposition}")
            await ledger.enlist(_RUN, [Enlisted(other, Disposition.MAKE)])
            await _attempt(ledger, job, Charge.CHARGED, usd=2.0)
            await rig.reopen()
            ledger = rig.ledger
            await ledger.enlist(_RUN, [Enlisted(job, disposition)])
            record = await _row(ledger, job)
            equal(_counters(record), _counters(before), f"counters changed back by {disposition}")
            await ledger.enlist(_RUN, [Enlisted(other, disposition)])
            equal(_counters(await _row(ledger, job)), (1, 0, 0, 0, 2.0, 0.0), "counters of the other fingerprint")
            await ledger.enlist(_RUN, [Enlisted(job, Disposition.MAKE)])
            equal((await _row(ledger, job)).risked, before.risked, "risked, changed back once more")


async def what_was_stored_is_not_held_against_a_job_changed_back(make: Factory) -> None:
    """Its image gave way to another on purpose; only what was lost or is unknown counts."""
    async with make() as rig:
        job, ledger = make_job(), rig.ledger
        other = replace(job, fingerprint="another")
        await _plan(ledger, [job])
        await _attempt(ledger, job, Charge.UNKNOWN)
        await _store(ledger, job)
        equal((await _row(ledger, job)).risked, 2, "risked by an unknown outcome and a stored image")
        await ledger.enlist(_RUN, [Enlisted(other, Disposition.MAKE)])
        await _store(ledger, other)
        await ledger.enlist(_RUN, [Enlisted(job, Disposition.MAKE)])
        equal((await _row(ledger, job)).risked, 1, "risked, changed back")
        await ledger.enlist(_RUN, [Enlisted(other, Disposition.MAKE)])
        equal((await _row(ledger, job)).risked, 0, "risked by the other")


async def a_job_changed_back_may_be_pardoned(make: Factory) -> None:
    """One more attempt, reckoned from what it had risked before."""
    async with make() as rig:
        job, ledger = make_job(), rig.ledger
        await _plan(ledger, [job])
        await _attempt(ledger, job, Charge.UNKNOWN)
        await _attempt(ledger, job, Charge.UNKNOWN)
        await ledger.enlist(_RUN, [Enlisted(replace(job, fingerprint="another"), Disposition.MAKE, pardon=True)])
        equal((await _row(ledger, job)).pardoned, 0, "pardoned, with nothing risked")
        await ledger.enlist(_RUN, [Enlisted(job, Disposition.MAKE, pardon=True)])
        record = await _row(ledger, job)
        equal((record.unknown, record.pardoned, record.risked), (2, 1, 1), "unknown, pardoned and risked")


async def a_change_under_way_leaves_counters_alone(make: Factory) -> None:
    """The row keeps its fingerprint until it has ended, and each fingerprint what was counted for it."""
    async with make() as rig:
        job, ledger = make_job(), rig.ledger
        other = replace(job, fingerprint="another")
        await ledger.enlist(_RUN, [Enlisted(other, Disposition.MAKE)])
        await _attempt(ledger, job, Charge.UNKNOWN, usd=2.0)
        await _plan(ledger, [job])
        await ledger.advance(Step(job.id, _PENDING, _SUBMITTED))
        await ledger.enlist(_RUN, [Enlisted(other, Disposition.MAKE)])
        await ledger.advance(Step(job.id, _SUBMITTED, _PENDING, charge=Charge.CHARGED, usd=0.25, lost=True))
        equal(_counters(await _row(ledger, job)), (1, 0, 1, 0, 0.25, 0.0), "counters of what was sent")
        await ledger.enlist(_RUN, [Enlisted(other, Disposition.MAKE)])
        equal(_counters(await _row(ledger, job)), (0, 1, 0, 0, 0.0, 2.0), "counters of what is asked for now")


async def the_same_job_keeps_its_counters(make: Factory) -> None:
    """A pardon allows one more possibly-charged attempt, whatever there were before, and no more."""
    async with make() as rig:
        job, ledger = make_job(), rig.ledger
        await _plan(ledger, [job])
        for spent, risked in ((0, 0), (1, 1), (2, 1), (3, 1)):
            await ledger.enlist("run-3", [Enlisted(job, Disposition.MAKE, pardon=True)])
            record = await _row(ledger, job)
            equal((record.charged, record.risked), (spent, risked), f"charged and risked, pardoned after {spent}")
            await ledger.enlist("run-4", [Enlisted(job, Disposition.MAKE)])
            equal((await _row(ledger, job)).risked, risked, "risked later: the pardon stays, and is not given twice")
            await _attempt(ledger, job, Charge.CHARGED)
            equal((await _row(ledger, job)).risked, risked + 1, "risked after one more")


async def rows_that_are_not_there_are_work(make: Factory) -> None:
    """What a disposition makes of a job that the ledger has never seen."""
    defect = Failure(Reason.TOO_LARGE, "30 MB")
    async with make() as rig:
        ledger = rig.ledger
        await ledger.enlist(_RUN, [Enlisted(make_job(1), Disposition.KEEP)])
        await ledger.enlist(_RUN, [Enlisted(make_job(2, defect=defect), Disposition.REFUSE)])
        equal((await _row(ledger, make_job(1))).state, _PENDING, "a row that is to be kept, and isn't there")
        refused = await _row(ledger, make_job(2))
        equal((refused.state, refused.failure), (_FAILED_STATE, defect), "a row that is refused, and isn't there")


async def an_image_is_put_on_record(make: Factory) -> None:
    """With ``RESTORE``: that of a job that is new, that had none, or that had another; not of one under way."""
    async with make() as rig:
        ledger = rig.ledger
        new, bare, other, under_way = jobs = [make_job(n) for n in range(4)]
        image = Stored("x.png", "cd" * 32, 99, 8, 8, 7, "f", None, "m", 3)
        await ledger.begin(RunRow(_RUN, 1.0))
        await _plan(ledger, [bare, under_way])
        await _store(ledger, other)
        await ledger.advance(Step(under_way.id, _PENDING, _SUBMITTED))
        restored = [Enlisted(job, Disposition.RESTORE, stored=image, waits=True) for job in jobs]
        await ledger.enlist("run-2", restored)
        await rig.reopen()
        for job in (new, bare, other):
            record = await _row(rig.ledger, job)
            equal((record.state, record.stored, record.stored_by), (_STORED_STATE, image, ""), f"{job.id}, restored")
        equal((await _row(rig.ledger, other)).charged, 1, "charged of a job that had another image")
        record = await _row(rig.ledger, under_way)
        equal((record.state, record.stored), (_SUBMITTED, None), "a job under way")
        await rig.ledger.enlist("run-3", [Enlisted(other, Disposition.KEEP, stored=_STORED)])
        equal((await _row(rig.ledger, other)).stored, image, "an image that comes without RESTORE")


async def a_stored_image_that_is_forgotten_is_not_held_against_its_job(make: Factory) -> None:
    """It was given up on purpose; what was lost still counts."""
    async with make() as rig:
        job, ledger = make_job(), rig.ledger
        await _plan(ledger, [job])
        await _attempt(ledger, job, Charge.UNKNOWN)
        await _store(ledger, job)
        await ledger.forget([job.id])
        await _plan(ledger, [job])
        record = await _row(ledger, job)
        equal((record.state, record.stored, record.risked), (_PENDING, None, 1), "state, image and risked")


async def ids_come_in_pages(make: Factory) -> None:
    """Of all rows, whatever plan they are of."""
    async with make() as rig:
        ledger = rig.ledger
        names = ["a", "B", "é", "a/b", "中"]
        for number, name in enumerate(names):
            await ledger.enlist(f"run-{number}", [Enlisted(make_job(number, id=name), Disposition.MAKE)])
        first = await ledger.ids(limit=2)
        rest = await ledger.ids(first[-1], 9)
        equal([*first, *rest], sorted(names), "ids")


async def leases_are_found_whatever_plan_they_are_of(make: Factory) -> None:
    """By id, paged."""
    async with make() as rig:
        ledger = rig.ledger
        for run, numbers in (("run-1", range(5)), ("run-2", range(5, 9))):
            jobs = [make_job(n) for n in numbers]
            await ledger.enlist(run, [Enlisted(job, Disposition.MAKE) for job in jobs])
            for job in jobs:
                await ledger.advance(Step(job.id, _PENDING, _SUBMITTED))
                await ledger.advance(Step(job.id, _SUBMITTED, _GENERATED, lease=_LEASE))
        first = await ledger.in_state("generated", limit=6)
        rest = await ledger.in_state("generated", first[-1].job.id, limit=6)
        ids = [record.job.id for record in [*first, *rest]]
        equal(ids, [make_job(n).id for n in range(9)], "leases owed")
        equal(await ledger.in_state("submitted"), [], "requests under way")


async def present_is_what_the_last_plan_holds(make: Factory) -> None:
    """Rows and tally leave out what a manifest no longer asks for, and come in the order of the manifests."""
    async with make() as rig:
        ledger = rig.ledger
        for manifest, run, numbers in (("b.yaml", "r1", (3, 1)), ("a.yaml", "r2", (2, 0, 4)), ("b.yaml", "r3", (1,))):
            jobs = [make_job(n, manifest=manifest) for n in numbers]
            await ledger.enlist(run, [Enlisted(job, Disposition.MAKE) for job in jobs])
            await ledger.claim(manifest, run)
        equal(await ledger.manifests(), ["b.yaml", "a.yaml"], "manifests, the first one first")
        equal([record.job.position async for record in ledger.rows()], [1, 0, 2, 4], "rows present")
        equal((await ledger.tally()).by_state, {"pending": 4}, "jobs present")
        await ledger.release("b.yaml")
        equal([record.job.position async for record in ledger.rows()], [0, 2, 4], "rows after a release")
        await ledger.claim("b.yaml", "r3")
        equal(await ledger.manifests(), ["a.yaml", "b.yaml"], "a manifest that comes back comes last")


async def many_rows_come_in_pages(make: Factory) -> None:
    """Each once, in order, also while others write."""
    count = 1203
    async with make() as rig:
        jobs = [make_job(n) for n in range(count)]
        await _plan(rig.ledger, jobs)
        await rig.ledger.claim("jobs.yaml", _RUN)
        positions = [record.job.position async for record in rig.ledger.rows()]
        equal(len(positions), count, "rows")
        expect(all(a < b for a, b in pairwise(positions)), "rows come by position")
        recalled = await rig.ledger.recall([job.id for job in jobs])
        equal(len(recalled), count, "rows recalled at once")


async def images_of_the_same_bytes_are_found(make: Factory) -> None:
    """Of present jobs that are stored, and no others."""
    async with make() as rig:
        ledger = rig.ledger
        jobs = [make_job(position, id=job_id) for position, job_id in enumerate("abcde")]
        for job, sha256 in zip(jobs, ("01", "02", "01", "03", "01"), strict=True):
            await _store(ledger, job, replace(_STORED, file=f"{job.id}.png", sha256=sha256 * 32))
        other = make_job(5, id="f", manifest="gone.yaml")
        await _store(ledger, other, replace(_STORED, file="f.png", sha256="03" * 32))
        await ledger.claim(jobs[0].manifest, _RUN)
        equal(await ledger.twins(10), {"01" * 32: ("a", "e")}, "twins, one of a manifest that is gone left out")
        equal(await ledger.twins(0), {}, "no twins at all")
        await rig.ledger.enlist(_RUN, [Enlisted(jobs[0], Disposition.MAKE)])
        equal(await ledger.twins(10), {"01" * 32: ("c", "e")}, "twins, once one is to be made anew")


async def the_tally_counts(make: Factory) -> None:
    """States, failures and money; of a run only what it may send."""
    async with make() as rig:
        ledger = rig.ledger
        jobs = [make_job(n) for n in range(4)]
        await _store(ledger, jobs[0])
        await ledger.enlist(_RUN, [Enlisted(job, Disposition.MAKE, selected=job.position < 3) for job in jobs[1:]])
        await ledger.advance(Step(jobs[1].id, _PENDING, _FAILED_STATE, failure=_FAILED))
        await ledger.advance(Step(jobs[2].id, _PENDING, _SUBMITTED))
        unknown = Step(jobs[2].id, _SUBMITTED, _PENDING, charge=Charge.UNKNOWN, usd=0.5, attempts=1)
        await ledger.advance(unknown)
        await ledger.claim("jobs.yaml", _RUN)
        whole, mine = await ledger.tally(), await ledger.tally(_RUN)
        equal(whole.by_state, {"stored": 1, "failed": 1, "pending": 2}, "present jobs by state")
        equal(mine.by_state, {"stored": 1, "failed": 1, "pending": 1}, "the run's jobs by state")
        equal(whole.failures, {"moderated": 1}, "failures")
        equal((whole.charged, whole.unknown, whole.lost), (1, 1, 0), "charges")
        equal((whole.cost_usd, whole.unknown_usd), (0.25, 0.5), "USD")
        equal((await ledger.tally("nobody's")).total, 0, "jobs of an unknown run")


async def the_tally_forgets_no_money(make: Factory) -> None:
    """What was paid for an earlier fingerprint of a job counts on, of the present jobs and of those of a run."""
    async with make() as rig:
        ledger = rig.ledger
        kept, gone, left_out = jobs = [make_job(n) for n in range(3)]
        await _plan(ledger, jobs)
        for job, usd in zip(jobs, (0.25, 4.0, 16.0), strict=True):
            await _attempt(ledger, job, Charge.CHARGED, usd=usd, lost=True)
            await _attempt(ledger, job, Charge.UNKNOWN, usd=2 * usd)
        for fingerprint in ("second", "third"):
            for job, run in ((kept, "run-2"), (gone, _RUN), (left_out, "run-2")):
                changed = replace(job, fingerprint=fingerprint)
                selected = job is not left_out
                await ledger.enlist(run, [Enlisted(changed, Disposition.MAKE, selected=selected)])
            await _attempt(ledger, kept, Charge.CHARGED, usd=0.5)
        await ledger.claim("jobs.yaml", "run-2")
        for back in (kept, replace(kept, fingerprint="second"), kept):
            mine, present = await rig.ledger.tally("run-2"), await rig.ledger.tally()
            equal((mine.by_state, mine.failures), ({"pending": 1}, {}), "the run's jobs")
            equal((mine.charged, mine.unknown, mine.lost), (3, 1, 1), "the run's attempts")
            equal((mine.cost_usd, mine.unknown_usd), (1.25, 0.5), "the run's USD")
            equal(present.by_state, {"pending": 2}, "present jobs")
            equal((present.charged, present.unknown, present.lost), (4, 2, 2), "attempts of present jobs")
            equal((present.cost_usd, present.unknown_usd), (17.25, 32.5), "USD of present jobs")
            await rig.reopen()
            await rig.ledger.enlist("run-2", [Enlisted(back, Disposition.MAKE)])


async def a_closed_ledger_says_so(make: Factory) -> None:
    """And may be closed again."""
    async with make() as rig:
        await rig.ledger.close()
        await rig.ledger.close()
        with raises(LedgerError, "a closed ledger"):
            await rig.ledger.last_run()
        await rig.reopen()
        equal(await rig.ledger.last_run(), None, "the last run after opening again")


async def _plan(ledger: Ledger, jobs: Sequence[PlannedJob]) -> None:
    await ledger.enlist(_RUN, [Enlisted(job, Disposition.MAKE) for job in jobs])


async def _store(ledger: Ledger, job: PlannedJob, stored: Stored = _STORED) -> None:
    await _plan(ledger, [job])
    await ledger.advance(Step(job.id, _PENDING, _SUBMITTED))
    step = Step(job.id, _SUBMITTED, _STORED_STATE, charge=Charge.CHARGED, usd=0.25, attempts=1, stored=stored)
    await ledger.advance(step)


async def _attempt(ledger: Ledger, job: PlannedJob, charge: Charge, *, usd: float = 0.25, lost: bool = False) -> None:
    """Send a job that is PENDING, to no avail."""
    await ledger.advance(Step(job.id, _PENDING, _SUBMITTED))
    await ledger.advance(Step(job.id, _SUBMITTED, _PENDING, charge=charge, usd=usd, attempts=1, lost=lost))


async def _row(ledger: Ledger, job: PlannedJob) -> Record:
    return (await ledger.recall([job.id]))[job.id]


def _counters(record: Record) -> tuple[int, int, int, int, float, float]:
    return (
        record.charged,
        record.unknown,
        record.lost,
        record.pardoned,
        record.cost_usd,
        record.unknown_usd,
    )


CASES: Final[list[Case]] = [
    an_empty_ledger_knows_nothing,
    runs_are_remembered,
    runs_are_told_by_when_they_were_over,
    a_run_knows_what_it_spent,
    a_step_is_seen_through,
    a_job_comes_back_as_it_was_planned,
    pending_pages_by_position,
    steps_are_compare_and_set,
    one_of_many_wins,
    charges_add_up,
    a_stored_image_is_on_record,
    a_failure_may_keep_its_lease,
    what_is_under_way_is_only_stamped,
    a_plan_sets_the_state,
    a_changed_job_starts_anew,
    a_job_changed_back_takes_up_its_counters,
    what_was_stored_is_not_held_against_a_job_changed_back,
    a_job_changed_back_may_be_pardoned,
    a_change_under_way_leaves_counters_alone,
    the_same_job_keeps_its_counters,
    rows_that_are_not_there_are_work,
    an_image_is_put_on_record,
    a_stored_image_that_is_forgotten_is_not_held_against_its_job,
    ids_come_in_pages,
    leases_are_found_whatever_plan_they_are_of,
    present_is_what_the_last_plan_holds,
    many_rows_come_in_pages,
    images_of_the_same_bytes_are_found,
    the_tally_counts,
    the_tally_forgets_no_money,
    a_closed_ledger_says_so,
]
