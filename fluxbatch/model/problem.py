"""A finding of the checks before a run: where, what, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from fluxbatch.model.state import Reason

__all__ = ["Level", "Problem", "Where"]


class Level(StrEnum):
    """How grave a finding is."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Where:
    """A place in a manifest: the file as the user named it, and its line (1-based; 0 = the file as a whole)."""

    file: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding, in one line: ``file:line: [id] field: message (remedy)``.

    Attributes:
        where: the place to look at.
        message: what is wrong, naming the value.
        remedy: what to write instead, or to do.
        field: the manifest's field, as ``images[2]``; empty if it is none in particular.
        job_id: the job it belongs to, where that is known.
        level: an error keeps the run from starting; a warning does not.
        reason: the error code that the job gets when invalid jobs are skipped.
    """

    where: Where
    message: str
    remedy: str = ""
    field: str = ""
    job_id: str = ""
    level: Level = Level.ERROR
    reason: Reason = Reason.INVALID_REQUEST

    def __str__(self) -> str:
        job = f"[{self.job_id}] " if self.job_id else ""
        field = f"{self.field}: " if self.field else ""
        remedy = f" ({self.remedy})" if self.remedy else ""
        return f"{self.where}: {self.level}: {job}{field}{self.message}{remedy}"
