"""What is let pass, and what never is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxbatch.policy.leniency import forgive

ALL = frozenset({"window", "budget", "unauthorized", "interrupted"})


def code(exit_code: int, *, reason: str = "", there: int = 0, failed: int = 0, total: int = 100, **more: object) -> int:
    share, ok_if = more.get("share"), more.get("ok_if", frozenset())
    assert share is None or isinstance(share, float)
    assert isinstance(ok_if, frozenset)
    found, why = forgive(
        exit_code, stop_reason=reason, there=there, failed=failed, total=total, share=share, ok_if=ok_if
    )
    assert bool(why) is (found != exit_code)
    return found


@given(st.sampled_from([0, 70, 75, 129, 130, 143]), st.sampled_from(sorted(ALL)), st.integers(0, 100))
def test_signals_and_defects_stay_what_they_are(exit_code: int, reason: str, there: int) -> None:
    assert code(exit_code, reason=reason, there=there, share=0.0, ok_if=ALL) == exit_code


def test_a_share_forgives_failures_and_no_stop() -> None:
    assert code(1, there=95, failed=5, share=0.95) == 0
    assert code(1, there=94, failed=6, share=0.95) == 1
    assert code(3, reason="outage", there=99, share=0.5) == 3
    assert code(1, there=0, failed=100, share=0.0) == 0


@pytest.mark.parametrize(("failed", "share", "expected"), [(0, None, 0), (1, None, 1), (1, 0.9, 0), (1, 0.95, 1)])
def test_of_a_stop_that_is_let_pass_what_ended_counts(failed: int, share: float | None, expected: int) -> None:
    assert code(3, reason="window", there=10, failed=failed, ok_if=ALL, share=share) == expected


@given(st.integers(1, 10_000), st.integers(0, 100))
def test_a_share_of_whole_numbers_is_met_exactly(total: int, percent: int) -> None:
    least = -(-total * percent // 100)
    assert code(1, there=least, total=total, share=percent / 100) == 0
    if least:
        assert code(1, there=least - 1, total=total, share=percent / 100) == 1
