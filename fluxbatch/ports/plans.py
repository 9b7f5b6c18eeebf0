"""What a ledger is given of runs and their plans, and what it counts."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fluxbatch.model.job import PlannedJob, Stored

__all__ = ["Disposition", "Enlisted", "RunRow", "Tally"]


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run, as the ledger remembers it.

    Attributes:
        started_at, ended_at: epoch seconds; ``ended_at`` and ``summary`` are None while it lives, or if it was killed.
        carried_usd: USD that the unfinished runs which it goes on with had spent.
        spent_usd: USD billed or maybe billed by the steps of this run, counted with each of them.
    """

    id: str
    started_at: float
    ended_at: float | None = None
    summary: Mapping[str, object] | None = None
    carried_usd: float = 0.0
    spent_usd: float = 0.0


class Disposition(StrEnum):
    """What a plan makes of a job's row."""

    MAKE = "make"
    """to be sent: PENDING; the counters are those of (id, fingerprint), from before if it was asked for before"""
    KEEP = "keep"
    """as it stands"""
    RESTORE = "restore"
    """the image on disk is what is asked for: STORED, whatever happened since"""
    FETCH = "fetch"
    """a failed delivery left a URL that is to be tried again: GENERATED"""
    REFUSE = "refuse"
    """it can't be sent (``job.defect``): FAILED; what is on disk stays on record"""


@dataclass(frozen=True, slots=True)
class Enlisted:
    """A job of a run's plan.

    Attributes:
        job: as planned now.
        disposition: what becomes of its row.
        selected: this run may send it; False for what ``--only`` and its like leave out.
        pardon: the user allows one more possibly-charged attempt, whatever there were before.
        waits: for jobs that it needs (``job.needs``) and that are not all stored yet.
        stored: with RESTORE, an image that is put on record for it: it was there already, or is a copy of another's.
    """

    job: PlannedJob
    disposition: Disposition
    selected: bool = True
    pardon: bool = False
    waits: bool = False
    stored: Stored | None = None


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts over jobs.

    Attributes:
        by_state: jobs.
        failures: FAILED jobs by error code.
        charged, unknown, lost: attempts, over the life of these jobs, whatever they asked for at the time.
        cost_usd, unknown_usd: USD, likewise.
    """

    by_state: Mapping[str, int]
    failures: Mapping[str, int]
    charged: int
    unknown: int
    lost: int
    cost_usd: float
    unknown_usd: float

    @property
    def total(self) -> int:
        """All jobs."""
        return sum(self.by_state.values())
