"""A job of a plan with what becomes of it, and what that means for its row in the ledger."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fluxbatch.errors import PhotoError, StorageError
from fluxbatch.model.state import JobState, Reason
from fluxbatch.planning.plan import Origin
from fluxbatch.ports import Disposition, Enlisted

if TYPE_CHECKING:
    from fluxbatch.model.job import PlannedJob, Record, Stored
    from fluxbatch.planning.plan import Decision
    from fluxbatch.ports import Sink

__all__ = ["Decided", "enlisted", "lands", "lands_anew", "on_record", "overwritten"]


@dataclass(frozen=True, slots=True)
class Decided:
    """A job with what is known of it and what becomes of it.

    Attributes:
        selected: this run may touch it.
        in_a_row: its place among requests that wait for each other, from 1.
        by_lock: ``record`` is not in the ledger: it is what a lock file says.
    """

    job: PlannedJob
    record: Record | None
    decision: Decision
    selected: bool
    in_a_row: int = 1
    by_lock: bool = False


async def enlisted(one: Decided, sink: Sink) -> Enlisted:
    """What is written into the ledger; an image that only has another id now is copied.

    Raises:
        StorageError: it can't be copied.
    """
    elsewhere = one.decision.elsewhere
    if elsewhere is None:
        return _enlisted(one)
    if not one.selected and elsewhere.origin is not Origin.LOCK:
        # left out by the user: as if there were no such image
        return _enlisted(replace(one, decision=replace(one.decision, disposition=Disposition.MAKE)))
    job, stored = one.job, elsewhere.stored
    if elsewhere.copied and stored.filename != job.filename:
        stored = await _copy(stored, job, sink)
    return Enlisted(job, Disposition.RESTORE, selected=one.selected, stored=stored)


def _enlisted(one: Decided) -> Enlisted:
    job, record, decision, selected = one.job, one.record, one.decision, one.selected
    if record is not None and not selected:
        # left out by the user: the row stays what it is, and only keeps its place in the results
        known = replace(record.job, manifest=job.manifest, position=job.position)
        return Enlisted(known, Disposition.KEEP, selected=False)
    if decision.disposition is Disposition.REFUSE:
        job = replace(job, defect=decision.failure)
        if record is not None:
            # a photo that is away for a moment must not wipe out what was paid, or a URL that is still owed
            if record.lease is not None:
                return Enlisted(replace(record.job, position=job.position), Disposition.KEEP, selected=selected)
            job = replace(job, fingerprint=record.job.fingerprint)
    return Enlisted(job, decision.disposition, selected=selected, pardon=decision.pardon, waits=decision.waits)


def on_record(one: Decided) -> Enlisted:
    """What is written into the ledger before that: the image that a lock file names."""
    assert one.record is not None
    return Enlisted(one.record.job, Disposition.RESTORE, selected=one.selected, stored=one.record.stored)


def overwritten(one: Decided) -> str:
    """The file that someone edited and that this job's image would replace, empty if there is none."""
    record, decision = one.record, one.decision
    if not decision.overwrites_edit or record is None or record.stored is None:
        return ""
    return record.stored.file if record.stored.filename == one.job.filename else ""


def lands(one: Decided) -> bool:
    """Whether an image is to land under the job's name."""
    elsewhere = one.decision.elsewhere
    if elsewhere is not None and elsewhere.copied:
        return elsewhere.stored.filename != one.job.filename
    return one.decision.disposition in {Disposition.MAKE, Disposition.FETCH}


def lands_anew(one: Decided) -> bool:
    """Whether an image is to land under a name under which this job can have none yet."""
    job, record, decision = one.job, one.record, one.decision
    if decision.elsewhere is not None and decision.elsewhere.copied:
        return decision.elsewhere.stored.filename != job.filename
    if decision.disposition not in {Disposition.MAKE, Disposition.FETCH}:
        return False
    if record is None or record.job.filename != job.filename:
        return True
    if record.stored is not None and record.stored.filename == job.filename:
        return False
    # what was paid for may have landed unrecorded; what was never sent can't have, nor what something was in the way of
    blocked = record.failure is not None and record.failure.reason is Reason.STORAGE_FAILED
    return record.state is JobState.STORED or blocked or not (record.charged or record.unknown)


async def _copy(stored: Stored, job: PlannedJob, sink: Sink) -> Stored:
    try:
        return await sink.copy(stored, job.filename, job)
    except PhotoError as error:
        raise StorageError(error.message, remedy=error.remedy or "run the same command again") from error
