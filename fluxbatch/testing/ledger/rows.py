"""What becomes of a row, decided without any other."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from fluxbatch.model.job import Record
from fluxbatch.model.state import JobState
from fluxbatch.ports import Disposition, Tally
from fluxbatch.testing.ledger.waiting import Wait

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from fluxbatch.model.job import PlannedJob
    from fluxbatch.ports import Enlisted

__all__ = ["UNDER_WAY", "count", "planned", "put_aside", "to_send", "wait_of", "with_counters"]

UNDER_WAY: Final = frozenset({JobState.SUBMITTED, JobState.GENERATED})
_STATE_OF: Final[Mapping[Disposition, JobState]] = {
    Disposition.MAKE: JobState.PENDING,
    Disposition.RESTORE: JobState.STORED,
    Disposition.FETCH: JobState.GENERATED,
    Disposition.REFUSE: JobState.FAILED,
}


def to_send(records: Iterable[Record], run_id: str) -> list[Record]:
    """Those that are to be sent in a run, by position."""
    found = (
        record for record in records if record.state is JobState.PENDING and record.run_id == run_id and record.selected
    )
    return sorted(found, key=lambda record: record.job.position)


def wait_of(record: Record, enlisted: Enlisted) -> Wait:
    """Whether it waits after a plan."""
    if record.state in UNDER_WAY:
        return Wait.OUTDATED if record.job.fingerprint != enlisted.job.fingerprint else Wait.NO
    return Wait.YES if enlisted.waits else Wait.NO


def planned(row: Record | None, enlisted: Enlisted, run_id: str) -> Record:
    """A row after a plan: stamped only while it is under way, else as the plan has it."""
    job, selected, known = enlisted.job, enlisted.selected, row is not None
    if row is not None and row.state in UNDER_WAY:
        stamped = replace(row.job, manifest=job.manifest, position=job.position)
        return replace(row, job=stamped, run_id=run_id, selected=selected)
    row = _pardoned(row or Record(job), enlisted)
    state = _STATE_OF.get(enlisted.disposition)
    if known and state is None:
        return replace(row, job=job, run_id=run_id, selected=selected)
    return replace(
        row,
        job=job,
        state=state or JobState.PENDING,
        attempts=0,
        lease=row.lease if state is JobState.GENERATED else None,
        failure=job.defect if enlisted.disposition is Disposition.REFUSE else None,
        run_id=run_id,
        selected=selected,
        **_restored(enlisted),
    )


def _restored(enlisted: Enlisted) -> dict[str, Any]:
    if enlisted.disposition is not Disposition.RESTORE or enlisted.stored is None:
        return {}
    return {"stored": enlisted.stored, "stored_by": ""}


def _pardoned(row: Record, enlisted: Enlisted) -> Record:
    return replace(row, pardoned=max(row.pardoned, row.charged + row.unknown - 1)) if enlisted.pardon else row


def put_aside(row: Record) -> Record:
    """As it is remembered for its fingerprint: what was stored is settled."""
    settled = row.charged - row.lost if row.state is JobState.STORED else 0
    return replace(row, pardoned=max(row.pardoned, settled))


def with_counters(row: Record | None, before: Record | None, job: PlannedJob) -> Record | None:
    """A row with what was counted before for the fingerprint that it is to have."""
    if row is None and before is None:
        return None
    before = before or Record(job)
    return replace(
        row or Record(job),
        charged=before.charged,
        unknown=before.unknown,
        lost=before.lost,
        pardoned=before.pardoned,
        cost_usd=before.cost_usd,
        unknown_usd=before.unknown_usd,
    )


def count(found: Sequence[Record], former: Sequence[Record]) -> Tally:
    """Over jobs as they are, and the money of what they were before."""
    both = [*found, *former]
    return Tally(
        by_state=dict(Counter(str(record.state) for record in found)),
        failures=dict(Counter(str(record.failure.reason) for record in found if record.failure is not None)),
        charged=sum(record.charged for record in both),
        unknown=sum(record.unknown for record in both),
        lost=sum(record.lost for record in both),
        cost_usd=sum((record.cost_usd for record in both), 0.0),
        unknown_usd=sum((record.unknown_usd for record in both), 0.0),
    )
