"""What a caller lets pass: some jobs that failed, and some reasons to stop early."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Container

__all__ = ["FORGIVABLE", "forgive"]

FORGIVABLE: Final = (
    "window",
    "budget",
    "runtime",
    "failures",
    "canary",
    "outage",
    "rate_limited",
    "model_unavailable",
    "out_of_credit",
)
"""stop reasons that may be what one meant; a bad key or a full disk never is"""
_FLOAT_ERROR: Final = 1e-9


def forgive(
    exit_code: int, *, stop_reason: str, there: int, failed: int, total: int, share: float | None, ok_if: Container[str]
) -> tuple[int, str]:
    """The exit code with leniency, and in words why it is another one, empty if it is not.

    A signal, a defect and any reason to stop that was not named stay what they are.

    Args:
        exit_code: without leniency: 0, 1, 3, or that of a signal or a defect.
        stop_reason: of the run, empty if it went through.
        there: images that are there, as they are asked for now.
        failed: jobs that failed or are held.
        total: jobs of the run.
        share: of the jobs, so much has to be there. Of a run that stopped for a reason in ``ok_if``, those count that
            came to an end.
        ok_if: stop reasons to let pass.
    """
    code, reasons, asked = exit_code, [], total
    if code == 3 and stop_reason in ok_if:
        code, asked = int(failed > 0), there + failed
        reasons.append(f"{stop_reason} is let pass (--ok-if)")
    if code == 1 and share is not None and there + _FLOAT_ERROR >= share * asked:
        code = 0
        reasons.append(f"{there:,} of {asked:,} are there, and {share * 100:g}% is enough (--fail-under)")
    return (code, "; ".join(reasons)) if code != exit_code else (exit_code, "")
