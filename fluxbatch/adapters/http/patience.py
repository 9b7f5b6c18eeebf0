"""A time limit that every sign of life moves on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Patience"]

_LATE_S: Final = 0.05
"""that a timer may be late by without being a sign of a busy or sleeping machine"""


class Patience:
    """Cancels what is done within it once nothing has happened for too long.

    Like ``asyncio.timeout``, but moving its deadline sets no timer, several times a request: it looks at the deadline
    when the timer is due.

    Args:
        seconds: from now, as long as it isn't moved.

    Attributes:
        ran_out: what was done has been cancelled for that.
    """

    def __init__(self, seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._cancelled_before = task.cancelling()
        self._has_cancelled = False
        self.ran_out = False
        self._until = self._due = self._loop.time() + seconds
        self._timer = self._loop.call_at(self._due, self._look)

    def last(self, seconds: float) -> None:
        """Let it last so long from now."""
        self._until = self._loop.time() + seconds
        if self._until < self._due:
            self._timer.cancel()
            self._look_at(self._until)

    def last_at_least(self, seconds: float) -> None:
        """Let it last so long from now, if that is longer than it would."""
        self._until = max(self._until, self._loop.time() + seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self._timer.cancel()
        if not self._has_cancelled:
            return False
        # others may have cancelled it, too: then it stays so
        self.ran_out = self._task.uncancel() <= self._cancelled_before and kind is asyncio.CancelledError
        return self.ran_out

    def _look(self) -> None:
        now = self._loop.time()
        late_s = now - self._due
        if now < self._until:
            self._look_at(self._until)
        elif late_s > _LATE_S:  # it is us who were away: what has come meanwhile is read first
            self._look_at(now + late_s)
        else:
            self._has_cancelled = True
            self._task.cancel()

    def _look_at(self, moment: float) -> None:
        # the timer itself can't be asked for it: one that uvloop makes for less than half a millisecond doesn't know
        self._due = moment
        self._timer = self._loop.call_at(moment, self._look)
