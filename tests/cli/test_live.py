"""The live display: what it shows, at which width, and that hostile text stays text."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fluxbatch.cli.live import layout
from fluxbatch.model.summary import Pause, Progress

HOSTILE = ("a\x1b[2J[/bold]", "[red]no\x1b[31m\u202e" + "x" * 30_000, "try again")
PROGRESS = Progress(
    make=10_000, made=1200, failed=30, in_flight=8, owed=2, spent_usd=3.6, unknown_usd=0.03, elapsed_s=60,
    stopping="finishing", stopping_s=4, limit=8, limit_why="was 16: a rate limit was met", url_age_s=12.0,
    url_life_s=600, per_minute=96, left_s=120, cap_usd=25, recent=(HOSTILE,) * 5,
)  # fmt: skip


@pytest.mark.parametrize("width", [20, 80, 200])
def test_fits_and_holds_no_escape_code(width: int) -> None:
    lines = layout(PROGRESS, width, 24)
    assert len(lines) < 24
    assert all(line.cell_len <= width - 2 for line in lines)
    assert not any(mark in line.plain for line in lines for mark in ("\x1b", "\u202e", "\n"))


def test_tells_all_that_matters_at_80_columns() -> None:
    said = "\n".join(line.plain for line in layout(PROGRESS, 80, 24))
    for words in (
        "1,200 made", "8 in flight", "2 waiting for delivery", "30 failed", "96 a minute", "limit 8 at a time",
        "was 16: a rate limit was met", "$3.63 of $25.00", "oldest URL 12 s of 600 s", "waiting for 8 answers",
        "[red]no", "try again",
    ):  # fmt: skip
        assert words in said


def test_simulated_money_is_called_that_and_pauses_are_shown() -> None:
    pauses = (Pause("", 75.0, "rate limited, for as long as the API asked"), Pause("m\x1b[2J", 3.0, "server error"))
    said = "\n".join(line.plain for line in layout(replace(PROGRESS, simulated=True, pauses=pauses), 80, 24))
    assert "$3.63 it would have cost (simulated: no money)" in said
    assert "spent" not in said
    assert "everything pauses for 1 min 15 s (rate limited, for as long as the API asked)" in said
    assert "m[2J pauses for 3 s (server error)" in said


def test_hours_and_budget_are_shown_where_there_are_any() -> None:
    assert "sends until" not in "\n".join(line.plain for line in layout(PROGRESS, 80, 24))
    told = replace(
        PROGRESS, budget_usd=900, budget_spent_usd=123.4, budget_period="month", closes="2026-11-24 06:00", closes_s=900
    )
    said = "\n".join(line.plain for line in layout(told, 80, 24))
    assert "$123.40 of the $900.00 of this month\nsends until 2026-11-24 06:00, 15 min 00 s to go" in said


def test_a_low_terminal_is_not_overrun() -> None:
    assert len(layout(PROGRESS, 80, 6)) == 5
