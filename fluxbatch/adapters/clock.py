"""The ``Clock`` port on the machine's own clocks."""

from __future__ import annotations

import time

__all__ = ["SystemClock"]


class SystemClock:
    """Wall clock and monotonic clock."""

    def now(self) -> float:
        """Epoch seconds."""
        return time.time()  # noqa: TID251  # here is where time comes in

    def monotonic(self) -> float:
        """Seconds of the clock that event loops go by as well, so that waits and decisions agree."""
        return time.monotonic()
