"""Jobs that wait for others."""

from __future__ import annotations

from collections import defaultdict
from enum import IntEnum
from typing import TYPE_CHECKING

from fluxbatch.model.state import JobState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fluxbatch.model.job import PlannedJob, Record

__all__ = ["Wait", "Waiting"]


class Wait(IntEnum):
    """Whether a job waits for those that it needs."""

    OUTDATED = -1
    """it is under way as something else than what was asked for last"""
    NO = 0
    YES = 1
    FREE = 2
    HANDED_OUT = 3


class Waiting:
    """Which jobs wait, and which of them need not any more."""

    def __init__(self) -> None:
        self._waits: dict[str, Wait] = {}
        self._free: set[str] = set()
        self._dependents: defaultdict[str, set[str]] = defaultdict(set)

    def of(self, job_id: str) -> Wait:
        """Of a job that has a row."""
        return self._waits[job_id]

    def free(self) -> list[str]:
        """Jobs that have waited, and were not handed out since."""
        return list(self._free)

    def enter(self, job: PlannedJob, wait: Wait) -> None:
        """A job has a row, or another one: what it needed before is left first."""
        for upstream in job.needs:
            self._dependents[upstream].add(job.id)
        self.mark(job.id, wait)

    def leave(self, job: PlannedJob) -> None:
        """A job doesn't need any more what it did."""
        for upstream in job.needs:
            self._dependents[upstream].discard(job.id)

    def mark(self, job_id: str, wait: Wait) -> None:
        """Say of a job whether it waits."""
        self._waits[job_id] = wait
        if wait is Wait.FREE:
            self._free.add(job_id)
        else:
            self._free.discard(job_id)

    def forget(self, job: PlannedJob) -> None:
        """A job has no row any more; others may need it still."""
        self.leave(job)
        self._free.discard(job.id)
        del self._waits[job.id]

    def stored(self, job_id: str, records: Mapping[str, Record]) -> None:
        """A job is stored: set those free that needed nothing else."""

        def is_made(upstream: str) -> bool:
            """Whether it is stored, as what was asked for last."""
            row = records.get(upstream)
            return row is not None and row.state is JobState.STORED and self._waits[upstream] is not Wait.OUTDATED

        for dependent in self._dependents.get(job_id, ()):
            if self._waits[dependent] is Wait.YES and all(map(is_made, records[dependent].job.needs)):
                self.mark(dependent, Wait.FREE)

    def copy(self) -> Waiting:
        """The same, for itself."""
        found = Waiting()
        found._waits, found._free = dict(self._waits), set(self._free)
        for upstream, dependents in self._dependents.items():
            found._dependents[upstream] = set(dependents)
        return found
