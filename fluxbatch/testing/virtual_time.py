"""Time that passes as soon as nobody has anything to do: ten minutes of waiting take a millisecond."""

from __future__ import annotations

import asyncio
import math
import selectors
from typing import TYPE_CHECKING, Final, TypeVarTuple, Unpack

import anyio

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context

__all__ = ["EPOCH", "VirtualClock", "VirtualTimeLoop"]

Ts = TypeVarTuple("Ts")

EPOCH: Final = 1_800_000_000.0
"""the wall clock when a virtual loop starts"""
_REAL_PATIENCE_S: Final = 2.0
"""real seconds that a loop without timers waits for a socket or a thread before it calls that a deadlock"""


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to the next timer instead of waiting for it.

    With anyio: ``anyio_backend = ("asyncio", {"loop_factory": VirtualTimeLoop})``. Sockets on loopback work. Threads
    are invisible to it: time runs on while they work, so use the in-memory fakes beside it.

    Attributes:
        rounds: how often the loop has looked for something to do; what stands still must not count up.

    Raises:
        RuntimeError: from the run, when every task waits and there is no timer: nothing would ever happen.
    """

    def __init__(self) -> None:
        self._now = 0.0
        self.rounds = 0
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._now

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """As in every loop."""
        if when == math.inf:  # how some wait for ever: no timer, or time would run away
            return asyncio.TimerHandle(when, callback, args, self, context)
        return super().call_at(when, callback, *args, context=context)

    def jump(self, seconds: float) -> None:
        """Let time pass."""
        self._now += seconds


class _JumpingSelector(selectors.DefaultSelector):
    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self._loop.rounds += 1
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is not None:
            self._loop.jump(timeout)
            return ready
        ready = super().select(_REAL_PATIENCE_S)
        if not ready:
            raise RuntimeError("every task waits, and no timer is set: nothing would ever happen")
        return ready


class VirtualClock:
    """The ``Clock`` port on the running loop's time, virtual or not.

    Attributes:
        skew_s: how far the wall clock is off; may be set at any time.
    """

    def __init__(self, epoch: float = EPOCH) -> None:
        self._epoch = epoch
        self.skew_s = 0.0

    def now(self) -> float:
        """Epoch seconds."""
        return self._epoch + self.skew_s + anyio.current_time()

    def monotonic(self) -> float:
        """Seconds of the loop."""
        return anyio.current_time()
