"""Time."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Clock"]


class Clock(Protocol):
    """Time. The only way to it, so that tests can turn it."""

    def now(self) -> float:
        """Epoch seconds by the wall clock: for deadlines that outlive the process."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back: for durations, pauses and backoff."""
        ...
