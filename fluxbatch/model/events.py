"""What happens in a run, as typed events. Their names are stable; ``events.jsonl`` holds them one a line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, TypeAlias

from fluxbatch.model.state import Charge, Reason

if TYPE_CHECKING:
    from fluxbatch.model.job import Failure, Stored
    from fluxbatch.model.limits import LimitCause

__all__ = [
    "DeliveryRetried",
    "Event",
    "JobFailed",
    "JobGranted",
    "JobLost",
    "JobRequeued",
    "JobStored",
    "JobSubmitted",
    "LimitChanged",
    "RunEnded",
    "RunPaused",
    "RunStarted",
    "RunStopping",
    "StepsRescued",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted:
    """Requests follow. ``make`` images are to be made, ``keep`` are there, ``owed`` wait at URLs."""

    name: ClassVar[str] = "run.started"
    at: float
    run_id: str
    make: int
    keep: int
    owed: int
    simulated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSubmitted:
    """A request is about to be sent."""

    name: ClassVar[str] = "job.submitted"
    at: float
    job_id: str
    model: str
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JobGranted:
    """The image is made and paid for, with ``usd``; its URL dies in ``seconds_left``."""

    name: ClassVar[str] = "job.granted"
    at: float
    job_id: str
    seconds_left: float
    request_id: str
    usd: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStored:
    """The image is on disk, verified. ``usd`` was paid for it, if it came in the answer itself."""

    name: ClassVar[str] = "job.stored"
    at: float
    job_id: str
    stored: Stored
    usd: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRequeued:
    """An attempt failed; another follows in ``delay_s`` seconds. As ``charge`` says, ``usd`` were billed or may be."""

    name: ClassVar[str] = "job.requeued"
    at: float
    job_id: str
    reason: Reason
    charge: Charge
    delay_s: float
    message: str
    http_status: int | None = None
    usd: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryRetried:
    """A download failed; it is tried again in ``delay_s`` seconds."""

    name: ClassVar[str] = "delivery.retried"
    at: float
    job_id: str
    delay_s: float
    seconds_left: float
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobLost:
    """A paid image can't be fetched any more. ``again``: it is made once more."""

    name: ClassVar[str] = "job.lost"
    at: float
    job_id: str
    message: str
    again: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFailed:
    """The end of this job in this run. As ``charge`` says, ``usd`` were billed or may be."""

    name: ClassVar[str] = "job.failed"
    at: float
    job_id: str
    failure: Failure
    charge: Charge = Charge.NONE
    usd: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitChanged:
    """``limit`` requests may be in flight now, over all models; it was ``before``, 0 at the first request."""

    name: ClassVar[str] = "limit.changed"
    at: float
    limit: int
    before: int
    cause: LimitCause


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPaused:
    """Nothing of ``scope`` is sent for ``seconds``; ``model``: of that model, empty for all.

    ``asked``: the API named the time (Retry-After).
    """

    name: ClassVar[str] = "run.paused"
    at: float
    scope: str
    seconds: float
    message: str
    reason: str = ""
    model: str = ""
    asked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StepsRescued:
    """What an earlier run could not write into its ledger was found: ``taken`` steps are in it now.

    ``strays`` were there already: they had been written after all.
    """

    name: ClassVar[str] = "run.rescued"
    at: float
    taken: int
    strays: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStopping:
    """Nothing new is sent; what is in flight or owed is finished first."""

    name: ClassVar[str] = "run.stopping"
    at: float
    stop_reason: str
    message: str
    remedy: str
    in_flight: int
    owed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnded:
    """The account of the run is settled."""

    name: ClassVar[str] = "run.ended"
    at: float
    run_id: str
    exit_code: int
    stop_reason: str


Event: TypeAlias = (
    RunStarted
    | JobSubmitted
    | JobGranted
    | JobStored
    | JobRequeued
    | DeliveryRetried
    | JobLost
    | JobFailed
    | LimitChanged
    | RunPaused
    | StepsRescued
    | RunStopping
    | RunEnded
)
