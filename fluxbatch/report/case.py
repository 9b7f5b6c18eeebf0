"""What came of one job in a run, for those who report on each."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from fluxbatch.model.state import JobState, Reason
from fluxbatch.policy.remedies import REMEDY
from fluxbatch.telemetry.redact import clean

if TYPE_CHECKING:
    from fluxbatch.model.job import Record
    from fluxbatch.model.problem import Where

__all__ = ["Case", "End"]

_LONGEST: Final = 1000
"""characters of a message"""


class End(StrEnum):
    """How a job stands at the end of a run."""

    MADE = "made"
    UNCHANGED = "unchanged"
    FAILED = "failed"
    HELD = "held"
    """maybe billed, and not sent again unless somebody says so"""
    UNSENT = "unsent"
    """still to be made"""


@dataclass(frozen=True, slots=True)
class Case:
    """A job at the end of a run.

    Attributes:
        record: its row in the ledger.
        where: its place in its manifest.
        run_id: of the run.
        seconds: from its first request in this run until it was stored or had failed; 0 if there was none.
    """

    record: Record
    where: Where
    run_id: str
    seconds: float = 0.0

    @property
    def end(self) -> End:
        """How it stands."""
        record = self.record
        if record.state is JobState.STORED:
            return End.MADE if record.stored_by == self.run_id else End.UNCHANGED
        if record.state is JobState.FAILED and record.failure is not None:
            return End.HELD if record.failure.reason is Reason.UNKNOWN_OUTCOME else End.FAILED
        return End.UNSENT

    @property
    def code(self) -> str:
        """The error code of one that failed or is held."""
        failure = self.record.failure
        return "" if failure is None else failure.reason.value

    @property
    def message(self) -> str:
        """What was said of it, on one line."""
        failure = self.record.failure
        if failure is None:
            return ""
        status = f" (HTTP {failure.http_status})" if failure.http_status else ""
        return f"{clean(failure.message, limit=_LONGEST)}{status}"

    @property
    def remedy(self) -> str:
        """What can be done about it."""
        failure = self.record.failure
        return "" if failure is None else REMEDY[failure.reason]
