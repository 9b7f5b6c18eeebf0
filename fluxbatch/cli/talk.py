"""How a run talks to the person who started it: question, progress, problems, summary. All but results on stderr."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

import click

from fluxbatch.cli.ci import annotate
from fluxbatch.errors import UsageError
from fluxbatch.report.summary import count, roughly, usd
from fluxbatch.telemetry.redact import printable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import structlog

    from fluxbatch.model.problem import Problem
    from fluxbatch.model.summary import Progress
    from fluxbatch.planning.quote import Quote
    from fluxbatch.telemetry.logs import LogFormat, LogObserver

__all__ = ["Talk", "is_terminal"]

_UNASKED_USD: Final = 25.0
"""what may be spent without a terminal, a cap, or --yes"""
_FEW: Final = 40
"""images up to which each one is told of"""
_COLOURS: Final = {"error": "red", "warning": "yellow"}


class Talk:
    """Speaks for one run."""

    def __init__(
        self,
        logger: structlog.typing.FilteringBoundLogger,
        log: LogObserver,
        *,
        form: LogFormat,
        yes: bool,
        free: bool,
        max_cost: float | None,
        run_id: str,
        capped: bool = False,
    ) -> None:
        self._logger = logger
        self._log = log
        self._form = form
        self._yes = yes
        self._free = free
        self._max_cost = max_cost
        self._capped = capped or max_cost is not None
        self._run_id = run_id

    def confirm(self, quote: Quote) -> None:
        """Name the price before anything is sent, and ask where there is somebody to answer.

        Raises:
            UsageError: the answer is no, or there is nobody to ask and much to spend.
        """
        self._log.each_image = quote.make + quote.owed + quote.fetch <= _FEW
        if quote.make == 0 or self._free or self._yes:
            return
        words = _quote_words(quote)
        if is_terminal():
            if not click.confirm(f"{words}. Go ahead?", err=True):
                raise UsageError("called off, nothing was sent")
            return
        if not self._capped and (quote.usd > _UNASKED_USD or quote.unpriced):
            raise UsageError(
                f"{words}, and nobody to ask", remedy="say --yes, or set a cap with --max-cost USD; nothing was sent"
            )

    def warn(self, problems: Sequence[Problem], total: int) -> None:
        """Show what the checks found."""
        for problem in problems:
            if self._form == "json":
                self._logger.warning("check", where=str(problem.where), job_id=problem.job_id, message=problem.message)
            else:
                show_problem(problem)
        if total > len(problems):
            click.echo(f"… and {total - len(problems)} more (fluxbatch validate shows them)", err=True)
        if self._form != "json":
            annotate(problems, total)

    def waiting(self, words: str) -> None:
        """Say what is waited for."""
        self._logger.info(words)

    def started(self, out: Path | str, quote: Quote) -> None:
        """Say what is about to happen."""
        parts = [f"{count(quote.make, 'image')} to make"]
        if quote.make and not self._free:
            parts[0] += f", about {usd(quote.usd)}"
        if quote.cached:
            parts.append(f"{quote.cached} unchanged")
        if quote.owed or quote.fetch:
            parts.append(f"{quote.owed + quote.fetch} paid for and to be fetched")
        for code, number in sorted(quote.kept_failures.items()):
            parts.append(f"{number} failed before ({code}; --retry {code} tries again)")
        if self._form == "json":
            return
        if quote.edited_count:
            words = f"{count(quote.edited_count, 'edited output')} kept as it is (--retry altered makes it anew)"
            self._logger.warning(words, files=", ".join(quote.edited))
        if quote.carried_usd and self._max_cost is not None:
            left = max(0.0, self._max_cost - quote.carried_usd)
            words = f"runs before this one did not finish and spent {usd(quote.carried_usd)}"
            words += f": {usd(left)} of --max-cost {usd(self._max_cost)} are left"
            self._logger.info(words)
        self._logger.info("; ".join(parts), out=str(out), run_id=self._run_id)

    def progress(self, progress: Progress) -> None:
        """One line now and then."""
        if self._form == "json":
            self._logger.info(
                "run.progress",
                make=progress.make,
                made=progress.made,
                failed=progress.failed,
                in_flight=progress.in_flight,
                owed=progress.owed,
                spent_usd=round(progress.spent_usd, 6),
                unknown_usd=round(progress.unknown_usd, 6),
                limit=progress.limit,
                paused_s=round(max((pause.left_s for pause in progress.pauses), default=0.0), 3),
                simulated=progress.simulated,
                budget_usd=progress.budget_usd,
                budget_spent_usd=None if progress.budget_usd is None else round(progress.budget_spent_usd, 6),
                closes_s=round(progress.closes_s) if progress.closes else None,
            )
            return
        parts = [f"{progress.made} of {progress.make} made", f"{progress.in_flight} in flight"]
        if progress.owed:
            parts.append(f"{progress.owed} being fetched")
        if progress.failed:
            parts.append(f"{progress.failed} failed")
        if progress.spent_usd:
            parts.append(usd(progress.spent_usd) + (" simulated" if progress.simulated else ""))
        if progress.unknown_usd:
            parts.append(f"maybe billed {usd(progress.unknown_usd)}")
        if progress.budget_usd is not None:
            period = f"of the {usd(progress.budget_usd)} of this {progress.budget_period}"
            parts.append(f"{usd(progress.budget_spent_usd)} {period}")
        parts += [
            f"{pause.model or 'everything'} pauses for {roughly(pause.left_s)} ({pause.why})"
            for pause in progress.pauses
        ]
        self._logger.info(", ".join(parts), **({"stopping": progress.stopping} if progress.stopping else {}))


def is_terminal() -> bool:
    """Whether there is a person to ask."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def show_problem(problem: Problem) -> None:
    """One problem on stderr, coloured on a terminal."""
    text = printable(str(problem)).replace("\n", " ")
    place, _, rest = text.partition(f": {problem.level}: ")
    level = click.style(problem.level, fg=_COLOURS[problem.level], bold=True)
    click.echo(f"{place}: {level}: {rest}", err=True)


def _quote_words(quote: Quote) -> str:
    words = f"{count(quote.make, 'image')}, about {usd(quote.usd)}"
    if quote.unpriced:
        words += f" and {quote.unpriced} of unknown price"
    return words
