"""What the live display shows: progress as lines of text. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.text import Text

from fluxbatch.report.summary import count, roughly, usd
from fluxbatch.telemetry.redact import clean

if TYPE_CHECKING:
    from fluxbatch.model.summary import Pause, Progress

__all__ = ["layout"]

_LONGEST_BAR: Final = 60
_MOST_PAUSES: Final = 3
_EDGE: Final = 2
"""columns left free, so that the echo of Ctrl-C does not break the last line"""


def layout(progress: Progress, width: int, height: int = 24) -> list[Text]:
    """Lines of at most ``width`` columns, at most ``height`` of them less one; markup and escape codes have no say."""
    lines = [
        _bar(progress, width),
        Text(_counts(progress)),
        Text(_pace(progress)),
        Text(_limit(progress)),
        Text(_money(progress)),
    ]
    if progress.budget_usd is not None:
        spent = usd(progress.budget_spent_usd)
        lines.append(Text(f"{spent} of the {usd(progress.budget_usd)} of this {progress.budget_period}"))
    if progress.closes:
        lines.append(Text(f"sends until {progress.closes}, {roughly(progress.closes_s)} to go"))
    lines += [Text(_pause(pause), style="yellow") for pause in progress.pauses[:_MOST_PAUSES]]
    if progress.stopping:
        lines.append(Text(_stopping(progress), style="yellow"))
        lines.append(Text(f"  {clean(progress.stopping)}", style="yellow"))
    for job_id, message, remedy in progress.recent:
        lines.append(Text.assemble((f"✗ {clean(job_id, limit=40)}: ", "red"), clean(message, limit=width)))
        lines.append(Text(f"  → {remedy}", style="dim"))
    lines = lines[: max(1, height - 1)]
    for line in lines:
        line.truncate(max(1, width - _EDGE), overflow="ellipsis")
    return lines


def _bar(progress: Progress, width: int) -> Text:
    total, done = max(1, progress.make), progress.made + progress.failed
    room = max(4, min(_LONGEST_BAR, width - 24))
    made = min(room, room * progress.made // total)
    failed = min(room - made, -(-room * progress.failed // total))
    return Text.assemble(
        ("━" * made, "green"),
        ("━" * failed, "red"),
        ("─" * (room - made - failed), "dim"),
        f" {100 * done // total}% of {progress.make:,}",
    )


def _counts(progress: Progress) -> str:
    return (
        f"{progress.made:,} made · {progress.in_flight} in flight · {progress.owed} waiting for delivery · "
        f"{progress.failed:,} failed"
    )


def _pace(progress: Progress) -> str:
    parts = [f"{progress.per_minute:.0f} a minute"]
    if progress.left_s is not None:
        parts.append(f"{roughly(progress.left_s)} left")
    return " · ".join(parts)


def _limit(progress: Progress) -> str:
    why = f" ({progress.limit_why})" if progress.limit_why else ""
    return f"limit {progress.limit} at a time{why}"


def _money(progress: Progress) -> str:
    spent = progress.carried_usd + progress.spent_usd + progress.unknown_usd
    words = usd(spent) + (f" of {usd(progress.cap_usd)}" if progress.cap_usd is not None else " spent, no cap")
    if progress.simulated:
        words = f"{usd(spent)} it would have cost (simulated: no money)"
    if progress.unknown_usd:
        words += f" ({usd(progress.unknown_usd)} maybe billed)"
    if progress.url_age_s is not None:
        words += f" · oldest URL {progress.url_age_s:.0f} s of {progress.url_life_s:.0f} s"
    return words


def _pause(pause: Pause) -> str:
    what = clean(pause.model, limit=40) if pause.model else "everything"
    return f"{what} pauses for {roughly(pause.left_s)} ({clean(pause.why)})"


def _stopping(progress: Progress) -> str:
    waits = f"{count(progress.in_flight, 'answer')} and {count(progress.owed, 'image')} to be fetched"
    return f"stopping: waiting for {waits}, {progress.stopping_s:.0f} s so far"
