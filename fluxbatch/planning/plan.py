"""What becomes of each job, and why. One planner decides for the quote and for the run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from fluxbatch.model.job import Failure
from fluxbatch.model.state import PASSING, JobState, Reason
from fluxbatch.planning.reasons import difference
from fluxbatch.policy.retry import MAX_RISKED
from fluxbatch.ports import Disposition, Presence

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from fluxbatch.model.job import PlannedJob, Record, Stored

__all__ = ["Decision", "Elsewhere", "Origin", "Prospect", "decide", "prospect_of", "with_needs"]

_FOUND_BEFORE: Final = frozenset({Reason.BAD_IMAGE, Reason.INVALID_REQUEST, Reason.TOO_LARGE})
"""what the checks before a run find"""
_UNDER_WAY: Final = frozenset({JobState.SUBMITTED, JobState.GENERATED})


class Prospect(StrEnum):
    """What a run may expect of a job whose image others need, best first."""

    READY = "ready"
    """its image is there"""
    COMING = "coming"
    """this run makes or fetches it"""
    LATER = "later"
    """not by this run"""
    FAILED = "failed"
    """it has failed, and that stays"""


class Origin(StrEnum):
    """Where an image is known from, if not from its job's own row."""

    LOCK = "lock"
    """a lock file, or what a store keeps beside the image"""
    OTHER = "other"
    """a job that got another id: it is to be copied"""
    FILE = "file"
    """a file in the output folder that the user wants taken for it"""


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """An image for a job that its own row doesn't have.

    Attributes:
        stored: the image.
        origin: where it is known from.
        why: for people.
    """

    stored: Stored
    origin: Origin
    why: str

    @property
    def copied(self) -> bool:
        """It has to be put under another name."""
        return self.origin is Origin.OTHER


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a job.

    Attributes:
        disposition: of its row in the ledger.
        why: for people.
        short: the same without names, for counting; empty if that is no different.
        pardon: the user allows attempts beyond the cap for life.
        edited: the output on disk is not what was stored, and is kept.
        overwrites_edit: it is not what was stored, and would not be kept.
        waits: for others that this run is still to make.
        later: what it needs is not made by this run, and so it isn't either.
        elsewhere: with RESTORE, where its image comes from, if not from its own row.
        failure: with REFUSE, why.
    """

    disposition: Disposition
    why: str
    pardon: bool = False
    edited: bool = False
    waits: bool = False
    later: bool = False
    elsewhere: Elsewhere | None = None
    failure: Failure | None = None
    short: str = ""
    overwrites_edit: bool = False


def decide(
    job: PlannedJob,
    record: Record | None,
    presence: Presence | None,
    *,
    elsewhere: Elsewhere | None = None,
    by_lock: bool = False,
    retry: Collection[Reason] = (),
    retry_altered: bool = False,
) -> Decision:
    """What to do about a job, from what is asked, what the ledger knows, and what is on disk.

    Args:
        job: as asked for now.
        record: its row, if it has one.
        presence: of the output on record, None if there is none.
        elsewhere: an image with this fingerprint that is surely there, though not on record for this job.
        by_lock: the row is what a lock file or the image's object says, which hold no fields that could tell what
            changed.
        retry: failures to be tried again although they would stay.
        retry_altered: make outputs again that someone edited.
    """
    if job.defect is not None:
        return Decision(Disposition.REFUSE, f"{job.defect.reason}: {job.defect.message}", failure=job.defect)
    if record is not None and record.state in _UNDER_WAY:
        return Decision(Disposition.KEEP, "paid for, waiting at its URL")
    is_its_own = record is not None and record.stored is not None and record.stored.fingerprint == job.fingerprint
    if elsewhere is not None and not (is_its_own and presence is Presence.SAME):
        return Decision(Disposition.RESTORE, elsewhere.why, elsewhere=elsewhere)
    if record is None:
        return Decision(Disposition.MAKE, "new")
    if is_its_own:
        decision = _stored(record, presence, retry_altered=retry_altered)
        if decision is not None:
            return decision
    if record.job.fingerprint != job.fingerprint:
        written = "it was made" if record.stored is not None and record.stored.etag else "fluxbatch.lock was written"
        why, short = (f"changed since {written}", "") if by_lock else difference(record.job, job)
        decision = Decision(Disposition.MAKE, why, short=short)
    elif record.state is JobState.FAILED and record.failure is not None:
        decision = _failed(record, retry)
    else:
        decision = Decision(Disposition.MAKE, "not made yet")
    lost = presence is Presence.ALTERED and not retry_altered and decision.disposition is not Disposition.KEEP
    return replace(decision, overwrites_edit=lost)


def with_needs(decision: Decision, needs: Mapping[str, Prospect]) -> Decision:
    """The decision about a job, given what is to be expected of those that it needs, by id.

    What is there already is kept, whatever became of them since.
    """
    if decision.disposition is not Disposition.MAKE or not needs:
        return decision
    prospects = set(needs.values())
    if Prospect.FAILED in prospects:
        failed = next(job_id for job_id, prospect in needs.items() if prospect is Prospect.FAILED)
        message = f"needs {failed!r}, which failed"
        failure = Failure(Reason.DEPENDENCY_FAILED, message)
        return Decision(Disposition.REFUSE, f"{failure.reason}: {message}", failure=failure)
    if Prospect.LATER in prospects:
        return replace(decision, later=True)
    return replace(decision, waits=Prospect.COMING in prospects)


def prospect_of(job: PlannedJob, record: Record | None, decision: Decision, *, selected: bool) -> Prospect:
    """What others may expect of a job."""
    match decision.disposition:
        case Disposition.REFUSE:
            return Prospect.FAILED
        case Disposition.RESTORE:
            return Prospect.READY
        case Disposition.MAKE | Disposition.FETCH:
            return Prospect.COMING if selected and not decision.later else Prospect.LATER
        case Disposition.KEEP:
            pass
    if record is None or record.state is JobState.FAILED:
        return Prospect.FAILED
    if record.state is JobState.STORED:
        return Prospect.READY
    # an image that is under way may be one of an earlier prompt: good for that, and for nobody who needs this one
    return Prospect.COMING if record.job.fingerprint == job.fingerprint else Prospect.LATER


def _stored(record: Record, presence: Presence | None, *, retry_altered: bool) -> Decision | None:
    """What the image on record says; None if it says nothing, since it is gone and making it anew came to nothing."""
    there = Disposition.KEEP if record.state is JobState.STORED else Disposition.RESTORE
    if presence is Presence.SAME:
        return Decision(there, "unchanged")
    if presence is Presence.ALTERED and not retry_altered:
        return Decision(there, "edited and kept", edited=True)
    if record.state is not JobState.STORED:
        return None
    why = "output edited" if presence is Presence.ALTERED else "output missing"
    return Decision(Disposition.MAKE, why, pardon=True)


def _failed(record: Record, retry: Collection[Reason]) -> Decision:
    assert record.failure is not None
    reason = record.failure.reason
    asked = reason in retry
    if reason in _FOUND_BEFORE and record.failure.http_status is None and not asked:
        # it was not fit to be sent, and now it is; what was risked before that still counts
        if record.risked < MAX_RISKED:
            return Decision(Disposition.MAKE, f"failed before: {reason}; mended")
        return Decision(Disposition.KEEP, "maybe billed twice before")
    if not asked and reason not in PASSING:
        return Decision(Disposition.KEEP, f"failed before: {reason}")
    if record.lease is not None:
        return Decision(Disposition.FETCH, f"failed before: {reason}; its URL is tried once more")
    return Decision(Disposition.MAKE, f"failed before: {reason}", pardon=asked)
