"""The ``Ledger`` port on stdlib ``sqlite3``."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, Self

import anyio.to_thread
import orjson

from fluxbatch.adapters.ledger import codec, schema, writes
from fluxbatch.adapters.ledger.file import LedgerFile, kind_of
from fluxbatch.adapters.ledger.thread import CommitThread, Together
from fluxbatch.errors import StepRefused
from fluxbatch.model.state import NEXT, JobState
from fluxbatch.ports import RunRow, Tally

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from pathlib import Path

    from fluxbatch.model.job import Record, Step
    from fluxbatch.ports import Enlisted

__all__ = ["SqliteLedger"]

_PAGE = 500
_MOST_VARIABLES = 500


class SqliteLedger:
    """The ledger of one output folder, in one file that only its owner may read.

    Args:
        path: of the database; made if it isn't there.
        kind: what the folder's images are, ``live`` or ``simulated``; it never changes.
        readonly: only look; the file must be there.
    """

    def __init__(self, path: Path, *, kind: str = "", readonly: bool = False) -> None:
        self._file = LedgerFile(path, kind=kind, readonly=readonly)
        self._thread = CommitThread(self._file.connect, self._file.check)
        self._run_id = ""
        self._linked: bool | None = None

    async def open(self) -> Self:
        """Open the database now rather than at the first call.

        Raises:
            UsageError: the folder holds images of the other kind, or its ledger is of a newer version.
            StorageError: it can't be opened.
        """
        await self._thread.call(self._file.check_about)
        return self

    async def kind(self) -> str:
        """What the folder's images are: ``live`` or ``simulated``."""
        return await self._thread.call(kind_of)

    async def begin(self, run: RunRow) -> None:
        """Open a run, with what it carries over."""
        self._run_id = run.id
        values = (run.id, run.started_at, run.carried_usd)
        await self._thread.call(lambda db: _run(db, schema.BEGIN_RUN, values))

    async def end(self, run_id: str, ended_at: float, summary: Mapping[str, object]) -> None:
        """Close a run with its account."""
        data = orjson.dumps(dict(summary))
        await self._thread.call(lambda db: _run(db, schema.END_RUN, (ended_at, data, run_id)))

    async def last_run(self) -> RunRow | None:
        """The newest run, if there was one."""

        def read(db: sqlite3.Connection) -> RunRow | None:
            row = db.execute(schema.LAST_RUN).fetchone()
            return None if row is None else _run_row(row)

        return await self._thread.call(read)

    async def runs(self, since: float) -> list[RunRow]:
        """The runs that may have gone on after a moment, the oldest first."""
        rows = await self._thread.call(lambda db: db.execute(schema.RUNS_SINCE, (since,)).fetchall())
        return [_run_row(row) for row in rows]

    async def recall(self, job_ids: Sequence[str]) -> dict[str, Record]:
        """The rows of these jobs, as far as there are any."""

        def read(db: sqlite3.Connection) -> dict[str, Record]:
            found: dict[str, Record] = {}
            for start in range(0, len(job_ids), _MOST_VARIABLES):
                ids = job_ids[start : start + _MOST_VARIABLES]
                marks = ",".join("?" * len(ids))
                rows = db.execute(f"SELECT {schema.COLUMNS} FROM jobs WHERE id IN ({marks})", ids)
                found |= {record.job.id: record for record in map(codec.record_of, rows)}
            return found

        return await self._thread.call(read)

    async def enlist(self, run_id: str, jobs: Sequence[Enlisted]) -> None:
        """Write jobs of this run's plan, and stamp them with the run."""
        values = [codec.enlist_values(run_id, enlisted) for enlisted in jobs]
        edges = codec.edge_values(jobs)

        def write(db: sqlite3.Connection) -> None:
            if edges or self._has_links(db):
                db.executemany(writes.UNLINK, [{"id": enlisted.job.id} for enlisted in jobs])
                db.executemany(writes.LINK, edges)
                self._linked = True
            for start in range(0, len(values), writes.MOST_ROWS):
                _insert(db, writes.ENLIST, values[start : start + writes.MOST_ROWS])

        await self._thread.call(write)

    async def pending(self, run_id: str, model: str, after: int, limit: int) -> list[Record]:
        """Jobs of this run to be sent to ``model``, by position, after ``after``."""
        return await self._records(schema.PENDING, (run_id, model, after, limit))

    async def freed(self, run_id: str, model: str, limit: int) -> list[Record]:
        """Jobs that need not wait any more, by position, each once in a run."""

        def hand_out(db: sqlite3.Connection) -> list[Any]:
            rows = db.execute(schema.FREED, (run_id, model, limit)).fetchall()
            db.executemany(schema.HAND_OUT, [row[-1:] for row in rows])
            return rows

        return [codec.record_of(row) for row in await self._thread.call(hand_out)]

    async def stranded(self, run_id: str, after: int, limit: int) -> list[Record]:
        """Jobs of this run that wait for one which has failed, by position, after ``after``."""
        return await self._records(schema.STRANDED, (run_id, after, limit))

    async def pending_models(self, run_id: str) -> dict[str, int]:
        """How many jobs of this run are to be sent, by model."""
        return await self._thread.call(lambda db: dict(db.execute(schema.PENDING_MODELS, (run_id,)).fetchall()))

    async def waiting(self, run_id: str) -> int:
        """How many jobs of this run wait for others."""
        return int(await self._thread.call(lambda db: db.execute(schema.WAITING, (run_id,)).fetchone()[0]))

    async def ids(self, after: str = "", limit: int = 1000) -> list[str]:
        """The ids of all rows, by id, after ``after``."""
        return await self._thread.call(lambda db: [row[0] for row in db.execute(schema.IDS, (after, limit))])

    async def owners(self, files: Sequence[str]) -> dict[str, list[str]]:
        """The ids of the rows that have these files as their image on record, by file."""

        def read(db: sqlite3.Connection) -> dict[str, list[str]]:
            found: dict[str, list[str]] = {}
            for start in range(0, len(files), _MOST_VARIABLES):
                some = files[start : start + _MOST_VARIABLES]
                for file, job_id in db.execute(schema.OWNERS.format(",".join("?" * len(some))), some):
                    found.setdefault(file, []).append(job_id)
            return found

        return await self._thread.call(read)

    async def forget(self, job_ids: Sequence[str]) -> None:
        """Remove rows that are not under way; what they have cost stays counted for (id, fingerprint)."""
        values = [{"id": job_id} for job_id in job_ids]

        def write(db: sqlite3.Connection) -> None:
            for statement in writes.FORGET:
                db.executemany(statement, values)

        await self._thread.call(write)

    async def in_state(self, state: str, after: str = "", limit: int = 1000) -> list[Record]:
        """Rows in a state, of any plan, by id."""
        under_way = state in {JobState.SUBMITTED, JobState.GENERATED}
        return await self._records(schema.UNDER_WAY if under_way else schema.IN_STATE, (state, after, limit))

    async def advance(self, step: Step) -> None:
        """Compare-and-set one transition, and add its charge to the job and to the run."""
        if step.to not in NEXT[step.frm]:
            raise StepRefused(f"{step.job_id}: {step.to} can't follow {step.frm}")
        await self._thread.take(_STEPS, codec.step_values(step, self._run_id))

    async def claim(self, manifest: str, run_id: str) -> None:
        """Remember a manifest that claims ids in this folder, and that its last plan is this run's."""
        await self._thread.call(lambda db: _run(db, schema.CLAIM, (manifest, run_id)))

    async def release(self, manifest: str) -> None:
        """Forget a manifest that is gone."""
        await self._thread.call(lambda db: _run(db, "DELETE FROM manifests WHERE name = ?", (manifest,)))

    async def manifests(self) -> list[str]:
        """The manifests that claim ids in this folder, the first one first."""
        statement = "SELECT name FROM manifests ORDER BY ordinal"
        return await self._thread.call(lambda db: [row[0] for row in db.execute(statement)])

    async def tally(self, run_id: str = "") -> Tally:
        """Counts over the present jobs, or over those that this run planned and selected."""
        statement = schema.tally(of_run=bool(run_id))
        rows = await self._thread.call(lambda db: db.execute(statement, {"run_id": run_id}).fetchall())
        return _tally(rows)

    async def twins(self, limit: int) -> dict[str, tuple[str, str]]:
        """Images that several present jobs have on record: by sha256, the ids first and last planned."""

        def read(_: sqlite3.Connection) -> dict[str, tuple[str, str]]:
            # one that sorts on disk: what writes keeps what is temporary in memory
            with closing(self._file.open(readonly=True)) as db:
                db.execute(schema.SORT_ON_DISK)
                return {sha256: (first, last) for sha256, first, last in db.execute(schema.TWINS, (limit,))}

        return await self._thread.call(read)

    async def rows(self) -> AsyncIterator[Record]:
        """The present jobs, by manifest and position, paged."""
        statement = "SELECT name, run_id FROM manifests ORDER BY ordinal"
        for name, run_id in await self._thread.call(lambda db: db.execute(statement).fetchall()):
            after = -1
            page: list[Any] = [()]
            while page:
                values = (name, run_id, after, _PAGE)
                page = await self._thread.call(partial(_fetch, schema.ROWS, values))
                for row in page:
                    yield codec.record_of(row)
                after = page[-1][-1] if page else after

    async def close(self) -> None:
        """Finish what was asked and release the file."""
        await anyio.to_thread.run_sync(self._thread.close)

    def _has_links(self, db: sqlite3.Connection) -> bool:
        """Whether any job may need another: asked once, so that plans without chains pay nothing for them."""
        if self._linked is None:
            self._linked = _is(db, writes.HAS_LINKS)
        return self._linked

    async def _records(self, statement: str, values: tuple[Any, ...]) -> list[Record]:
        rows = await self._thread.call(lambda db: db.execute(statement, values).fetchall())
        return [codec.record_of(row) for row in rows]


