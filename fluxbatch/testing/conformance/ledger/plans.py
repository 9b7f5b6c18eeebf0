"""What a plan makes of rows."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from fluxbatch.model.job import Failure, Fit, Fitting, JobOutput, ObjectPhoto, Photo, RemoteImage, Step, Stored
from fluxbatch.model.state import Charge, JobState, Reason
from fluxbatch.ports import Disposition, Enlisted, RunRow
from fluxbatch.testing.conformance.expect import equal
from fluxbatch.testing.conformance.ledger.rig import FAILED, LEASE, RUN, STORED, plan, row, store
from fluxbatch.testing.jobs import make_job

if TYPE_CHECKING:
    from fluxbatch.testing.conformance.ledger.rig import Case, Factory

__all__ = ["CASES"]


async def a_job_comes_back_as_it_was_planned(make: Factory) -> None:
    """Down to every photo and field, also after closing."""
    photo = Photo("a.jpg", "/p/a.jpg", "image/jpeg", 9, 1_700_000_000_123_456_789, 77, 64, 65, "d1")
    fitted = replace(photo, ref="b.heic", fitting=Fitting(9, 8, 7, 6, "image/png", "#FFFFFF", ("HEIC", "too large")))
    outputs = (JobOutput("a"), JobOutput("b", Fit(max_megapixels=1.5, background="#000000")))
    stored = (ObjectPhoto("s3://b/c.jpg", "e-2", 9), ObjectPhoto("oss://b/ü", "e", 9, Fit(off=True), presign=True))
    images = (photo, RemoteImage("https://example.com/b.jpg"), *outputs, *stored, fitted)
    job = make_job(3, images=images, fields={"text": "é 中 \U0001f426", "n": [1]})
    async with make() as rig:
        await plan(rig.ledger, [job])
        await rig.reopen()
        record = await row(rig.ledger, job)
        equal(record.job, job, "the job")
        equal((record.state, record.run_id, record.selected), (JobState.PENDING, RUN, True), "state, run and selection")


async def what_is_under_way_is_only_stamped(make: Factory) -> None:
    """SUBMITTED and GENERATED rows keep job, state, counters and lease, whatever the plan says."""
    for disposition in Disposition:
        for leased in (False, True):
            async with make() as rig:
                job, ledger = make_job(1), rig.ledger
                await plan(ledger, [job])
                await ledger.advance(Step(job.id, JobState.PENDING, JobState.SUBMITTED, attempts=1))
                if leased:
                    await ledger.advance(
                        Step(job.id, JobState.SUBMITTED, JobState.GENERATED, charge=Charge.CHARGED, lease=LEASE)
                    )
                before = await row(ledger, job)
                changed = replace(
                    job, fingerprint="another", model="m9", filename="else", manifest="b.yaml", position=9, price=1.0
                )
                await ledger.enlist("run-2", [Enlisted(changed, disposition, selected=False, pardon=True)])
                after = await row(ledger, job)
                stamped = replace(before.job, manifest="b.yaml", position=9)
                wanted = replace(before, job=stamped, run_id="run-2", selected=False)
                equal(after, wanted, f"a row under way after {disposition}")


async def a_plan_sets_the_state(make: Factory) -> None:
    """As ``Disposition`` says, for a row that failed."""
    for disposition, state in (
        (Disposition.MAKE, JobState.PENDING),
        (Disposition.KEEP, JobState.FAILED),
        (Disposition.RESTORE, JobState.STORED),
        (Disposition.REFUSE, JobState.FAILED),
    ):
        async with make() as rig:
            job, ledger = make_job(), rig.ledger
            await plan(ledger, [job])
            await ledger.advance(Step(job.id, JobState.PENDING, JobState.SUBMITTED))
            failed = Step(
                job.id,
                JobState.SUBMITTED,
                JobState.FAILED,
                charge=Charge.UNKNOWN,
                usd=0.5,
                attempts=1,
                failure=FAILED,
                lease=LEASE,
            )
            await ledger.advance(failed)
            defect = Failure(Reason.BAD_IMAGE, "not a photo") if disposition is Disposition.REFUSE else None
            await ledger.enlist("run-2", [Enlisted(replace(job, defect=defect), disposition)])
            record = await row(ledger, job)
            kept = disposition is Disposition.KEEP
            equal(record.state, state, f"state after {disposition}")
            equal(record.failure, FAILED if kept else defect, f"failure after {disposition}")
            equal(record.lease, LEASE if kept else None, f"lease after {disposition}")
            equal(record.attempts, 1 if kept else 0, f"attempts after {disposition}")
            equal((record.unknown, record.unknown_usd), (1, 0.5), f"unknown charges after {disposition}")


async def rows_that_are_not_there_are_work(make: Factory) -> None:
    """What a disposition makes of a job that the ledger has never seen."""
    defect = Failure(Reason.TOO_LARGE, "30 MB")
    async with make() as rig:
        ledger = rig.ledger
        await ledger.enlist(RUN, [Enlisted(make_job(1), Disposition.KEEP)])
        await ledger.enlist(RUN, [Enlisted(make_job(2, defect=defect), Disposition.REFUSE)])
        equal((await row(ledger, make_job(1))).state, JobState.PENDING, "a row that is to be kept, and isn't there")
        refused = await row(ledger, make_job(2))
        equal((refused.state, refused.failure), (JobState.FAILED, defect), "a row that is refused, and isn't there")


async def an_image_is_put_on_record(make: Factory) -> None:
    """With ``RESTORE``: that of a job that is new, that had none, or that had another; not of one under way."""
    async with make() as rig:
        ledger = rig.ledger
        new, bare, other, under_way = jobs = [make_job(n) for n in range(4)]
        image = Stored("x.png", "cd" * 32, 99, 8, 8, 7, "f", None, "m", 3)
        await ledger.begin(RunRow(RUN, 1.0))
        await plan(ledger, [bare, under_way])
        await store(ledger, other)
        await ledger.advance(Step(under_way.id, JobState.PENDING, JobState.SUBMITTED))
        restored = [Enlisted(job, Disposition.RESTORE, stored=image, waits=True) for job in jobs]
        await ledger.enlist("run-2", restored)
        await rig.reopen()
        for job in (new, bare, other):
            record = await row(rig.ledger, job)
            equal((record.state, record.stored, record.stored_by), (JobState.STORED, image, ""), f"{job.id}, restored")
        equal((await row(rig.ledger, other)).charged, 1, "charged of a job that had another image")
        record = await row(rig.ledger, under_way)
        equal((record.state, record.stored), (JobState.SUBMITTED, None), "a job under way")
        await rig.ledger.enlist("run-3", [Enlisted(other, Disposition.KEEP, stored=STORED)])
        equal((await row(rig.ledger, other)).stored, image, "an image that comes without RESTORE")


CASES: Final[list[Case]] = [
    a_job_comes_back_as_it_was_planned,
    what_is_under_way_is_only_stamped,
    a_plan_sets_the_state,
    rows_that_are_not_there_are_work,
    an_image_is_put_on_record,
]
