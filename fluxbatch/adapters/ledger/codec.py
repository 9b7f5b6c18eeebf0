"""Rows of the ledger to records and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from fluxbatch.model.job import Failure, Lease, PlannedJob, Record, Stored
from fluxbatch.model.revive import image_of
from fluxbatch.model.state import Charge, JobState, Reason
from fluxbatch.ports import Disposition

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fluxbatch.model.job import Step
    from fluxbatch.ports import Enlisted

__all__ = ["edge_values", "enlist_values", "job_of", "record_of", "step_values"]

_STATE_OF = {
    Disposition.MAKE: JobState.PENDING,
    Disposition.KEEP: JobState.PENDING,  # a row that isn't there can't be kept: it is work
    Disposition.RESTORE: JobState.STORED,
    Disposition.FETCH: JobState.GENERATED,
    Disposition.REFUSE: JobState.FAILED,
}
_CHARGED, _UNKNOWN = Charge.CHARGED, Charge.UNKNOWN


def job_of(data: bytes, *, manifest: str, position: int) -> PlannedJob:
    """A planned job from its JSON; a plan that only stamped the row has changed its place since."""
    facts: dict[str, Any] = orjson.loads(data) | {"manifest": manifest, "position": position}
    facts["images"] = tuple(image_of(image) for image in facts["images"])
    facts["defect"] = _failure(facts["defect"])
    return PlannedJob(**facts)


def record_of(row: Sequence[Any]) -> Record:
    """A record from the columns ``schema.COLUMNS``."""
    url, deadline, granted_at, request_id = row[9:13]
    return Record(
        job=job_of(row[0], manifest=row[18], position=row[19]),
        state=JobState(row[1]),
        attempts=row[2],
        charged=row[3],
        unknown=row[4],
        lost=row[5],
        pardoned=row[6],
        cost_usd=row[7],
        unknown_usd=row[8],
        lease=None if url is None else Lease(url, deadline=deadline, granted_at=granted_at, request_id=request_id),
        request_id=request_id,
        stored=None if row[13] is None else Stored(**orjson.loads(row[13])),
        stored_by=row[14],
        failure=None if row[15] is None else _failure(orjson.loads(row[15])),
        run_id=row[16],
        selected=bool(row[17]),
    )


def enlist_values(run_id: str, enlisted: Enlisted) -> dict[str, Any]:
    """Values for the statements of ``schema.ENLIST``."""
    job = enlisted.job
    refused = enlisted.disposition is Disposition.REFUSE
    restored = enlisted.stored if enlisted.disposition is Disposition.RESTORE else None
    return {
        "id": job.id,
        "manifest": job.manifest,
        "position": job.position,
        "run_id": run_id,
        "selected": enlisted.selected,
        "state": _STATE_OF[enlisted.disposition],
        "keep": enlisted.disposition is Disposition.KEEP,
        "pardon": enlisted.pardon,
        "waits": enlisted.waits,
        "stored": None if restored is None else orjson.dumps(restored),
        "model": job.model,
        "fingerprint": job.fingerprint,
        "job": orjson.dumps(job),
        "failure": orjson.dumps(job.defect) if refused else None,
        "reason": job.defect.reason if refused and job.defect else None,
    }


def edge_values(jobs: Sequence[Enlisted]) -> list[dict[str, str]]:
    """Values for ``schema.LINK``."""
    return [{"id": one.job.id, "upstream": upstream} for one in jobs for upstream in one.job.needs]


def step_values(step: Step, run_id: str) -> tuple[Any, ...]:
    """Values for a row of ``schema.STEPS``."""
    lease, stored, failure = step.lease, step.stored, step.failure
    request_id = step.request_id or (lease.request_id if lease else "")
    return (
        step.job_id,
        # members of an enum are text, but not to sqlite3: it asks each of them whether it can be made into something
        str(step.frm),
        str(step.to),
        run_id,
        step.attempts,
        1 if step.charge is _CHARGED else 0,
        1 if step.charge is _UNKNOWN else 0,
        1 if step.lost else 0,
        step.usd,
        lease and lease.url,
        lease and lease.deadline,
        lease and lease.granted_at,
        request_id,
        None if stored is None else orjson.dumps(stored),
        None if failure is None else orjson.dumps(failure),
        None if failure is None else str(failure.reason),
    )


def _failure(facts: dict[str, Any] | None) -> Failure | None:
    if facts is None:
        return None
    return Failure(Reason(facts["reason"]), facts["message"], facts["http_status"])
