"""Workflow commands of GitHub Actions: problems at the line of the manifest that they are about."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

from fluxbatch.model.problem import Level
from fluxbatch.report.case import End
from fluxbatch.telemetry.redact import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fluxbatch.model.problem import Problem, Where
    from fluxbatch.model.summary import Summary
    from fluxbatch.report.case import Case

__all__ = ["Annotations", "Mark", "command"]

Mark = Literal["error", "warning", "notice"]

_MOST: Final = 10
"""of a level in one step: GitHub shows no more"""
_LONGEST: Final = 2000


def command(mark: Mark, message: str, *, file: str = "", line: int = 0, title: str = "") -> str:
    """One command, on one line, whatever its parts hold."""
    places = {"file": file, "line": str(line) if file and line else "", "title": title}
    said = ",".join(f"{name}={_property(value)}" for name, value in places.items() if value)
    return f"::{mark}{' ' if said else ''}{said}::{_data(message)}"


def _data(text: str) -> str:
    text = printable(text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…")
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


@dataclass(slots=True)
class Annotations:
    """Says what went wrong, the first ten of a kind.

    Attributes:
        say: takes a line for the log.
        path_of: the path of a file as the repository knows it; empty if it is not in there.
    """

    say: Callable[[str], None]
    path_of: Callable[[str], str]
    _kept: dict[Mark, list[str]] = field(default_factory=dict)
    _more: dict[Mark, int] = field(default_factory=dict)

    def problems(self, problems: Sequence[Problem], total: int) -> None:
        """Take findings of the checks, of ``total``."""
        for problem in problems:
            name = f"{problem.field}: " if problem.field else ""
            mark: Mark = "error" if problem.level is Level.ERROR else "warning"
            text = f"{name}{problem.message}\n{problem.remedy}".strip()
            self._add(mark, text, problem.where, problem.job_id)
        if total > len(problems) and problems:
            mark = "error" if problems[-1].level is Level.ERROR else "warning"
            self._more[mark] = self._more.get(mark, 0) + total - len(problems)

    def jobs(self, cases: Sequence[Case], *, forgiven: bool) -> None:
        """Take what came of jobs; where the run passes all the same, nothing of it is an error."""
        for case in cases:
            if case.end is End.FAILED or case.end is End.HELD:
                mark: Mark = "warning" if forgiven else "error"
                self._add(mark, f"{case.code}: {case.message}\n{case.remedy}", case.where, case.record.job.id)

    def run(self, summary: Summary) -> None:
        """Take what became of the run as a whole."""
        if summary.stop is not None and summary.stopped_early:
            mark: Mark = "warning" if summary.forgiven else "error"
            words = f"stopped early with {summary.pending} still to make: {summary.stop.message}"
            self._add(mark, f"{words}\n{summary.stop.remedy}".strip(), None, f"fluxbatch: {summary.stop_reason}")

    def complain(self, message: str) -> None:
        """Take what keeps a run from starting."""
        self._add("error", message, None, "fluxbatch")

    def flush(self) -> None:
        """Say them."""
        for mark, lines in self._kept.items():
            more = self._more.get(mark, 0)
            if more and len(lines) == _MOST:
                lines.pop()
                more += 1
            for line in lines:
                self.say(line)
            if more:
                self.say(command(mark, f"… and {more:,} more", title="fluxbatch"))
        self._kept.clear()
        self._more.clear()

    def _add(self, mark: Mark, message: str, where: Where | None, title: str) -> None:
        kept = self._kept.setdefault(mark, [])
        if len(kept) == _MOST:
            self._more[mark] = self._more.get(mark, 0) + 1
            return
        file = self.path_of(where.file) if where is not None else ""
        kept.append(command(mark, message, file=file, line=0 if where is None else where.line, title=title))
