"""What an earlier run left under way when it died."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fluxbatch.engine.desk import made_for
from fluxbatch.errors import TargetBlocked
from fluxbatch.model.events import JobFailed, JobStored, StepsRescued
from fluxbatch.model.job import Failure, Step
from fluxbatch.model.state import Charge, JobState, Reason
from fluxbatch.policy.retry import interruption

if TYPE_CHECKING:
    from fluxbatch.engine.desk import Desk
    from fluxbatch.model.job import Record

__all__ = ["Recovery"]


class Recovery:
    """Settles requests that were under way: as what became of them, if their images are here, else as maybe billed."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def settle(self) -> int:
        """Settle all of them; return how many there were.

        What the earlier run could not write into its ledger is taken up first.

        Raises:
            StorageError: an image that is here can't be put in place; it and those after it are left for another time.
        """
        desk, after, count = self._desk, "", 0
        taken, strays = await desk.books.recover()
        if taken or strays:
            desk.note(StepsRescued(at=desk.clock.now(), taken=taken, strays=strays))
        begun: dict[str, float] = {}
        while page := await desk.ledger.in_state(JobState.SUBMITTED, after):
            begun = begun or {run.id: run.started_at for run in await desk.ledger.runs(0.0)}
            for record in page:
                step = await self._found(record, begun.get(record.run_id, float("inf")))
                await self._take(step or interruption(record, if_unsure=desk.settings.if_unsure))
            count += len(page)
            after = page[-1].job.id
        return count

    async def _found(self, record: Record, since: float) -> Step | None:
        """The step of a request whose answer held an image that landed; None if none is known of."""
        job, usd = record.job, record.job.price or 0.0
        try:
            stored = await self._desk.sink.unrecorded(job, since)
        except TargetBlocked as error:
            failure = Failure(Reason.STORAGE_FAILED, error.message)
            frm, to = JobState.SUBMITTED, JobState.FAILED
            return Step(job.id, frm, to, charge=Charge.CHARGED, usd=usd, attempts=1, failure=failure, lost=True)
        if stored is None:
            return None
        stored = made_for(job, stored)
        frm, to = JobState.SUBMITTED, JobState.STORED
        return Step(job.id, frm, to, charge=Charge.CHARGED, usd=usd, attempts=1, stored=stored)

    async def _take(self, step: Step) -> None:
        desk = self._desk
        await desk.ledger.advance(step)
        now, usd = desk.clock.now(), step.usd if step.charge is not Charge.NONE else 0.0
        if step.stored is not None:
            desk.note(JobStored(at=now, job_id=step.job_id, stored=step.stored, usd=usd))
        elif step.failure is not None:
            desk.note(JobFailed(at=now, job_id=step.job_id, failure=step.failure, charge=step.charge, usd=usd))
