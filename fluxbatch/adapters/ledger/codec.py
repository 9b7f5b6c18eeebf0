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
_KEEP, _RESTORE, _REFUSE = Disposition.KEEP, Disposition.RESTORE, Disposition.REFUSE
_NULL = 0
"""in a row that is written; only numbers, ``str`` and ``bytearray`` itself are bound at once: about all else, ``None``,
``bytes``, ``bool`` and members of enums too, sqlite3 first asks around for a microsecond what to make of it"""


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


def enlist_values(run_id: str, enlisted: Enlisted) -> tuple[Any, ...]:
    """Values for a row of ``writes.PLANNED``."""
    job, disposition = enlisted.job, enlisted.disposition
    defect = job.defect if disposition is _REFUSE else None
    stored = enlisted.stored if disposition is _RESTORE else None
    return (
        job.id,
        job.manifest,
        job.position,
        run_id,
        1 if enlisted.selected else 0,
        str(_STATE_OF[disposition]),
        1 if disposition is _KEEP else 0,
        1 if enlisted.pardon else 0,
        1 if enlisted.waits else 0,
        job.model,
        job.fingerprint,
        bytearray(orjson.dumps(job)),
        _NULL if stored is None else bytearray(orjson.dumps(stored)),
        _NULL if defect is None else bytearray(orjson.dumps(defect)),
        _NULL if defect is None else str(defect.reason),
    )


def edge_values(jobs: Sequence[Enlisted]) -> list[dict[str, str]]:
    """Values for ``writes.LINK``."""
    return [{"id": one.job.id, "upstream": upstream} for one in jobs for upstream in one.job.needs]


def step_values(step: Step, run_id: str) -> tuple[Any, ...]:
    """Values for a row of ``writes.STEPS``."""
    lease, stored, failure = step.lease, step.stored, step.failure
    request_id = step.request_id or (lease.request_id if lease else "")
    return (
        step.job_id,
        str(step.frm),
        str(step.to),
        run_id,
        step.attempts,
        1 if step.charge is _CHARGED else 0,
        1 if step.charge is _UNKNOWN else 0,
        1 if step.lost else 0,
        step.usd,
        _NULL if lease is None else lease.url,
        _NULL if lease is None else lease.deadline,
        _NULL if lease is None else lease.granted_at,
        request_id,
        _NULL if stored is None else bytearray(orjson.dumps(stored)),
        _NULL if failure is None else bytearray(orjson.dumps(failure)),
        _NULL if failure is None else str(failure.reason),
    )


def _failure(facts: dict[str, Any] | None) -> Failure | None:
    if facts is None:
        return None
    return Failure(Reason(facts["reason"]), facts["message"], facts["http_status"])
