"""The ``Clock`` port on the machine's own clocks."""

from __future__ import annotations

import time

__all__ = ["SystemClock"]


class SystemClock:
    """Wall clock and monotonic clock."""

    # the functions themselves: asked two dozen times a job
    now = staticmethod(time.time)  # noqa: TID251  # here is where time comes in
    monotonic = staticmethod(time.monotonic)  # event loops go by it as well, so that waits and decisions agree
