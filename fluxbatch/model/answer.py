"""What an attempt comes back with: a lease, an image, or a refusal with its verdict."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias

from fluxbatch.model.state import Charge, Reason

if TYPE_CHECKING:
    from pathlib import Path

    from fluxbatch.model.job import Lease

__all__ = ["Action", "Answer", "Granted", "Inline", "Refused", "Scope", "Verdict"]


class Action(StrEnum):
    """What a refusal asks the engine to do."""

    RETRY = "retry"
    FAIL_JOB = "fail_job"
    STOP_MODEL = "stop_model"
    """one more try, then send nothing more to this model"""
    STOP_RUN = "stop_run"


class Scope(StrEnum):
    """How far a verdict reaches."""

    JOB = "job"
    MODEL = "model"
    KEY = "key"
    ENDPOINT = "endpoint"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a failed attempt means.

    Attributes:
        reason: the error code that the job gets if this is the end of it.
        action: what to do.
        charge: whether it was billed, as far as can be known.
        scope: what else it says something about.
        congestion: the API asks for fewer requests at a time; uses up no attempt.
        pause: seconds for which nothing of this scope should be sent, if the API said so.
        message: for people; never holds a key or a signed query.
        http_status: of the answer, if there was one.
    """

    reason: Reason
    action: Action
    charge: Charge = Charge.NONE
    scope: Scope = Scope.JOB
    congestion: bool = False
    pause: float | None = None
    message: str = ""
    http_status: int | None = None


@dataclass(frozen=True, slots=True)
class Granted:
    """The image is made and waits at a URL."""

    lease: Lease


@dataclass(frozen=True, slots=True)
class Inline:
    """The image came in the answer itself; ``path`` is a file that now belongs to the caller."""

    path: Path
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class Refused:
    """No image."""

    verdict: Verdict
    request_id: str = ""


Answer: TypeAlias = Granted | Inline | Refused
