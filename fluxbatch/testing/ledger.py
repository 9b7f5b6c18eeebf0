"""A ledger in memory, with the rules of the one on disk."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from enum import IntEnum
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Final

import anyio

from fluxbatch.errors import LedgerError, StepRefused
from fluxbatch.model.job import Record
from fluxbatch.model.state import NEXT, Charge, JobState
from fluxbatch.policy.transition import after
from fluxbatch.ports import Disposition, RunRow, Tally
from fluxbatch.unbroken import unbroken

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

    from fluxbatch.errors import StorageError
    from fluxbatch.model.job import PlannedJob, Step
    from fluxbatch.ports import Enlisted

__all__ = ["MemoryLedger"]


class _Wait(IntEnum):
    """Whether a job waits for those that it needs."""

    OUTDATED = -1
    """it is under way as something else than what was asked for last"""
    NO = 0
    YES = 1
    FREE = 2
    HANDED_OUT = 3


_UNDER_WAY: Final = frozenset({JobState.SUBMITTED, JobState.GENERATED})
_STATE_OF: Final[Mapping[Disposition, JobState]] = {
    Disposition.MAKE: JobState.PENDING,
    Disposition.RESTORE: JobState.STORED,
    Disposition.FETCH: JobState.GENERATED,
    Disposition.REFUSE: JobState.FAILED,
}


class MemoryLedger:
    """The ``Ledger`` port on a dictionary.

    What was written stands at once, and its writer hears of it ``commit_s`` later: whoever is cancelled in between has
    written, as with a disk.

    Attributes:
        commit_s: seconds that a call takes.
        broken: raised by all calls that write, which then write nothing; None: all is well.
        steps: all that were taken, in order.
        pages: the sizes of all pages that were handed out.
    """

    def __init__(self, *, commit_s: float = 0.0) -> None:
        self.commit_s = commit_s
        self.broken: StorageError | None = None
        self.steps: list[Step] = []
        self.pages: list[int] = []
        self._records: dict[str, Record] = {}
        self._runs: dict[str, RunRow] = {}
        self._manifests: dict[str, str] = {}
        # rows as they were before their job was changed, for the counters of (id, fingerprint)
        self._former: dict[tuple[str, str], Record] = {}
        self._wait: dict[str, _Wait] = {}
        self._free: set[str] = set()
        self._dependents: defaultdict[str, set[str]] = defaultdict(set)
        self._run_id = ""
        self._closed = False

    async def begin(self, run: RunRow) -> None:
        """Open a run, with what it carries over."""
        self._may_write()
        self._run_id = run.id
        self._runs[run.id] = RunRow(run.id, run.started_at, carried_usd=run.carried_usd)
        await self._commit()

    async def end(self, run_id: str, ended_at: float, summary: Mapping[str, object]) -> None:
        """Close a run with its account."""
        self._may_write()
        if run_id in self._runs:
            self._runs[run_id] = replace(self._runs[run_id], ended_at=ended_at, summary=dict(summary))
        await self._commit()

    async def last_run(self) -> RunRow | None:
        """The newest run, if there was one."""
        await self._commit()
        return next(reversed(self._runs.values()), None)

    async def runs(self, since: float) -> list[RunRow]:
        """The runs that may have gone on after a moment, the oldest first."""
        await self._commit()
        rows = list(self._runs.values())
        nexts = [row.started_at for row in rows[1:]]
        over_at = [after if row.ended_at is None else row.ended_at for row, after in zip_longest(rows, nexts)]
        return [row for row, over in zip(rows, over_at, strict=True) if over is None or over >= since]

    async def recall(self, job_ids: Sequence[str]) -> dict[str, Record]:
        """The rows of these jobs, as far as there are any."""
        await self._commit()
        return {job_id: self._records[job_id] for job_id in job_ids if job_id in self._records}

    async def enlist(self, run_id: str, jobs: Sequence[Enlisted]) -> None:
        """Write jobs of this run's plan, and stamp them with the run."""
        self._may_write()
        for enlisted in jobs:
            record = _planned(self._counted_for(enlisted.job), enlisted, run_id)
            self._unlink(enlisted.job.id)
            self._records[record.job.id] = record
            for upstream in record.job.needs:
                self._dependents[upstream].add(record.job.id)
            self._mark(record.job.id, _wait_of(record, enlisted))
        await self._commit()

    async def pending(self, run_id: str, model: str, after: int, limit: int) -> list[Record]:
        """Jobs of this run to be sent to ``model``, by position, after ``after``."""
        found = [
            record
            for record in self._to_send(run_id)
            if record.job.model == model
            and record.job.position > after
            and self._wait[record.job.id] in {_Wait.NO, _Wait.OUTDATED}
        ]
        return await self._page(found, limit)

    async def freed(self, run_id: str, model: str, limit: int) -> list[Record]:
        """Jobs that need not wait any more, by position, each once in a run."""
        self._may_write()
        free = [self._records[job_id] for job_id in self._free]
        found = [record for record in _to_send(free, run_id) if record.job.model == model]
        for record in found[:limit]:
            self._mark(record.job.id, _Wait.HANDED_OUT)
        return await self._page(found, limit)

    async def stranded(self, run_id: str, after: int, limit: int) -> list[Record]:
        """Jobs of this run that wait for one which has failed, by position, after ``after``."""
        found = [
            record
            for record in self._to_send(run_id)
            if self._wait[record.job.id] is _Wait.YES
            and record.job.position > after
            and any(self._state(upstream) is JobState.FAILED for upstream in record.job.needs)
        ]
        return await self._page(found, limit)

    async def pending_models(self, run_id: str) -> dict[str, int]:
        """How many jobs of this run are to be sent, by model."""
        await self._commit()
        return dict(Counter(record.job.model for record in self._to_send(run_id)))

    async def waiting(self, run_id: str) -> int:
        """How many jobs of this run wait for others."""
        await self._commit()
        return sum(self._wait[record.job.id] is _Wait.YES for record in self._to_send(run_id))

    async def ids(self, after: str = "", limit: int = 1000) -> list[str]:
        """The ids of all rows, by id, after ``after``."""
        await self._commit()
        return sorted(job_id for job_id in self._records if job_id > after)[:limit]

    async def owners(self, files: Sequence[str]) -> dict[str, list[str]]:
        """The ids of the rows that have these files as their image on record, by file."""
        await self._commit()
        found: dict[str, list[str]] = {}
        for job_id, record in sorted(self._records.items()):
            if record.stored is not None and record.stored.file in files:
                found.setdefault(record.stored.file, []).append(job_id)
        return found

    async def forget(self, job_ids: Sequence[str]) -> None:
        """Remove rows that are not under way; what they have cost stays counted for (id, fingerprint)."""
        self._may_write()
        for job_id in job_ids:
            row = self._records.get(job_id)
            if row is not None and row.state not in _UNDER_WAY:
                self._put_aside(row)
                self._unlink(job_id)
                self._mark(job_id, _Wait.NO)
                del self._records[job_id], self._wait[job_id]
        await self._commit()

    async def in_state(self, state: str, after: str = "", limit: int = 1000) -> list[Record]:
        """Rows in a state, of any plan, by id."""
        await self._commit()
        ids = sorted(id_ for id_, record in self._records.items() if record.state == state and id_ > after)
        return [self._records[id_] for id_ in ids[:limit]]

    async def advance(self, step: Step) -> None:
        """Compare-and-set one transition, and add its charge to the job and to the run."""
        if step.to not in NEXT[step.frm]:
            raise StepRefused(f"{step.job_id}: {step.to} can't follow {step.frm}")
        self._may_write()
        record = self._records.get(step.job_id)
        if record is None or record.state is not step.frm:
            await self._commit()
            raise StepRefused(f"{step.job_id} is not {step.frm}")
        self._records[step.job_id] = after(record, step, self._run_id)
        self._spend(step)
        if step.to is JobState.STORED:
            self._free_dependents(step.job_id)
        self.steps.append(step)
        await unbroken(anyio.sleep(self.commit_s))

    async def claim(self, manifest: str, run_id: str) -> None:
        """Remember a manifest that claims ids in this folder, and that its last plan is this run's."""
        self._may_write()
        self._manifests[manifest] = run_id
        await self._commit()

    async def release(self, manifest: str) -> None:
        """Forget a manifest that is gone."""
        self._may_write()
        self._manifests.pop(manifest, None)
        await self._commit()

    async def manifests(self) -> list[str]:
        """The manifests that claim ids in this folder, the first one first."""
        await self._commit()
        return list(self._manifests)

    async def tally(self, run_id: str = "") -> Tally:
        """Counts over the present jobs, or over those that this run planned and selected."""
        await self._commit()
        found = self._present()
        if run_id:
            found = [record for record in self._records.values() if record.run_id == run_id and record.selected]
        ids = {record.job.id for record in found}
        return _tally(found, [record for (job_id, _), record in self._former.items() if job_id in ids])

    async def twins(self, limit: int) -> dict[str, tuple[str, str]]:
        """Images that several present jobs have on record: by sha256, the ids first and last planned."""
        await self._commit()
        present = {record.job.id for record in self._present()}
        found: dict[str, list[str]] = {}
        for job_id, record in self._records.items():
            if job_id in present and record.state is JobState.STORED and record.stored is not None:
                found.setdefault(record.stored.sha256, []).append(job_id)
        twins = {sha256: (ids[0], ids[-1]) for sha256, ids in found.items() if len(ids) > 1}
        return dict(list(twins.items())[:limit])

    async def rows(self) -> AsyncIterator[Record]:
        """The present jobs, by manifest and position."""
        await self._commit()
        for record in self._present():
            yield record

    async def close(self) -> None:
        """Refuse to go on."""
        self._closed = True

    def reopen(self) -> MemoryLedger:
        """A ledger with the same rows, as the next process finds them."""
        found = MemoryLedger(commit_s=self.commit_s)
        found._records, found._runs = dict(self._records), dict(self._runs)
        found._manifests, found._former = dict(self._manifests), dict(self._former)
        found._wait, found._free = dict(self._wait), set(self._free)
        for upstream, dependents in self._dependents.items():
            found._dependents[upstream] = set(dependents)
        return found

    async def _page(self, found: list[Record], limit: int) -> list[Record]:
        page = found[:limit]
        self.pages.append(len(page))
        await self._commit()
        return page

    async def _commit(self) -> None:
        if self._closed:
            raise LedgerError("the ledger is closed")
        await anyio.sleep(self.commit_s)

    def _may_write(self) -> None:
        if self._closed:
            raise LedgerError("the ledger is closed")
        if self.broken is not None:
            raise self.broken

    def _counted_for(self, job: PlannedJob) -> Record | None:
        """The job's row, with the counters of the fingerprint that it is to have."""
        row = self._records.get(job.id)
        if row is not None:
            if row.state in _UNDER_WAY or row.job.fingerprint == job.fingerprint:
                return row
            self._put_aside(row)
        before = self._former.pop((job.id, job.fingerprint), None)
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

    def _put_aside(self, row: Record) -> None:
        settled = row.charged - row.lost if row.state is JobState.STORED else 0
        self._former[row.job.id, row.job.fingerprint] = replace(row, pardoned=max(row.pardoned, settled))

    def _state(self, job_id: str) -> JobState | None:
        row = self._records.get(job_id)
        return None if row is None else row.state

    def _mark(self, job_id: str, wait: _Wait) -> None:
        self._wait[job_id] = wait
        if wait is _Wait.FREE:
            self._free.add(job_id)
        else:
            self._free.discard(job_id)

    def _unlink(self, job_id: str) -> None:
        row = self._records.get(job_id)
        for upstream in row.job.needs if row is not None else ():
            self._dependents[upstream].discard(job_id)

    def _free_dependents(self, upstream: str) -> None:
        for job_id in self._dependents.get(upstream, ()):
            needs = self._records[job_id].job.needs
            if self._wait[job_id] is _Wait.YES and all(map(self._is_made, needs)):
                self._mark(job_id, _Wait.FREE)

    def _is_made(self, job_id: str) -> bool:
        """Whether a job is stored, as what was asked for last."""
        return self._state(job_id) is JobState.STORED and self._wait[job_id] is not _Wait.OUTDATED

    def _spend(self, step: Step) -> None:
        run = self._runs.get(self._run_id)
        if run is not None and step.charge is not Charge.NONE:
            self._runs[run.id] = replace(run, spent_usd=run.spent_usd + step.usd)

    def _to_send(self, run_id: str) -> list[Record]:
        return _to_send(self._records.values(), run_id)

    def _present(self) -> list[Record]:
        ordinals = {name: ordinal for ordinal, name in enumerate(self._manifests)}
        found = [
            record
            for record in self._records.values()
            if record.job.manifest in ordinals and self._manifests[record.job.manifest] == record.run_id
        ]
        return sorted(found, key=lambda record: (ordinals[record.job.manifest], record.job.position))


def _to_send(records: Iterable[Record], run_id: str) -> list[Record]:
    found = (
        record for record in records if record.state is JobState.PENDING and record.run_id == run_id and record.selected
    )
    return sorted(found, key=lambda record: record.job.position)


def _wait_of(record: Record, enlisted: Enlisted) -> _Wait:
    """Of a row after a plan."""
    if record.state in _UNDER_WAY:
        return _Wait.OUTDATED if record.job.fingerprint != enlisted.job.fingerprint else _Wait.NO
    return _Wait.YES if enlisted.waits else _Wait.NO


def _planned(row: Record | None, enlisted: Enlisted, run_id: str) -> Record:
    """A row after a plan: stamped only while it is under way, else as the plan has it."""
    job, selected, known = enlisted.job, enlisted.selected, row is not None
    if row is not None and row.state in _UNDER_WAY:
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


def _tally(found: Sequence[Record], former: Sequence[Record]) -> Tally:
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
