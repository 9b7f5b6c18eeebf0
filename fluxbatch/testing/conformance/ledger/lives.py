"""What counts of a job for life, whatever it asks for meanwhile."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from fluxbatch.model.job import Step
from fluxbatch.model.state import Charge, JobState
from fluxbatch.ports import Disposition, Enlisted
from fluxbatch.testing.conformance.expect import equal
from fluxbatch.testing.conformance.ledger.rig import RUN, STORED, attempt, counters, plan, row, store
from fluxbatch.testing.jobs import make_job

if TYPE_CHECKING:
    from fluxbatch.testing.conformance.ledger.rig import Case, Factory

__all__ = ["CASES"]


async def a_changed_job_starts_anew(make: Factory) -> None:
    """Its counters begin at nothing; the image of the earlier fingerprint stays on record."""
    async with make() as rig:
        job, ledger = make_job(), rig.ledger
        await store(ledger, job)
        await ledger.enlist("run-2", [Enlisted(replace(job, fingerprint="another"), Disposition.MAKE)])
        record = await row(ledger, job)
        equal(
            (record.state, record.charged, record.cost_usd, record.risked),
            (JobState.PENDING, 0, 0.0, 0),
            "state and counters",
        )
        equal(record.stored, STORED, "the earlier image")
        equal(record.job.fingerprint, "another", "the fingerprint")


async def a_job_changed_back_takes_up_its_counters(make: Factory) -> None:
    """What was risked and paid for one fingerprint counts for life, however often others come in between."""
    for disposition in (Disposition.MAKE, Disposition.KEEP, Disposition.RESTORE, Disposition.REFUSE):
        async with make() as rig:
            job, ledger = make_job(), rig.ledger
            other = replace(job, fingerprint="another")
            await plan(ledger, [job])
            await attempt(ledger, job, Charge.CHARGED, usd=0.25, lost=True)
            await attempt(ledger, job, Charge.UNKNOWN, usd=0.5)
            await ledger.enlist(RUN, [Enlisted(job, Disposition.MAKE, pardon=True)])
            before = await row(ledger, job)
            await ledger.enlist(RUN, [Enlisted(other, disposition)])
            equal(counters(await row(ledger, job)), (0, 0, 0, 0, 0.0, 0.0), f"counters changed by {disposition}")
            await ledger.enlist(RUN, [Enlisted(other, Disposition.MAKE)])
            await attempt(ledger, job, Charge.CHARGED, usd=2.0)
            await rig.reopen()
            ledger = rig.ledger
            await ledger.enlist(RUN, [Enlisted(job, disposition)])
            record = await row(ledger, job)
            equal(counters(record), counters(before), f"counters changed back by {disposition}")
            await ledger.enlist(RUN, [Enlisted(other, disposition)])
            equal(counters(await row(ledger, job)), (1, 0, 0, 0, 2.0, 0.0), "counters of the other fingerprint")
            await ledger.enlist(RUN, [Enlisted(job, Disposition.MAKE)])
            equal((await row(ledger, job)).risked, before.risked, "risked, changed back once more")


async def what_was_stored_is_not_held_against_a_job_changed_back(make: Factory) -> None:
    """Its image gave way to another on purpose; only what was lost or is unknown counts."""
    async with make() as rig:
        job, ledger = make_job(), rig.ledger
        other = replace(job, fingerprint="another")
        await plan(ledger, [job])
        await attempt(ledger, job, Charge.UNKNOWN)
        await store(ledger, job)
        equal((await row(ledger, job)).risked, 2, "risked by an unknown outcome and a stored image")
        await ledger.enlist(RUN, [Enlisted(other, Disposition.MAKE)])
        await store(ledger, other)
        await ledger.enlist(RUN, [Enlisted(job, Disposition.MAKE)])
        equal((await row(ledger, job)).risked, 1, "risked, changed back")
        await ledger.enlist(RUN, [Enlisted(other, Disposition.MAKE)])
        equal((await row(ledger, job)).risked, 0, "risked by the other")


async def a_job_changed_back_may_be_pardoned(make: Factory) -> None:
    """One more attempt, reckoned from what it had risked before."""
    async with make() as rig:
        job, ledger = make_job(), rig.ledger
        await plan(ledger, [job])
        await attempt(ledger, job, Charge.UNKNOWN)
        await attempt(ledger, job, Charge.UNKNOWN)
        await ledger.enlist(RUN, [Enlisted(replace(job, fingerprint="another"), Disposition.MAKE, pardon=True)])
        equal((await row(ledger, job)).pardoned, 0, "pardoned, with nothing risked")
        await ledger.enlist(RUN, [Enlisted(job, Disposition.MAKE, pardon=True)])
        record = await row(ledger, job)
        equal((record.unknown, record.pardoned, record.risked), (2, 1, 1), "unknown, pardoned and risked")


async def a_change_under_way_leaves_counters_alone(make: Factory) -> None:
    """The row keeps its fingerprint until it has ended, and each fingerprint what was counted for it."""
    async with make() as rig:
        job, ledger = make_job(), rig.ledger
        other = replace(job, fingerprint="another")
        await ledger.enlist(RUN, [Enlisted(other, Disposition.MAKE)])
        await attempt(ledger, job, Charge.UNKNOWN, usd=2.0)
        await plan(ledger, [job])
        await ledger.advance(Step(job.id, JobState.PENDING, JobState.SUBMITTED))
        await ledger.enlist(RUN, [Enlisted(other, Disposition.MAKE)])
        await ledger.advance(
            Step(job.id, JobState.SUBMITTED, JobState.PENDING, charge=Charge.CHARGED, usd=0.25, lost=True)
        )
        equal(counters(await row(ledger, job)), (1, 0, 1, 0, 0.25, 0.0), "counters of what was sent")
        await ledger.enlist(RUN, [Enlisted(other, Disposition.MAKE)])
        equal(counters(await row(ledger, job)), (0, 1, 0, 0, 0.0, 2.0), "counters of what is asked for now")


async def the_same_job_keeps_its_counters(make: Factory) -> None:
    """A pardon allows one more possibly-charged attempt, whatever there were before, and no more."""
    async with make() as rig:
        job, ledger = make_job(), rig.ledger
        await plan(ledger, [job])
        for spent, risked in ((0, 0), (1, 1), (2, 1), (3, 1)):
            await ledger.enlist("run-3", [Enlisted(job, Disposition.MAKE, pardon=True)])
            record = await row(ledger, job)
            equal((record.charged, record.risked), (spent, risked), f"charged and risked, pardoned after {spent}")
            await ledger.enlist("run-4", [Enlisted(job, Disposition.MAKE)])
            equal((await row(ledger, job)).risked, risked, "risked later: the pardon stays, and is not given twice")
            await attempt(ledger, job, Charge.CHARGED)
            equal((await row(ledger, job)).risked, risked + 1, "risked after one more")


async def a_stored_image_that_is_forgotten_is_not_held_against_its_job(make: Factory) -> None:
    """It was given up on purpose; what was lost still counts."""
    async with make() as rig:
        job, ledger = make_job(), rig.ledger
        await plan(ledger, [job])
        await attempt(ledger, job, Charge.UNKNOWN)
        await store(ledger, job)
        await ledger.forget([job.id])
        await plan(ledger, [job])
        record = await row(ledger, job)
        equal((record.state, record.stored, record.risked), (JobState.PENDING, None, 1), "state, image and risked")


CASES: Final[list[Case]] = [
    a_changed_job_starts_anew,
    a_job_changed_back_takes_up_its_counters,
    what_was_stored_is_not_held_against_a_job_changed_back,
    a_job_changed_back_may_be_pardoned,
    a_change_under_way_leaves_counters_alone,
    the_same_job_keeps_its_counters,
    a_stored_image_that_is_forgotten_is_not_held_against_its_job,
]
