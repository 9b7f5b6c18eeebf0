"""What every ``Ledger`` holds to about jobs that take the output of others, and about jobs that are forgotten."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from fluxbatch.model.job import JobOutput, Step
from fluxbatch.model.state import Charge, JobState
from fluxbatch.ports import Disposition, Enlisted
from fluxbatch.testing.conformance.expect import equal, expect
from fluxbatch.testing.conformance.ledger.rig import FAILED, LEASE, RUN, STORED, attempt, counters, row
from fluxbatch.testing.jobs import make_job

if TYPE_CHECKING:
    from fluxbatch.model.job import PlannedJob
    from fluxbatch.ports import Ledger
    from fluxbatch.testing.conformance.ledger import Case, Factory

__all__ = ["CASES"]


async def a_chain_goes_on_link_by_link(make: Factory) -> None:
    """A job that waits is handed out once all that it needs is stored, and once alone."""
    async with make() as rig:
        ledger = rig.ledger
        first, second, both = make_job(5), _link(1, 5), _link(0, 5, 1, 5)
        await _chain(ledger, first, second, both)
        equal(await _pending(ledger), [5], "positions of pending jobs")
        equal(await ledger.pending_models(RUN), {"flux-2-pro": 3}, "jobs to send")
        equal((await ledger.waiting(RUN), await _freed(ledger)), (2, []), "jobs that wait, and that came free")
        await _send(ledger, first)
        await rig.reopen()
        ledger = rig.ledger
        equal((await ledger.waiting(RUN), await _freed(ledger)), (1, [1]), "the same, with the first one stored")
        equal((await _freed(ledger), await _pending(ledger)), ([], []), "jobs that were handed out")
        equal((await row(ledger, second)).state, JobState.PENDING, "state of a job that came free")
        await _send(ledger, second)
        equal((await ledger.waiting(RUN), await _freed(ledger)), (0, [0]), "the same, with the second one stored")
        await _send(ledger, both)
        equal((await ledger.tally(RUN)).by_state, {"stored": 3}, "states in the end")


async def many_come_free_in_pages(make: Factory) -> None:
    """By position, one model at a time; only what this run stamped and selected."""
    async with make() as rig:
        ledger = rig.ledger
        await _chain(ledger, make_job(30), *reversed([_link(n, 30, model="m1" if n % 3 else "m2") for n in range(20)]))
        left_out, other = _link(21, 30, model="m1"), _link(22, 30, model="m1")
        await ledger.enlist(RUN, [Enlisted(left_out, Disposition.MAKE, selected=False, waits=True)])
        await ledger.enlist("run-2", [Enlisted(other, Disposition.MAKE, waits=True)])
        equal(await ledger.waiting(RUN), 20, "jobs that wait")
        await _send(ledger, make_job(30))
        seen: list[int] = []
        while page := await _freed(ledger, "m1", 4):
            expect(len(page) <= 4, f"a page of {len(page)}, 4 were asked for")
            seen += page
        equal(seen, [n for n in range(20) if n % 3], "positions of m1 that came free")
        equal(await _freed(ledger, "m2", 100), [0, 3, 6, 9, 12, 15, 18], "positions of m2 that came free")
        equal([record.job.id for record in await ledger.freed("run-2", "m1", 9)], [other.id], "of another run")


async def a_plan_says_who_waits(make: Factory) -> None:
    """Whatever the row was before; what is under way doesn't wait."""
    async with make() as rig:
        job, ledger = _link(1, 0), rig.ledger
        await _chain(ledger, make_job(0), job)
        for disposition in (Disposition.KEEP, Disposition.MAKE):
            await ledger.enlist(RUN, [Enlisted(job, disposition, waits=False)])
            equal((await ledger.waiting(RUN), await _pending(ledger)), (0, [0, 1]), f"not waiting after {disposition}")
            await ledger.enlist(RUN, [Enlisted(job, disposition, waits=True)])
            equal((await ledger.waiting(RUN), await _pending(ledger)), (1, [0]), f"waiting after {disposition}")
        await _send(ledger, make_job(0))
        equal(await _freed(ledger), [1], "positions that came free")
        await ledger.enlist(RUN, [Enlisted(job, Disposition.KEEP)])
        equal(await _pending(ledger), [1], "a job that was handed out, planned anew")
        await ledger.advance(Step(job.id, JobState.PENDING, JobState.SUBMITTED))
        await ledger.enlist(RUN, [Enlisted(job, Disposition.MAKE, waits=True)])
        await ledger.advance(Step(job.id, JobState.SUBMITTED, JobState.PENDING))
        equal((await ledger.waiting(RUN), await _pending(ledger)), (0, [1]), "a job that was under way")


