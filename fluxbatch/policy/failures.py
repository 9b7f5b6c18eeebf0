"""How many jobs may fail before nothing more is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fluxbatch.model.state import JobState
from fluxbatch.model.summary import Stop

if TYPE_CHECKING:
    from fluxbatch.model.job import Failure, Step

__all__ = ["FailureCap"]

_REMEDY: Final = "mend what these failures name, then run the same command again"
_TOLD: Final = 3


class FailureCap:
    """Counts jobs that fail; ``count`` None lets any number.

    What ends a run this way is resumable: it is a stop (exit 3), not the end of all jobs (exit 1).
    """

    def __init__(self, count: int | None = None) -> None:
        self._most = count
        self._failed: dict[str, Failure] = {}

    def heed(self, step: Step) -> None:
        """A job has taken a step."""
        if step.to is JobState.FAILED and step.failure is not None:
            self.count(step.job_id, step.failure)

    def count(self, job_id: str, failure: Failure) -> None:
        """A job is about to fail: until that is on record, others must not take its place. Counts once."""
        if self._most is not None and len(self._failed) <= self._most + _TOLD:
            self._failed[job_id] = failure

    def stop(self) -> Stop | None:
        """Why nothing more is sent, once there were that many."""
        if self._most is None or len(self._failed) < self._most:
            return None
        first = list(self._failed.values())[:_TOLD]
        words = "; ".join(dict.fromkeys(f"{failure.reason} ({failure.message})" for failure in first))
        number = f"{len(self._failed)} job{'' if len(self._failed) == 1 else 's'} failed"
        return Stop("failures", f"{number} (--stop-after-failures {self._most}): {words}", _REMEDY)
