"""Jobs that wait for one that has failed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import anyio

from fluxbatch.errors import StorageError
from fluxbatch.model.events import JobFailed
from fluxbatch.model.job import Failure, Step
from fluxbatch.model.state import JobState, Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fluxbatch.engine.desk import Desk
    from fluxbatch.model.job import Record

__all__ = ["Stranded"]

_PAGE: Final = 500


class Stranded:
    """Fails at the end of a run what can't be made in it. Those that merely wait for others stay as they are."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._failed = 0

    async def fail(self) -> None:
        """Fail jobs that wait for one that has failed, then those that wait for them, until there are none."""
        try:
            while await self._pass():
                pass
        except StorageError as error:
            self._desk.stop_for_storage(error)

    async def _pass(self) -> int:
        """Returns how many were failed."""
        before, after = self._failed, -1
        while page := await self._desk.ledger.stranded(self._desk.run_id, after, _PAGE):
            needs = {upstream for record in page for upstream in record.job.needs}
            upstream = await self._desk.ledger.recall(list(needs))
            async with anyio.create_task_group() as tasks:
                for record in page:
                    tasks.start_soon(self._fail, record, _failure(record, upstream))
            after = page[-1].job.position
        return self._failed - before

    async def _fail(self, record: Record, failure: Failure) -> None:
        desk, job = self._desk, record.job
        try:
            await desk.advance(record, Step(job.id, JobState.PENDING, JobState.FAILED, failure=failure))
        except StorageError as error:
            desk.stop_for_storage(error)
            return
        self._failed += 1
        desk.note(JobFailed(at=desk.clock.now(), job_id=job.id, failure=failure))


def _failure(record: Record, upstream: Mapping[str, Record]) -> Failure:
    for job_id in record.job.needs:
        found = upstream.get(job_id)
        if found is not None and found.failure is not None:
            return Failure(Reason.DEPENDENCY_FAILED, f"needs {job_id!r}, which failed: {found.failure.reason}")
    return Failure(Reason.DEPENDENCY_FAILED, "needs a job that failed")
