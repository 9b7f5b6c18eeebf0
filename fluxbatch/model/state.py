"""The durable states of a job, what may follow what, and why a job fails."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["NEXT", "PASSING", "Charge", "JobState", "Reason"]


class JobState(StrEnum):
    """Where a job stands in the ledger."""

    PENDING = "pending"
    """to be sent"""
    SUBMITTED = "submitted"
    """written before the request; found at start-up it means that the charge is unknown"""
    GENERATED = "generated"
    """paid for; the lease (URL, deadline) is on record, the image is not on disk yet"""
    STORED = "stored"
    """the verified image is on disk"""
    FAILED = "failed"


NEXT: Final[Mapping[JobState, frozenset[JobState]]] = {
    JobState.PENDING: frozenset({JobState.SUBMITTED, JobState.FAILED}),
    JobState.SUBMITTED: frozenset({JobState.PENDING, JobState.GENERATED, JobState.STORED, JobState.FAILED}),
    JobState.GENERATED: frozenset({JobState.STORED, JobState.PENDING, JobState.FAILED}),
    JobState.STORED: frozenset({JobState.PENDING}),
    JobState.FAILED: frozenset({JobState.PENDING, JobState.GENERATED}),
}
"""One table says what may follow what. ``GENERATED → PENDING`` is a lost image made again; ``STORED → PENDING`` a
changed job or a missing output; ``FAILED → GENERATED`` takes up a lease that a failed delivery left behind."""


class Charge(StrEnum):
    """Whether an attempt was billed, as far as the client can know."""

    NONE = "none"
    CHARGED = "charged"
    """a usable answer came"""
    UNKNOWN = "unknown"
    """the API leaves it open: counted as spent"""


class Reason(StrEnum):
    """Error codes: why a job failed. Users' scripts depend on these words."""

    MODERATED = "moderated"
    INVALID_REQUEST = "invalid_request"
    TOO_LARGE = "too_large"
    UNAUTHORIZED = "unauthorized"
    OUT_OF_CREDIT = "out_of_credit"
    MODEL_UNAVAILABLE = "model_unavailable"
    RATE_LIMITED = "rate_limited"
    SERVER_ERROR = "server_error"
    UNKNOWN_OUTCOME = "unknown_outcome"
    EXPIRED = "expired"
    BAD_IMAGE = "bad_image"
    DOWNLOAD_FAILED = "download_failed"
    INPUT_CHANGED = "input_changed"
    DEPENDENCY_FAILED = "dependency_failed"
    BUDGET = "budget"
    STORAGE_FAILED = "storage_failed"


PASSING: Final[frozenset[Reason]] = frozenset(
    {
        Reason.RATE_LIMITED,
        Reason.SERVER_ERROR,
        Reason.MODEL_UNAVAILABLE,
        Reason.DOWNLOAD_FAILED,
        Reason.STORAGE_FAILED,
        Reason.UNAUTHORIZED,
        Reason.OUT_OF_CREDIT,
        Reason.INPUT_CHANGED,
        Reason.DEPENDENCY_FAILED,
        Reason.BUDGET,
    }
)
"""Reasons that pass: a run made again tries these without being asked. The first five are the engine's rule; the others
say that nothing was sent for reasons outside of the job, so trying again buys nothing twice."""