def _take(db: sqlite3.Connection, steps: Sequence[tuple[Any, ...]]) -> None:
    try:
        _insert(db, writes.TAKE, steps)
    except sqlite3.IntegrityError as error:
        if str(error) != writes.REFUSED:
            raise
        job_id, frm, *_ = steps[0]
        raise StepRefused(f"{job_id} is not {frm}") from None


_STEPS: Final = Together(_take, writes.MOST_ROWS)


def _is(db: sqlite3.Connection, question: str) -> bool:
    return bool(db.execute(question).fetchone()[0])


def _fetch(statement: str, values: tuple[Any, ...], db: sqlite3.Connection) -> list[Any]:
    return db.execute(statement, values).fetchall()


def _run(db: sqlite3.Connection, statement: str, values: Sequence[Any]) -> None:
    with closing(db.execute(statement, values)):
        pass


def _insert(db: sqlite3.Connection, statements: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
    _run(db, statements[len(rows)], list(chain.from_iterable(rows)))


def _run_row(row: tuple[Any, ...]) -> RunRow:
    run_id, started_at, ended_at, summary, carried_usd, spent_usd = row
    return RunRow(run_id, started_at, ended_at, summary and orjson.loads(summary), carried_usd, spent_usd)


def _tally(rows: list[tuple[Any, ...]]) -> Tally:
    by_state: dict[str, int] = {}
    failures: dict[str, int] = {}
    for state, reason, count, *_ in rows:
        if count:
            by_state[state] = by_state.get(state, 0) + count
        if reason is not None:
            failures[reason] = failures.get(reason, 0) + count
    charged, unknown, lost, cost, maybe = (sum(row[column] or 0 for row in rows) for column in range(3, 8))
    return Tally(by_state, failures, charged, unknown, lost, float(cost), float(maybe))