async def a_job_waits_for_what_it_needs_now(make: Factory) -> None:
    """Not for what it needed by an earlier plan, nor for what a plan asks for while it is under way."""
    async with make() as rig:
        ledger = rig.ledger
        await _chain(ledger, make_job(0), make_job(1), _link(2, 0))
        await ledger.enlist(RUN, [Enlisted(_link(2, 1), Disposition.KEEP, waits=True)])
        await _send(ledger, make_job(0))
        equal(await _freed(ledger), [], "a job that doesn't need this one any more")
        await _send(ledger, make_job(1))
        equal(await _freed(ledger), [2], "a job that needs this one now")
        await ledger.advance(Step(make_job(2).id, JobState.PENDING, JobState.SUBMITTED))
        await ledger.enlist(RUN, [Enlisted(_link(2, 0, 1), Disposition.MAKE, waits=True)])
        await ledger.advance(Step(make_job(2).id, JobState.SUBMITTED, JobState.FAILED, failure=FAILED))
        equal((await row(ledger, make_job(2))).job.needs, (make_job(1).id,), "what a job needs that was under way")


async def what_is_outdated_frees_nobody(make: Factory) -> None:
    """An image that comes of an earlier plan is not the one that is waited for, if another is asked for now."""
    async with make() as rig:
        first, second, ledger = make_job(0), _link(1, 0), rig.ledger
        for fingerprint, freed in (("another", []), (first.fingerprint, [1])):
            await _chain(ledger, first, second)
            await ledger.advance(Step(first.id, JobState.PENDING, JobState.SUBMITTED))
            await ledger.advance(Step(first.id, JobState.SUBMITTED, JobState.GENERATED, lease=LEASE))
            await _chain(ledger, replace(first, fingerprint=fingerprint), second)
            await ledger.advance(Step(first.id, JobState.GENERATED, JobState.STORED, stored=STORED))
            equal(await _freed(ledger), freed, f"positions that came free by {fingerprint}")


async def a_failure_strands_those_that_wait(make: Factory) -> None:
    """By position, paged; not those that wait for something else, or for nothing."""
    async with make() as rig:
        ledger = rig.ledger
        waiting = [_link(9, 3), _link(4, 3, 2), _link(5, 2), _link(6, 9), _link(8, 2, 3)]
        await _chain(ledger, make_job(2), make_job(3), *waiting)
        await ledger.enlist(RUN, [Enlisted(_link(10, 3), Disposition.MAKE, selected=False, waits=True)])
        await ledger.enlist("run-2", [Enlisted(_link(11, 3), Disposition.MAKE, waits=True)])
        await ledger.enlist(RUN, [Enlisted(_link(12, 3), Disposition.MAKE)])
        equal(await _stranded(ledger), [], "stranded before anything failed")
        await ledger.advance(Step(make_job(3).id, JobState.PENDING, JobState.FAILED, failure=FAILED))
        equal(await _stranded(ledger), [4, 8, 9], "stranded by a failure")
        equal((await _stranded(ledger, -1, 2), await _stranded(ledger, 8, 2)), ([4, 8], [9]), "the same, paged")
        for job in waiting[:2]:
            await ledger.advance(Step(job.id, JobState.PENDING, JobState.FAILED, failure=FAILED))
        equal(await _stranded(ledger), [6, 8], "stranded by what was stranded")


