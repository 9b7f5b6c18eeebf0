"""What becomes of a job after an attempt that gave no image, or an image that was lost."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

from fluxbatch.model.answer import Action, Scope
from fluxbatch.model.job import Failure, Step
from fluxbatch.model.state import Charge, JobState, Reason

if TYPE_CHECKING:
    from fluxbatch.model.answer import Verdict
    from fluxbatch.model.job import Record
    from fluxbatch.settings import IfUnsure

__all__ = [
    "MAX_RISKED",
    "after_interruption",
    "after_loss",
    "after_refusal",
    "before_sending",
    "interruption",
    "uses_attempt",
]

MAX_RISKED: Final = 2
"""possibly-charged attempts for one job (id + fingerprint), for life"""


class _Held(StrEnum):
    CAP = "it was maybe billed twice already, and is not sent a third time"
    ASKED = "maybe billed, and held as asked for"


def uses_attempt(verdict: Verdict) -> bool:
    """Whether a refusal uses up one of the job's attempts; rate limits and shared pauses don't."""
    return not verdict.congestion and verdict.scope is not Scope.ENDPOINT


def before_sending(record: Record) -> Failure | None:
    """The failure of a job that may not be sent any more: it was changed, and is now what it was when it failed."""
    if record.risked >= MAX_RISKED:
        return Failure(Reason.UNKNOWN_OUTCOME, f"asked for before, in vain; {_Held.CAP}")
    return None


def after_refusal(record: Record, verdict: Verdict, *, max_attempts: int, if_unsure: IfUnsure) -> Failure | None:
    """The failure that ends the job in this run, or None: it is sent again.

    ``record`` is as it was before the attempt. A verdict that stops the run leaves the job as it was, to be resumed,
    unless it was maybe billed once too often.
    """
    if verdict.action is Action.FAIL_JOB:
        return Failure(verdict.reason, verdict.message, verdict.http_status)
    if verdict.charge is not Charge.NONE:
        held = _held(record.risked + 1, if_unsure)
        if held:
            return Failure(Reason.UNKNOWN_OUTCOME, f"{verdict.message}; {held}", verdict.http_status)
    if verdict.action is Action.RETRY and uses_attempt(verdict) and record.attempts + 1 >= max_attempts:
        return Failure(verdict.reason, f"{verdict.message} (after {max_attempts} attempts)", verdict.http_status)
    return None


def after_interruption(record: Record, *, if_unsure: IfUnsure) -> Failure | None:
    """The same for a request that was under way when an earlier run died: maybe billed, its answer gone."""
    held = _held(record.risked + 1, if_unsure)
    if held:
        return Failure(Reason.UNKNOWN_OUTCOME, f"the run ended while the request was under way; {held}")
    return None


def interruption(record: Record, *, if_unsure: IfUnsure) -> Step:
    """The step that settles a request that was under way when an earlier run died."""
    failure = after_interruption(record, if_unsure=if_unsure)
    return Step(
        record.job.id,
        JobState.SUBMITTED,
        JobState.PENDING if failure is None else JobState.FAILED,
        charge=Charge.UNKNOWN,
        usd=record.job.price or 0.0,
        attempts=1,
        failure=failure,
    )


def after_loss(record: Record, message: str, *, remake: bool) -> Failure | None:
    """The same for a paid image whose URL is gone. ``record`` counts the charge already.

    Without ``remake`` it is not made again by this run, which was not asked about that price; the next one quotes it.
    """
    if record.risked >= MAX_RISKED:
        return Failure(Reason.EXPIRED, f"{message}; it was paid for and lost, and is not made a third time")
    if not remake:
        return Failure(Reason.DOWNLOAD_FAILED, f"{message}; paid for and lost, the next run makes it once more")
    return None


def _held(risked: int, if_unsure: IfUnsure) -> str:
    if risked >= MAX_RISKED:
        return _Held.CAP
    return _Held.ASKED if if_unsure == "hold" else ""
