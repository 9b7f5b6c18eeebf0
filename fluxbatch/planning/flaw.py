"""What is wrong with one job, before it is known where in the manifest that stands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fluxbatch.model.problem import Level
from fluxbatch.model.state import Reason

__all__ = ["Flaw", "Unreadable", "shown", "warning"]


@dataclass(frozen=True, slots=True)
class Flaw:
    """One thing that is wrong with a job. Attributes as in ``model.problem.Problem``."""

    field: str
    message: str
    remedy: str = ""
    level: Level = Level.ERROR
    reason: Reason = Reason.INVALID_REQUEST


def warning(field: str, message: str, remedy: str = "") -> Flaw:
    """A flaw that does not keep the job from being sent."""
    return Flaw(field, message, remedy, Level.WARNING)


def shown(value: Any) -> str:
    """A value as it may be quoted in a message: short, in one line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list | tuple):
        return "a list" if isinstance(value, list | tuple) else "a mapping"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


class Unreadable(Exception):
    """A manifest, or a row of it, that can't be read at all.

    Attributes:
        line: 1-based, 0 = the file as a whole.
        file: that it is a line of, if that is not the manifest.
    """

    def __init__(self, line: int, message: str, remedy: str = "", file: str = "") -> None:
        super().__init__(message)
        self.line = line
        self.file = file
        self.message = message
        self.remedy = remedy
