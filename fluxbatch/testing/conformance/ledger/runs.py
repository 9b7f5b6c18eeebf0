"""What a ledger remembers of runs, from its first one to its closing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from fluxbatch.errors import LedgerError, StepRefused
from fluxbatch.model.job import Step
from fluxbatch.model.state import Charge, JobState
from fluxbatch.ports import RunRow
from fluxbatch.testing.conformance.expect import equal, raises
from fluxbatch.testing.conformance.ledger.rig import RUN, attempt, plan
from fluxbatch.testing.jobs import make_job

if TYPE_CHECKING:
    from fluxbatch.testing.conformance.ledger.rig import Case, Factory

__all__ = ["CASES"]


async def an_empty_ledger_knows_nothing(make: Factory) -> None:
    """And says so without an error."""
    async with make() as rig:
        ledger = rig.ledger
        equal(await ledger.last_run(), None, "the last run")
        equal(await ledger.recall(["a"]), {}, "rows recalled")
        equal(await ledger.pending_models(RUN), {}, "models with work")
        equal(await ledger.pending(RUN, "flux-2-pro", -1, 10), [], "pending jobs")
        equal(await ledger.freed(RUN, "flux-2-pro", 10), [], "jobs that came free")
        equal(await ledger.stranded(RUN, -1, 10), [], "jobs that are stranded")
        equal((await ledger.waiting(RUN), await ledger.ids()), (0, []), "jobs that wait, and ids")
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
        await plan(ledger, [job])
        await attempt(ledger, job, Charge.CHARGED, usd=0.5)
        await ledger.begin(RunRow("two", 2.0, carried_usd=0.5))
        await attempt(ledger, job, Charge.CHARGED, usd=0.25)
        await attempt(ledger, job, Charge.UNKNOWN, usd=1.0)
        await attempt(ledger, job, Charge.NONE, usd=8.0)
        with raises(StepRefused, "a step that is not allowed"):
            await ledger.advance(Step(job.id, JobState.GENERATED, JobState.PENDING, charge=Charge.CHARGED, usd=16.0))
        killed = RunRow("two", 2.0, carried_usd=0.5, spent_usd=1.25)
        equal(await ledger.last_run(), killed, "a run under way")
        await rig.reopen()
        equal(await rig.ledger.last_run(), killed, "a run that was killed")
        await rig.ledger.end("two", 3.0, {})
        equal(await rig.ledger.last_run(), replace(killed, ended_at=3.0, summary={}), "a run that ended")
        await attempt(rig.ledger, job, Charge.CHARGED, usd=32.0)
        equal((await rig.ledger.tally(RUN)).cost_usd, 32.75, "USD of the job")
        spent = await rig.ledger.last_run()
        equal(spent and spent.spent_usd, 1.25, "USD of the last run, after a step of no run")


async def a_closed_ledger_says_so(make: Factory) -> None:
    """And may be closed again."""
    async with make() as rig:
        await rig.ledger.close()
        await rig.ledger.close()
        with raises(LedgerError, "a closed ledger"):
            await rig.ledger.last_run()
        await rig.reopen()
        equal(await rig.ledger.last_run(), None, "the last run after opening again")


CASES: Final[list[Case]] = [
    an_empty_ledger_knows_nothing,
    runs_are_remembered,
    runs_are_told_by_when_they_were_over,
    a_run_knows_what_it_spent,
    a_closed_ledger_says_so,
]
