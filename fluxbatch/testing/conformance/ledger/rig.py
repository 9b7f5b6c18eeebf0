"""A ledger under test, and what its cases write into it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from fluxbatch.model.job import Failure, Lease, Step, Stored
from fluxbatch.model.state import Charge, JobState, Reason
from fluxbatch.ports import Disposition, Enlisted

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from fluxbatch.model.job import PlannedJob, Record
    from fluxbatch.ports import Ledger

__all__ = [
    "FAILED",
    "LEASE",
    "RUN",
    "STORED",
    "Case",
    "Factory",
    "Rig",
    "attempt",
    "counters",
    "plan",
    "row",
    "store",
]

RUN: Final = "run-1"
LEASE: Final = Lease("https://delivery.example/a?sig=s%2F", deadline=1600.25, granted_at=1000.5, request_id="req-1")
STORED: Final = Stored("a.png", "ab" * 32, 1234, 64, 48, 99, "fingerprint", 12.5, "flux-2-pro", 42)
FAILED: Final = Failure(Reason.MODERATED, "Request Moderated", 403)


class Rig(Protocol):
    """A ledger that is empty at first."""

    @property
    def ledger(self) -> Ledger:
        """What is under test."""
        ...

    async def reopen(self) -> None:
        """Close the ledger and open it again, as the next process does."""
        ...


Factory: TypeAlias = "Callable[[], AbstractAsyncContextManager[Rig]]"
Case: TypeAlias = "Callable[[Factory], Awaitable[None]]"


async def plan(ledger: Ledger, jobs: Sequence[PlannedJob]) -> None:
    """Have jobs made."""
    await ledger.enlist(RUN, [Enlisted(job, Disposition.MAKE) for job in jobs])


async def store(ledger: Ledger, job: PlannedJob, stored: Stored = STORED) -> None:
    """Plan a job and make it."""
    await plan(ledger, [job])
    await ledger.advance(Step(job.id, JobState.PENDING, JobState.SUBMITTED))
    step = Step(job.id, JobState.SUBMITTED, JobState.STORED, charge=Charge.CHARGED, usd=0.25, attempts=1, stored=stored)
    await ledger.advance(step)


async def attempt(ledger: Ledger, job: PlannedJob, charge: Charge, *, usd: float = 0.25, lost: bool = False) -> None:
    """Send a job that is PENDING, to no avail."""
    await ledger.advance(Step(job.id, JobState.PENDING, JobState.SUBMITTED))
    await ledger.advance(
        Step(job.id, JobState.SUBMITTED, JobState.PENDING, charge=charge, usd=usd, attempts=1, lost=lost)
    )


async def row(ledger: Ledger, job: PlannedJob) -> Record:
    """What is on record of a job."""
    return (await ledger.recall([job.id]))[job.id]


def counters(record: Record) -> tuple[int, int, int, int, float, float]:
    """Charged, unknown, lost, pardoned, USD, and USD that are unknown."""
    return record.charged, record.unknown, record.lost, record.pardoned, record.cost_usd, record.unknown_usd
