"""The ``Clock`` port on the machine's own clocks."""

from __future__ import annotations

import asyncio
import time

__all__ = ["SystemClock"]


class SystemClock:
    """Wall clock and event loop clock."""

    def now(self) -> float:
        """Epoch seconds."""
        return time.time()  # noqa: TID251  # here is where time comes in

    def monotonic(self) -> float:
        """Seconds of the event loop's clock, so that waits and decisions agree."""
        return asyncio.get_running_loop().time()
