"""The durable truth about jobs, and the queue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from fluxbatch.model.job import Record, Step
    from fluxbatch.ports.plans import Enlisted, RunRow, Tally

__all__ = ["Ledger"]


class Ledger(Protocol):
    """The durable truth, and the queue. A method returns once what it wrote survives a power cut.

    Rows never sit in memory all at once: callers page. Safe to call from many tasks; calls share commits.
    A job's id is unique in the ledger. Only jobs stamped with a run and selected for it are handed out by ``pending``;
    leases are handed out whatever plan they come from.
    """

    async def begin(self, run: RunRow) -> None:
        """Open a run, with what it carries over."""
        ...

    async def end(self, run_id: str, ended_at: float, summary: Mapping[str, object]) -> None:
        """Close a run with its account."""
        ...

    async def last_run(self) -> RunRow | None:
        """The newest run, if there was one."""
        ...

    async def runs(self, since: float) -> list[RunRow]:
        """The runs that may have gone on after a moment (epoch seconds), the oldest first.

        One that never ended was over when the next one began.
        """
        ...

    async def recall(self, job_ids: Sequence[str]) -> dict[str, Record]:
        """The rows of these jobs, as far as there are any."""
        ...

    async def enlist(self, run_id: str, jobs: Sequence[Enlisted]) -> None:
        """Write jobs of this run's plan, all or none, and stamp them with the run.

        A row that is SUBMITTED or GENERATED keeps job and state as they were when it was sent, and is only stamped.
        Elsewhere the row takes the job as planned now, and the state that the disposition says.
        """
        ...

    async def pending(self, run_id: str, model: str, after: int, limit: int) -> list[Record]:
        """Jobs of this run to be sent to ``model`` (PENDING, stamped, selected), by position, after ``after``.

        Without those that were enlisted as waiting.
        """
        ...

    async def freed(self, run_id: str, model: str, limit: int) -> list[Record]:
        """Jobs that were enlisted as waiting, and need not wait any more: all that they need is STORED; by position.

        Each is handed out once in a run.
        """
        ...

    async def stranded(self, run_id: str, after: int, limit: int) -> list[Record]:
        """Jobs of this run (PENDING, stamped, selected) that need one which FAILED, by position, after ``after``."""
        ...

    async def pending_models(self, run_id: str) -> dict[str, int]:
        """How many jobs of this run are to be sent, waiting ones included, by model."""
        ...

    async def waiting(self, run_id: str) -> int:
        """How many jobs of this run (PENDING, stamped, selected) wait for others."""
        ...

    async def ids(self, after: str = "", limit: int = 1000) -> list[str]:
        """The ids of all rows, of any plan, by id, after ``after``."""
        ...

    async def owners(self, files: Sequence[str]) -> dict[str, list[str]]:
        """The ids of the rows that have these files as their image on record, of any plan, by file."""
        ...

    async def forget(self, job_ids: Sequence[str]) -> None:
        """Remove rows that are neither SUBMITTED nor GENERATED.

        What (id, fingerprint) has cost stays counted for it, should it come back.
        """
        ...

    async def in_state(self, state: str, after: str = "", limit: int = 1000) -> list[Record]:
        """Rows in a state, of any plan, by id: how leases owed and submitted requests are found at start-up."""
        ...

    async def advance(self, step: Step) -> None:
        """Compare-and-set one transition, and add its charge to the job and to the run.

        It is seen through: whoever is cancelled meanwhile is so at the next await after it.

        Raises:
            StepRefused: the job is not in ``step.frm``, or ``NEXT`` does not allow ``step.to``; nothing was changed.
            StorageError: it can't be written; nothing was changed.
        """
        ...

    async def claim(self, manifest: str, run_id: str) -> None:
        """Remember a manifest that claims ids in this folder, and that its last plan is this run's.

        The manifest that came first comes first in the results.
        """
        ...

    async def release(self, manifest: str) -> None:
        """Forget a manifest that is gone; its rows can be claimed by another."""
        ...

    async def manifests(self) -> list[str]:
        """The manifests that claim ids in this folder, the first one first."""
        ...

    async def tally(self, run_id: str = "") -> Tally:
        """Counts over the present jobs, or over those that this run planned and selected."""
        ...

    async def twins(self, limit: int) -> dict[str, tuple[str, str]]:
        """Images that several present jobs have on record as STORED: by sha256, the ids first and last planned of them.

        At most ``limit`` images; memory holds no more than those.
        """
        ...

    def rows(self) -> AsyncIterator[Record]:
        """The present jobs (those of the last plan of their manifest), by manifest and position, paged."""
        ...

    async def close(self) -> None:
        """Finish what was asked and release the file. May be called again."""
        ...
