"""The first few jobs of a run go ahead; the others follow once it is known how they fared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fluxbatch.model.state import JobState
from fluxbatch.model.summary import Stop

if TYPE_CHECKING:
    from fluxbatch.model.job import Failure, Step

__all__ = ["Canary"]

_REMEDY: Final = "mend what these failures name, then run the same command again; without --canary, all are sent"
_TOLD: Final = 3
_FLOAT_ERROR: Final = 1e-9


class Canary:
    """Says which jobs may be sent, and whether too many of the first ones failed.

    A job that fails before it is sent says nothing of the others, and gives its place to another.

    Args:
        count: jobs that go ahead; None for none: all may be sent.
        share: how many of them may fail.
    """

    def __init__(self, count: int | None = None, share: float = 0.0) -> None:
        self._count = count or 0
        self._share = share
        self._places: set[str] = set()
        self._sent: set[str] = set()
        self._failures: list[Failure] = []
        self._ended = 0
        self._stuck = 0

    @property
    def holds(self) -> bool:
        """Whether the others have to wait."""
        return self._ended < self._count <= self._ended + len(self._places)

    def admits(self, job_id: str) -> bool:
        """Whether a job may be sent, as far as this goes."""
        return job_id in self._places or not self.holds

    def chosen(self, job_id: str) -> None:
        """A job is about to be sent."""
        if self._ended + len(self._places) < self._count:
            self._places.add(job_id)

    def heed(self, step: Step) -> None:
        """A job has taken a step."""
        if step.job_id not in self._places:
            return
        if step.to is JobState.SUBMITTED:
            self._sent.add(step.job_id)
        elif step.to is JobState.STORED or step.to is JobState.FAILED:
            self._places.remove(step.job_id)
            self._ended += step.job_id in self._sent
            if step.failure is not None and step.job_id in self._sent:
                self._failures.append(step.failure)

    def give_up(self) -> None:
        """Those that have not ended can't be sent again in this run: they came to nothing."""
        self._stuck += len(self._places)
        self._ended += len(self._places)
        self._places.clear()

    def stop(self) -> Stop | None:
        """Why the others are not sent, once it is known that too many failed."""
        failed = len(self._failures) + self._stuck
        if not self._count or self._ended < self._count or failed <= self._share * self._count + _FLOAT_ERROR:
            return None
        message = f"{failed} of the first {self._count} jobs failed"
        reasons = dict.fromkeys(f"{failure.reason} ({failure.message})" for failure in self._failures)
        if reasons:
            message += f": {'; '.join(list(reasons)[:_TOLD])}"
        return Stop("canary", message, _REMEDY)
