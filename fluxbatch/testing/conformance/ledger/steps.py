"""What a step changes: state, charge, lease, image and failure."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import anyio
import anyio.lowlevel

from fluxbatch.errors import StepRefused
from fluxbatch.model.job import Step
from fluxbatch.model.state import NEXT, Charge, JobState
from fluxbatch.ports import Disposition, Enlisted, RunRow
from fluxbatch.testing.conformance.expect import equal, raises
from fluxbatch.testing.conformance.ledger.rig import FAILED, LEASE, RUN, STORED, plan, row
from fluxbatch.testing.jobs import make_job

if TYPE_CHECKING:
    from fluxbatch.testing.conformance.ledger.rig import Case, Factory

__all__ = ["CASES"]


async def a_step_is_seen_through(make: Factory) -> None:
    """Whoever is cancelled while it is written learns of it once it is, and has written it."""
    job = make_job()
    async with make() as rig:
        await plan(rig.ledger, [job])
        begun: list[str] = []

        async def send() -> None:
            begun.append("step")
            await rig.ledger.advance(Step(job.id, JobState.PENDING, JobState.SUBMITTED))
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
            await rig.ledger.advance(Step(job.id, JobState.SUBMITTED, JobState.PENDING))
            await anyio.lowlevel.checkpoint()
        equal(scope.cancelled_caught, True, "a scope of anyio, cancelled before")
        await rig.reopen()
        equal((await row(rig.ledger, job)).state, JobState.PENDING, "the state")


async def steps_are_compare_and_set(make: Factory) -> None:
    """From the state named, along ``NEXT`` alone; a refused step changes nothing."""
    async with make() as rig:
        job = make_job()
        await plan(rig.ledger, [job])
        before = await row(rig.ledger, job)
        for frm in JobState:
            for to in JobState:
                if frm is not JobState.PENDING or to not in NEXT[frm]:
                    with raises(StepRefused, f"a PENDING job taken from {frm} to {to}"):
                        await rig.ledger.advance(Step(job.id, frm, to, charge=Charge.CHARGED, usd=1.0, attempts=1))
        with raises(StepRefused, "a step of a job that is not there"):
            await rig.ledger.advance(Step("nobody", JobState.PENDING, JobState.SUBMITTED))
        equal(await row(rig.ledger, job), before, "the row after refused steps")


async def one_of_many_wins(make: Factory) -> None:
    """The same step asked for at the same time is taken once."""
    async with make() as rig:
        job = make_job()
        await plan(rig.ledger, [job])
        refused: list[StepRefused] = []

        async def take() -> None:
            try:
                await rig.ledger.advance(Step(job.id, JobState.PENDING, JobState.SUBMITTED, attempts=1))
            except StepRefused as refusal:
                refused.append(refusal)

        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(take)
        equal(len(refused), 9, "refused of ten equal steps")
        equal((await row(rig.ledger, job)).attempts, 1, "attempts")


async def charges_add_up(make: Factory) -> None:
    """Charged, unknown, lost and their money, over the life of a job; the lease goes as the step says."""
    async with make() as rig:
        job, ledger = make_job(), rig.ledger
        await plan(ledger, [job])
        await ledger.advance(Step(job.id, JobState.PENDING, JobState.SUBMITTED))
        await ledger.advance(
            Step(job.id, JobState.SUBMITTED, JobState.PENDING, charge=Charge.UNKNOWN, usd=0.5, attempts=1)
        )
        await ledger.advance(Step(job.id, JobState.PENDING, JobState.SUBMITTED))
        granted = Step(
            job.id, JobState.SUBMITTED, JobState.GENERATED, charge=Charge.CHARGED, usd=0.25, attempts=1, lease=LEASE
        )
        await ledger.advance(granted)
        await rig.reopen()
        record = await row(rig.ledger, job)
        equal(
            (record.state, record.lease, record.request_id),
            (JobState.GENERATED, LEASE, "req-1"),
            "state, lease, request id",
        )
        equal((record.attempts, record.charged, record.unknown, record.lost), (2, 1, 1, 0), "counters")
        equal((record.cost_usd, record.unknown_usd), (0.25, 0.5), "USD")
        equal(record.risked, 2, "possibly-charged attempts")
        await rig.ledger.advance(Step(job.id, JobState.GENERATED, JobState.PENDING, lost=True))
        record = await row(rig.ledger, job)
        equal((record.lease, record.lost, record.charged), (None, 1, 1), "lease, lost and charged after a loss")


async def a_stored_image_is_on_record(make: Factory) -> None:
    """With the run that stored it; its URL is forgotten."""
    async with make() as rig:
        job, ledger = make_job(), rig.ledger
        await ledger.begin(RunRow(RUN, 1.0))
        await plan(ledger, [job])
        await ledger.advance(Step(job.id, JobState.PENDING, JobState.SUBMITTED))
        await ledger.advance(Step(job.id, JobState.SUBMITTED, JobState.GENERATED, lease=LEASE))
        await ledger.advance(Step(job.id, JobState.GENERATED, JobState.STORED, stored=STORED))
        await rig.reopen()
        record = await row(rig.ledger, job)
        equal((record.state, record.stored, record.stored_by), (JobState.STORED, STORED, RUN), "state, image and run")
        equal((record.lease, record.failure), (None, None), "lease and failure")


async def a_failure_may_keep_its_lease(make: Factory) -> None:
    """So that the URL is tried again by ``FETCH``."""
    async with make() as rig:
        job, ledger = make_job(), rig.ledger
        await plan(ledger, [job])
        await ledger.advance(Step(job.id, JobState.PENDING, JobState.SUBMITTED))
        await ledger.advance(
            Step(job.id, JobState.SUBMITTED, JobState.GENERATED, charge=Charge.CHARGED, usd=0.25, lease=LEASE)
        )
        await ledger.advance(Step(job.id, JobState.GENERATED, JobState.FAILED, failure=FAILED, lease=LEASE))
        record = await row(ledger, job)
        equal(
            (record.state, record.failure, record.lease), (JobState.FAILED, FAILED, LEASE), "state, failure and lease"
        )
        await ledger.enlist("run-2", [Enlisted(job, Disposition.FETCH)])
        await rig.reopen()
        record = await row(rig.ledger, job)
        equal(
            (record.state, record.failure, record.lease),
            (JobState.GENERATED, None, LEASE),
            "the same, to be fetched again",
        )
        equal((record.charged, record.attempts, record.run_id), (1, 0, "run-2"), "charged, attempts and run")


CASES: Final[list[Case]] = [
    a_step_is_seen_through,
    steps_are_compare_and_set,
    one_of_many_wins,
    charges_add_up,
    a_stored_image_is_on_record,
    a_failure_may_keep_its_lease,
]
