"""How rows are found, in pages, and counted."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from fluxbatch.model.job import Step
from fluxbatch.model.state import Charge, JobState
from fluxbatch.ports import Disposition, Enlisted
from fluxbatch.testing.conformance.expect import equal, expect
from fluxbatch.testing.conformance.ledger.rig import FAILED, LEASE, RUN, STORED, attempt, plan, store
from fluxbatch.testing.jobs import make_job

if TYPE_CHECKING:
    from fluxbatch.testing.conformance.ledger.rig import Case, Factory

__all__ = ["CASES"]


async def pending_pages_by_position(make: Factory) -> None:
    """One model at a time, from a position on, only what this run stamped and selected."""
    jobs = [make_job(n, model="m1" if n % 3 else "m2") for n in range(20)]
    async with make() as rig:
        ledger = rig.ledger
        await plan(ledger, list(reversed(jobs[:15])))
        await ledger.enlist(RUN, [Enlisted(job, Disposition.MAKE, selected=False) for job in jobs[15:18]])
        await ledger.enlist("another run", [Enlisted(job, Disposition.MAKE) for job in jobs[18:]])
        seen: list[int] = []
        after = -1
        while page := await ledger.pending(RUN, "m1", after, 4):
            expect(len(page) <= 4, f"a page of {len(page)}, 4 were asked for")
            seen += [record.job.position for record in page]
            after = page[-1].job.position
        equal(seen, [n for n in range(15) if n % 3], "positions of m1")
        equal(await ledger.pending_models(RUN), {"m2": 5, "m1": 10}, "jobs to send, by model")
        equal(list(await ledger.pending_models(RUN)), ["m2", "m1"], "models, by their first job")


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
                await ledger.advance(Step(job.id, JobState.PENDING, JobState.SUBMITTED))
                await ledger.advance(Step(job.id, JobState.SUBMITTED, JobState.GENERATED, lease=LEASE))
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
        await plan(rig.ledger, jobs)
        await rig.ledger.claim("jobs.yaml", RUN)
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
            await store(ledger, job, replace(STORED, file=f"{job.id}.png", sha256=sha256 * 32))
        other = make_job(5, id="f", manifest="gone.yaml")
        await store(ledger, other, replace(STORED, file="f.png", sha256="03" * 32))
        await ledger.claim(jobs[0].manifest, RUN)
        equal(await ledger.twins(10), {"01" * 32: ("a", "e")}, "twins, one of a manifest that is gone left out")
        equal(await ledger.twins(0), {}, "no twins at all")
        await rig.ledger.enlist(RUN, [Enlisted(jobs[0], Disposition.MAKE)])
        equal(await ledger.twins(10), {"01" * 32: ("c", "e")}, "twins, once one is to be made anew")


async def the_tally_counts(make: Factory) -> None:
    """States, failures and money; of a run only what it may send."""
    async with make() as rig:
        ledger = rig.ledger
        jobs = [make_job(n) for n in range(4)]
        await store(ledger, jobs[0])
        await ledger.enlist(RUN, [Enlisted(job, Disposition.MAKE, selected=job.position < 3) for job in jobs[1:]])
        await ledger.advance(Step(jobs[1].id, JobState.PENDING, JobState.FAILED, failure=FAILED))
        await ledger.advance(Step(jobs[2].id, JobState.PENDING, JobState.SUBMITTED))
        unknown = Step(jobs[2].id, JobState.SUBMITTED, JobState.PENDING, charge=Charge.UNKNOWN, usd=0.5, attempts=1)
        await ledger.advance(unknown)
        await ledger.claim("jobs.yaml", RUN)
        whole, mine = await ledger.tally(), await ledger.tally(RUN)
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
        await plan(ledger, jobs)
        for job, usd in zip(jobs, (0.25, 4.0, 16.0), strict=True):
            await attempt(ledger, job, Charge.CHARGED, usd=usd, lost=True)
            await attempt(ledger, job, Charge.UNKNOWN, usd=2 * usd)
        for fingerprint in ("second", "third"):
            for job, run in ((kept, "run-2"), (gone, RUN), (left_out, "run-2")):
                changed = replace(job, fingerprint=fingerprint)
                selected = job is not left_out
                await ledger.enlist(run, [Enlisted(changed, Disposition.MAKE, selected=selected)])
            await attempt(ledger, kept, Charge.CHARGED, usd=0.5)
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


CASES: Final[list[Case]] = [
    pending_pages_by_position,
    ids_come_in_pages,
    leases_are_found_whatever_plan_they_are_of,
    present_is_what_the_last_plan_holds,
    many_rows_come_in_pages,
    images_of_the_same_bytes_are_found,
    the_tally_counts,
    the_tally_forgets_no_money,
]
