"""The end of a run, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fluxbatch.model.flags import Flag
from fluxbatch.model.state import Reason
from fluxbatch.policy.deadlines import URL_LIFE_S
from fluxbatch.policy.remedies import REMEDY

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from fluxbatch.model.summary import Summary

__all__ = ["count", "failure_lines", "flag_lines", "roughly", "summary_lines", "usd"]

_FLAG_WORDS: Final[Mapping[str, str]] = {
    Flag.SIZE: "of another size than asked for",
    Flag.BLANK: "blank",
    Flag.SAME_AS_INPUT: "the same as an input",
    Flag.SAME_AS_OUTPUT: "the same as another image",
}


def summary_lines(summary: Summary, out: Path | str, *, command: str = "") -> list[str]:
    """What a person wants to know: made, unchanged, failed and why, spent, how close it was, where the files are.

    ``command``: what was run, so that remedies which are options can be copied as a whole.
    """
    made = summary.stored - summary.cached
    parts = [f"{made} made", f"{summary.cached} unchanged"]
    if summary.failed:
        parts.append(f"{summary.failed} failed")
    if summary.pending:
        parts.append(f"{summary.pending} still to make")
    lines = [f"{count(summary.total, 'image')}: {', '.join(parts)} ({_duration(summary.wall_s)})"]
    lines += failure_lines(summary.failures, command=command)
    lines += flag_lines(summary.flags)
    lines.append(_spend(summary))
    if summary.url_age_max_s is not None:
        share = f"oldest URL {summary.url_age_max_s:.1f} s of {URL_LIFE_S:.0f} s"
        lines.append(f"fetched in time: {share}, median {summary.url_age_p50_s or 0.0:.1f} s")
    if summary.refused:
        lines.append(_limits(summary))
    if summary.stop is not None and summary.stopped_early:
        # the message of a signal is about what follows it
        words = summary.stop.reason.replace("_", " ") if summary.exit_code > 100 else summary.stop.message
        before = f" (before that: {summary.stop.before})" if summary.stop.before else ""
        lines.append(f"stopped early: {words}{before}")
        if summary.stop.remedy:
            lines.append(f"  {summary.stop.remedy}")
    if summary.rescue:
        lines.append(f"the ledger can't be written; what it lacks is kept for the next run in {summary.rescue}")
    if summary.forgiven:
        lines.append(f"exit code {summary.exit_code}: {summary.forgiven}")
    lines.append(f"images: {out}")
    return lines


def failure_lines(failures: Mapping[str, int], *, command: str = "") -> list[str]:
    """Failed jobs by error code, most first, each with its remedy."""
    by_number = sorted(failures.items(), key=lambda item: (-item[1], item[0]))
    return [f"  {number} × {code}: {_remedy(code, command)}" for code, number in by_number]


def flag_lines(flags: Mapping[str, int]) -> list[str]:
    """Images by what is odd about them, if any is, and where to look."""
    parts = [f"{flags[flag]} {words}" for flag, words in _FLAG_WORDS.items() if flags.get(flag)]
    return [f'worth a look: {", ".join(parts)} (fluxbatch report, or "flags" in results.jsonl)'] if parts else []


def _remedy(code: str, command: str) -> str:
    words, option, reason = REMEDY[Reason(code)].partition("--retry ")
    return f"{words}{command} {option}{reason}" if option and command else f"{words}{option}{reason}"


def count(number: int, noun: str) -> str:
    """``1 image``, ``2 images``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def usd(amount: float) -> str:
    """An amount for people: cents, or as many digits as it takes below them."""
    if amount and amount < 0.01:
        return f"${amount:.4f}"
    cents = abs(amount * 100 - round(amount * 100)) < 0.01
    return f"${amount:,.2f}" if cents else f"${amount:,.3f}"


def roughly(seconds: float) -> str:
    """A time that is only estimated: ``12 s``, ``2 min 05 s``, ``1 h 30 min``."""
    return f"{max(1, round(seconds))} s" if seconds < 60 else _duration(seconds)


def _limits(summary: Summary) -> str:
    line = f"rate limits: {count(summary.refused, 'request')} refused"
    # what was found over all models only says something where no single one does
    models = {model: limit for model, limit in summary.limits.items() if model} or summary.limits
    found = [f"{limit} at a time{f' for {model}' if model else ''}" for model, limit in models.items()]
    return f"{line}; found to work: {', '.join(found)}" if found else line


def _spend(summary: Summary) -> str:
    if not summary.requests and not summary.unknown_charges:
        line = "nothing was sent"
    else:
        verb = "it would have cost" if summary.simulated else "spent"
        line = f"{verb}: {usd(summary.cost_usd)} for {count(summary.charged, 'image')}"
        line += f", {count(summary.requests, 'request')}"
    if summary.unknown_charges:
        line += f"; maybe billed: {usd(summary.unknown_usd)} for {count(summary.unknown_charges, 'request')}"
    if summary.lost:
        line += f"; paid but lost: {summary.lost}"
    return f"{line} (simulated: no money, no model)" if summary.simulated else line


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
