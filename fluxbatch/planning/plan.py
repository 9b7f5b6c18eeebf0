"""What a run makes of each job, and why. One planner decides for the quote and for the run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fluxbatch.model.state import PASSING, JobState, Reason
from fluxbatch.policy.retry import MAX_RISKED
from fluxbatch.ports import Disposition, Presence

if TYPE_CHECKING:
    from collections.abc import Collection

    from fluxbatch.model.job import PlannedJob, Record

__all__ = ["Decision", "Quote", "decide"]

_SHOWN_EDITED = 10
_FOUND_BEFORE = frozenset({Reason.BAD_IMAGE, Reason.INVALID_REQUEST, Reason.TOO_LARGE})
"""what the checks before a run find"""


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a job.

    Attributes:
        disposition: of its row in the ledger.
        why: for people.
        pardon: the user allows attempts beyond the cap for life.
        edited: the output on disk is not what was stored, and is kept.
    """

    disposition: Disposition
    why: str
    pardon: bool = False
    edited: bool = False


def decide(
    job: PlannedJob,
    record: Record | None,
    presence: Presence | None,
    *,
    retry: Collection[Reason] = (),
    retry_altered: bool = False,
) -> Decision:
    """What to do about a job, from what is asked, what the ledger knows, and what is on disk.

    Args:
        job: as asked for now.
        record: its row, if it has one.
        presence: of the output on record, None if there is none.
        retry: failures to be tried again although they would stay.
        retry_altered: make outputs again that someone edited.
    """
    if job.defect is not None:
        return Decision(Disposition.REFUSE, f"{job.defect.reason}: {job.defect.message}")
    if record is None:
        return Decision(Disposition.MAKE, "new")
    if record.state in {JobState.SUBMITTED, JobState.GENERATED}:
        return Decision(Disposition.KEEP, "paid for, waiting at its URL")
    if record.stored is not None and record.stored.fingerprint == job.fingerprint:
        decision = _stored(record, presence, retry_altered=retry_altered)
        if decision is not None:
            return decision
    if record.job.fingerprint != job.fingerprint:
        return Decision(Disposition.MAKE, _difference(record.job, job))
    if record.state is JobState.FAILED and record.failure is not None:
        return _failed(record, retry)
    return Decision(Disposition.MAKE, "not made yet")


def _stored(record: Record, presence: Presence | None, *, retry_altered: bool) -> Decision | None:
    """What the image on record says; None if it says nothing, since it is gone and making it anew came to nothing."""
    there = Disposition.KEEP if record.state is JobState.STORED else Disposition.RESTORE
    if presence is Presence.SAME:
        return Decision(there, "unchanged")
    if presence is Presence.ALTERED and not retry_altered:
        return Decision(there, "its output was edited, and is kept", edited=True)
    if record.state is not JobState.STORED:
        return None
    why = "its output was edited" if presence is Presence.ALTERED else "its output is missing"
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


def _difference(before: PlannedJob, now: PlannedJob) -> str:
    names = [name for name in {**before.fields, **now.fields} if before.fields.get(name) != now.fields.get(name)]
    images = [
        f"image {number}"
        for number, (old, new) in enumerate(zip(before.images, now.images, strict=False), start=1)
        if getattr(old, "digest", old.ref) != getattr(new, "digest", new.ref)
    ]
    if len(before.images) != len(now.images):
        images = ["the number of images"]
    changed = [*names, *images]
    return f"{', '.join(changed)} changed" if changed else "changed"


@dataclass(slots=True)
class Quote:
    """What a run would do, counted while planning.

    Attributes:
        make, keep, owed, fetch, refuse: jobs to be sent, left as they are (failed ones included), waiting at a URL,
            to be fetched once more, not fit to be sent.
        cached: images that are there and were not fetched by this run.
        usd: of the images to make, at known prices.
        unpriced: images to make whose model has no known price.
        by_model: images to make.
        why: how many jobs for each reason to make them.
        kept_failures: failed jobs that stay so, by error code.
        edited: outputs that someone edited, the first few; ``edited_count`` counts all.
        left_out: jobs to be sent or fetched that the user left out of this run.
        carried_usd: USD that unfinished runs before this one have spent; they count against a cap.
    """

    make: int = 0
    keep: int = 0
    cached: int = 0
    owed: int = 0
    fetch: int = 0
    refuse: int = 0
    usd: float = 0.0
    unpriced: int = 0
    by_model: dict[str, int] = field(default_factory=dict)
    why: dict[str, int] = field(default_factory=dict)
    kept_failures: dict[str, int] = field(default_factory=dict)
    edited: list[str] = field(default_factory=list)
    edited_count: int = 0
    left_out: int = 0
    carried_usd: float = 0.0

    @property
    def total(self) -> int:
        """Jobs that this run may touch."""
        return self.make + self.keep + self.owed + self.fetch + self.refuse

    def add(self, job: PlannedJob, record: Record | None, decision: Decision, *, run_id: str) -> None:
        """Count a job that this run may touch."""
        match decision.disposition:
            case Disposition.MAKE:
                self._make(job, decision)
            case Disposition.REFUSE:
                self.refuse += 1
            case Disposition.FETCH:
                self.fetch += 1
            case Disposition.KEEP | Disposition.RESTORE:
                self._keep(record, decision, run_id)
        if decision.edited and record is not None and record.stored is not None:
            self.edited_count += 1
            if len(self.edited) < _SHOWN_EDITED:
                self.edited.append(record.stored.file)

    def _make(self, job: PlannedJob, decision: Decision) -> None:
        self.make += 1
        self.by_model[job.model] = self.by_model.get(job.model, 0) + 1
        self.why[decision.why] = self.why.get(decision.why, 0) + 1
        if job.price is None:
            self.unpriced += 1
        else:
            self.usd += job.price

    def _keep(self, record: Record | None, decision: Decision, run_id: str) -> None:
        if record is None or record.state in {JobState.SUBMITTED, JobState.GENERATED}:
            self.owed += 1
            return
        self.keep += 1
        if decision.disposition is Disposition.KEEP and record.failure is not None:
            reason = record.failure.reason
            self.kept_failures[reason] = self.kept_failures.get(reason, 0) + 1
        elif record.stored_by != run_id:
            self.cached += 1
