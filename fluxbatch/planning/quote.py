"""What a run would do, counted while planning."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from blake3 import blake3

from fluxbatch.model.state import JobState
from fluxbatch.ports import Disposition

if TYPE_CHECKING:
    from fluxbatch.model.job import PlannedJob, Record
    from fluxbatch.planning.plan import Decision

__all__ = ["ModelQuote", "Quote"]

_SHOWN_EDITED: Final = 10


@dataclass(slots=True)
class ModelQuote:
    """Images to make with one model.

    Attributes:
        images: how many.
        usd: of those with a known price.
        in_a_row: requests of the longest chain that has to go one after the other, those of other models included.
    """

    images: int = 0
    usd: float = 0.0
    in_a_row: int = 0


@dataclass(slots=True)
class Quote:
    """What a run would do.

    Attributes:
        make, keep, owed, fetch, refuse: jobs to be sent, left as they are (failed ones included), waiting at a URL,
            to be fetched once more, not fit to be sent.
        cached: images that are there and were not fetched by this run.
        copied: of these, the ones to be copied from an output whose job has another id now.
        usd: of the images to make, at known prices.
        unpriced: images to make whose model has no known price.
        models: what is to be made, by model.
        why: how many jobs for each reason to make them.
        kept_failures: failed jobs that stay so, by error code.
        edited: outputs that someone edited, the first few; ``edited_count`` counts all.
        outdated: of the owed ones, images of jobs that have changed since: what is asked for now is left to another
            run.
        left_out: jobs to be sent or fetched that the user left out of this run.
        carried_usd: USD that unfinished runs before this one have spent; they count against a cap.
    """

    make: int = 0
    keep: int = 0
    cached: int = 0
    copied: int = 0
    owed: int = 0
    fetch: int = 0
    refuse: int = 0
    usd: float = 0.0
    unpriced: int = 0
    models: dict[str, ModelQuote] = field(default_factory=dict)
    why: dict[str, int] = field(default_factory=dict)
    kept_failures: dict[str, int] = field(default_factory=dict)
    edited: list[str] = field(default_factory=list)
    edited_count: int = 0
    outdated: int = 0
    left_out: int = 0
    carried_usd: float = 0.0
    _digest: blake3 = field(default_factory=blake3, repr=False, compare=False)

    @property
    def total(self) -> int:
        """Jobs that this run may touch."""
        return self.make + self.keep + self.owed + self.fetch + self.refuse

    @property
    def has_work(self) -> bool:
        """Whether anything would be sent, fetched or put in place."""
        return bool(self.make or self.owed or self.fetch or self.copied)

    @property
    def digest(self) -> str:
        """Names what would be sent: the same requests at the same prices have the same one. 16 hex digits."""
        return self._digest.hexdigest(8)

    def add(
        self, job: PlannedJob, record: Record | None, decision: Decision, *, run_id: str = "", in_a_row: int = 1
    ) -> None:
        """Count a job that this run may touch; ``in_a_row`` is its place among requests that wait for each other."""
        match decision.disposition:
            case Disposition.MAKE:
                self._make(job, decision, in_a_row)
            case Disposition.REFUSE:
                self.refuse += 1
            case Disposition.FETCH:
                self.fetch += 1
            case Disposition.KEEP | Disposition.RESTORE:
                self._keep(job, record, decision, run_id)
        if decision.edited and record is not None and record.stored is not None:
            self.edited_count += 1
            if len(self.edited) < _SHOWN_EDITED:
                self.edited.append(record.stored.file)

    def _make(self, job: PlannedJob, decision: Decision, in_a_row: int) -> None:
        self.make += 1
        why = decision.short or decision.why
        self.why[why] = self.why.get(why, 0) + 1
        model = self.models.setdefault(job.model, ModelQuote())
        model.images += 1
        model.in_a_row = max(model.in_a_row, in_a_row)
        if job.price is None:
            self.unpriced += 1
        else:
            self.usd += job.price
            model.usd += job.price
        self._digest.update(f"{job.id}\0{job.fingerprint}\0{job.model}\0{job.price}\n".encode())

    def _keep(self, job: PlannedJob, record: Record | None, decision: Decision, run_id: str) -> None:
        if decision.elsewhere is not None:
            self.keep += 1
            self.cached += 1
            self.copied += decision.elsewhere.copied
            return
        if record is None or record.state in {JobState.SUBMITTED, JobState.GENERATED}:
            self.owed += 1
            self.outdated += record is not None and record.job.fingerprint != job.fingerprint
            return
        self.keep += 1
        if decision.disposition is Disposition.KEEP and record.failure is not None:
            reason = record.failure.reason.value
            self.kept_failures[reason] = self.kept_failures.get(reason, 0) + 1
        elif not run_id or record.stored_by != run_id:
            self.cached += 1
