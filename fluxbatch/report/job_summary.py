"""A run on one page of Markdown, for the summary of a CI job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fluxbatch.report.case import End
from fluxbatch.report.markdown import escaped
from fluxbatch.report.summary import count, usd

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fluxbatch.model.summary import Summary
    from fluxbatch.report.case import Case

__all__ = ["JobSummary", "refusal_page"]

_ROWS: Final = 100
_MOST: Final = 128 << 10
"""bytes; GitHub takes 1 MiB for all steps of a job"""


class JobSummary:
    """Takes the jobs of a run, keeps the first hundred that failed, and writes the page."""

    def __init__(self) -> None:
        self._rows: list[str] = []
        self._size = 0
        self._hidden = 0

    def add(self, cases: Sequence[Case]) -> None:
        """Take jobs, in order."""
        for case in cases:
            if case.end is not End.FAILED and case.end is not End.HELD:
                continue
            cells = (case.record.job.id, str(case.where), case.code, case.message, case.remedy)
            row = f"| {' | '.join(escaped(cell) for cell in cells)} |"
            size = len(row.encode())
            if len(self._rows) == _ROWS or self._size + size > _MOST:
                self._hidden += 1
                continue
            self._rows.append(row)
            self._size += size

    def page(self, summary: Summary) -> str:
        """The page; ends with a line break."""
        there = "all" if summary.stored == summary.total else f"{summary.stored:,} of"
        simulated = " (simulated)" if summary.simulated else ""
        lines = [f"### fluxbatch{simulated}: {there} {count(summary.total, 'image')} there\n"]
        lines += ["| made | unchanged | failed | still to make | requests | spent | maybe billed | paid but lost |"]
        lines += ["|---:|---:|---:|---:|---:|---:|---:|---:|"]
        numbers = (summary.stored - summary.cached, summary.cached, summary.failed, summary.pending, summary.requests)
        maybe = f"{usd(summary.unknown_usd)} ({summary.unknown_charges:,})" if summary.unknown_charges else "–"
        cells = [*(f"{number:,}" for number in numbers), usd(summary.cost_usd), maybe, f"{summary.lost:,}"]
        lines += [f"| {' | '.join(cells)} |", ""]
        if summary.stop is not None and summary.stopped_early:
            lines += [f"**Stopped early** ({escaped(summary.stop_reason)}): {escaped(summary.stop.message)}\n"]
            lines += [f"{escaped(summary.stop.remedy)}\n"] if summary.stop.remedy else []
        if summary.forgiven:
            lines += [f"{escaped(summary.forgiven)}\n"]
        if self._rows:
            lines += ["| job | where | code | message | what to do |", "|---|---|---|---|---|", *self._rows, ""]
        if self._hidden:
            lines += [f"… and {self._hidden:,} more\n"]
        return "\n".join(lines) + "\n"


def refusal_page(message: str, remedy: str) -> str:
    """The page of a run that did not begin."""
    words = "\n\n".join(escaped(text) for text in (message, remedy) if text)
    return f"### fluxbatch: nothing was sent\n\n{words}\n\n"
