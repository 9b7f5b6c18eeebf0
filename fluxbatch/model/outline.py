"""A plan, as it is shown: what would become of each job, and what it would cost."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Action", "PlanEntry"]


class Action(StrEnum):
    """What a run would do about a job."""

    MAKE = "make"
    """send a request"""
    FETCH = "fetch"
    """download an image that is paid for"""
    COPY = "copy"
    """copy the image of a job that got this id"""
    KEEP = "keep"
    """nothing: it is there, or has failed and stays so"""
    REFUSE = "refuse"
    """nothing: it can't be sent"""
    SKIP = "skip"
    """nothing: it is left out of this run"""


@dataclass(frozen=True, slots=True)
class PlanEntry:
    """A job of a plan.

    Attributes:
        id, manifest, model, fingerprint: of the job.
        why: for people.
        usd: of the image to make; None if nothing is made, or the price is not known.
        file: below the output folder; without extension as long as there is no image.
    """

    id: str
    action: Action
    why: str
    manifest: str
    model: str
    usd: float | None
    file: str
    fingerprint: str
