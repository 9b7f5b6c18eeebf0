"""What a step does to a record. Pure; the ledgers hold to it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fluxbatch.errors import StepRefused
from fluxbatch.model.job import Record
from fluxbatch.model.state import NEXT, Charge

if TYPE_CHECKING:
    from fluxbatch.model.job import Step

__all__ = ["after"]


def after(record: Record, step: Step, run_id: str) -> Record:
    """The record once the step is taken by this run.

    Raises:
        StepRefused: the record is not in ``step.frm``, or ``NEXT`` does not allow ``step.to``.
    """
    if step.to not in NEXT[step.frm]:
        raise StepRefused(f"{step.job_id}: {step.to} can't follow {step.frm}")
    if record.state is not step.frm:
        raise StepRefused(f"{step.job_id} is not {step.frm}")
    charged, unknown = step.charge is Charge.CHARGED, step.charge is Charge.UNKNOWN
    request_id = step.request_id or (step.lease.request_id if step.lease else "") or record.request_id
    lease = step.lease
    if lease is not None and lease.request_id != request_id:
        lease = replace(lease, request_id=request_id)
    # for each of a job's steps: ``replace`` would take three times as long
    return Record(
        job=record.job,
        state=step.to,
        attempts=record.attempts + step.attempts,
        charged=record.charged + charged,
        unknown=record.unknown + unknown,
        lost=record.lost + step.lost,
        pardoned=record.pardoned,
        cost_usd=record.cost_usd + (step.usd if charged else 0.0),
        unknown_usd=record.unknown_usd + (step.usd if unknown else 0.0),
        lease=lease,
        stored=step.stored or record.stored,
        stored_by=run_id if step.stored else record.stored_by,
        failure=step.failure,
        request_id=request_id,
        run_id=record.run_id,
        selected=record.selected,
    )
