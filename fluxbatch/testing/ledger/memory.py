"""The ``Ledger`` port on dictionaries."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import zip_longest
from typing import TYPE_CHECKING

import anyio

from fluxbatch.errors import LedgerError, StepRefused
from fluxbatch.model.state import NEXT, Charge, JobState
from fluxbatch.policy.transition import after
from fluxbatch.ports import RunRow, Tally
from fluxbatch.testing.ledger.rows import UNDER_WAY, count, planned, put_aside, to_send, wait_of, with_counters
from fluxbatch.testing.ledger.waiting import Wait, Waiting
from fluxbatch.unbroken import unbroken

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from fluxbatch.errors import StorageError
    from fluxbatch.model.job import PlannedJob, Record, Step
    from fluxbatch.ports import Enlisted

__all__ = ["MemoryLedger"]


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
        self._waiting = Waiting()
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
            before = self._records.get(enlisted.job.id)
            record = planned(self._counted_for(enlisted.job), enlisted, run_id)
            if before is not None:
                self._waiting.leave(before.job)
            self._records[record.job.id] = record
            self._waiting.enter(record.job, wait_of(record, enlisted))
        await self._commit()

    async def pending(self, run_id: str, model: str, after: int, limit: int) -> list[Record]:
        """Jobs of this run to be sent to ``model``, by position, after ``after``."""
        found = [
            record
            for record in self._to_send(run_id)
            if record.job.model == model
            and record.job.position > after
            and self._waiting.of(record.job.id) in {Wait.NO, Wait.OUTDATED}
        ]
        return await self._page(found, limit)

    async def freed(self, run_id: str, model: str, limit: int) -> list[Record]:
        """Jobs that need not wait any more, by position, each once in a run."""
        self._may_write()
        free = [self._records[job_id] for job_id in self._waiting.free()]
        found = [record for record in to_send(free, run_id) if record.job.model == model]
        for record in found[:limit]:
            self._waiting.mark(record.job.id, Wait.HANDED_OUT)
        return await self._page(found, limit)

    async def stranded(self, run_id: str, after: int, limit: int) -> list[Record]:
        """Jobs of this run that wait for one which has failed, by position, after ``after``."""
        found = [
            record
            for record in self._to_send(run_id)
            if self._waiting.of(record.job.id) is Wait.YES
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
        return sum(self._waiting.of(record.job.id) is Wait.YES for record in self._to_send(run_id))

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
            if row is not None and row.state not in UNDER_WAY:
                self._put_aside(row)
                self._waiting.forget(row.job)
                del self._records[job_id]
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
            self._waiting.stored(step.job_id, self._records)
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
        return count(found, [record for (job_id, _), record in self._former.items() if job_id in ids])

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
        found._waiting = self._waiting.copy()
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
            if row.state in UNDER_WAY or row.job.fingerprint == job.fingerprint:
                return row
            self._put_aside(row)
        return with_counters(row, self._former.pop((job.id, job.fingerprint), None), job)

    def _put_aside(self, row: Record) -> None:
        self._former[row.job.id, row.job.fingerprint] = put_aside(row)

    def _state(self, job_id: str) -> JobState | None:
        row = self._records.get(job_id)
        return None if row is None else row.state

    def _spend(self, step: Step) -> None:
        run = self._runs.get(self._run_id)
        if run is not None and step.charge is not Charge.NONE:
            self._runs[run.id] = replace(run, spent_usd=run.spent_usd + step.usd)

    def _to_send(self, run_id: str) -> list[Record]:
        return to_send(self._records.values(), run_id)

    def _present(self) -> list[Record]:
        ordinals = {name: ordinal for ordinal, name in enumerate(self._manifests)}
        found = [
            record
            for record in self._records.values()
            if record.job.manifest in ordinals and self._manifests[record.job.manifest] == record.run_id
        ]
        return sorted(found, key=lambda record: (ordinals[record.job.manifest], record.job.position))