async def rows_are_forgotten(make: Factory) -> None:
    """With what they need; not what is under way, nor what they have cost."""
    async with make() as rig:
        ledger = rig.ledger
        paid, open_, _ = jobs = [make_job(0), make_job(1), _link(2, 0)]
        await _chain(ledger, *jobs)
        await attempt(ledger, paid, Charge.CHARGED, usd=0.25, lost=True)
        await attempt(ledger, paid, Charge.UNKNOWN, usd=0.5)
        await ledger.advance(Step(open_.id, JobState.PENDING, JobState.SUBMITTED))
        await ledger.forget([job.id for job in [*jobs, make_job(9)]])
        await rig.reopen()
        ledger = rig.ledger
        equal(await ledger.ids(), [open_.id], "rows that are left")
        await ledger.enlist("run-2", [Enlisted(make_job(2), Disposition.MAKE)])
        await _chain(ledger, replace(paid, fingerprint="another"))
        equal(counters(await row(ledger, paid)), (0, 0, 0, 0, 0.0, 0.0), "counters of what was never asked for")
        await _send(ledger, paid)
        equal(await _freed(ledger, run="run-2"), [], "a job that came back without what it needed")
        await ledger.enlist(RUN, [Enlisted(paid, Disposition.MAKE)])
        equal(counters(await row(ledger, paid)), (1, 1, 1, 0, 0.25, 0.5), "counters of a job that came back")
        await ledger.forget([paid.id])
        await ledger.enlist(RUN, [Enlisted(paid, Disposition.MAKE, pardon=True)])
        equal(counters(await row(ledger, paid)), (1, 1, 1, 1, 0.25, 0.5), "the same, come back with a pardon")


async def an_image_has_its_owners(make: Factory) -> None:
    """Whose image a file is, is known of all rows: also of those that no plan asks for any more."""
    async with make() as rig:
        ledger = rig.ledger
        jobs = [make_job(n) for n in range(3)]
        await _chain(ledger, *jobs)
        for job in jobs[:2]:
            await _send(ledger, job)
        await ledger.enlist("run-2", [Enlisted(jobs[1], Disposition.KEEP)])
        owners = await ledger.owners([STORED.file, "another.png"])
        equal(owners, {STORED.file: [jobs[0].id, jobs[1].id]}, "the owners of a file")
        await ledger.forget([jobs[0].id])
        equal(await ledger.owners([STORED.file]), {STORED.file: [jobs[1].id]}, "the owners that are left")
        equal(await ledger.owners([]), {}, "the owners of nothing")


def _link(position: int, *upstream: int, model: str = "flux-2-pro") -> PlannedJob:
    return make_job(position, model=model, images=tuple(JobOutput(make_job(n).id) for n in upstream))


async def _chain(ledger: Ledger, *jobs: PlannedJob) -> None:
    await ledger.enlist(RUN, [Enlisted(job, Disposition.MAKE, waits=bool(job.needs)) for job in jobs])


async def _send(ledger: Ledger, job: PlannedJob) -> None:
    """Make a job that is PENDING."""
    await ledger.advance(Step(job.id, JobState.PENDING, JobState.SUBMITTED))
    await ledger.advance(Step(job.id, JobState.SUBMITTED, JobState.GENERATED, lease=LEASE))
    await ledger.advance(Step(job.id, JobState.GENERATED, JobState.STORED, stored=STORED))


async def _pending(ledger: Ledger) -> list[int]:
    return [record.job.position for record in await ledger.pending(RUN, "flux-2-pro", -1, 100)]


async def _freed(ledger: Ledger, model: str = "flux-2-pro", limit: int = 100, *, run: str = RUN) -> list[int]:
    return [record.job.position for record in await ledger.freed(run, model, limit)]


async def _stranded(ledger: Ledger, after: int = -1, limit: int = 100) -> list[int]:
    return [record.job.position for record in await ledger.stranded(RUN, after, limit)]


CASES: Final[list[Case]] = [
    a_chain_goes_on_link_by_link,
    many_come_free_in_pages,
    a_plan_says_who_waits,
    a_job_waits_for_what_it_needs_now,
    what_is_outdated_frees_nobody,
    a_failure_strands_those_that_wait,
    rows_are_forgotten,
    an_image_has_its_owners,
]
