"""What people say of images."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

__all__ = ["LONGEST_NAME", "LONGEST_NOTE", "Review", "Verdict"]

LONGEST_NOTE: Final = 10_000
LONGEST_NAME: Final = 200
"""characters"""


class Verdict(StrEnum):
    """What becomes of an image, as people see it."""

    APPROVED = "approved"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Review:
    """What somebody said of an image.

    Attributes:
        id: of the job.
        sha256: of the image, hex: what is said of one image says nothing of the next one of the same job.
        verdict: None takes back an earlier one.
        note: for people, empty if there is none.
        by: who says so.
        at: when, ISO 8601 with its offset.
    """

    id: str
    sha256: str
    verdict: Verdict | None
    note: str
    by: str
    at: str
