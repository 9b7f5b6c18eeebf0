"""A time limit that every sign of life moves on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Self

import anyio

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Patience"]

_LATE_S: Final = 0.05
"""that a timer may be late by without being a sign of a busy or sleeping machine"""


class Patience:
    """Cancels what is done within it once nothing has happened for too long.

    A deadline of a cancel scope sets a timer each time it is moved, several times a request; this one looks at its
    deadline when the timer is due.

    Args:
        seconds: from now, as long as it isn't moved.
    """

    def __init__(self, seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._scope = anyio.CancelScope()
        self._until = self._loop.time() + seconds
        self._timer = self._loop.call_at(self._until, self._look)

    @property
    def ran_out(self) -> bool:
        """Whether what was done has been cancelled for that."""
        return self._scope.cancelled_caught

    def last(self, seconds: float) -> None:
        """Let it last so long from now."""
        self._until = self._loop.time() + seconds
        if self._until < self._timer.when():
            self._timer.cancel()
            self._timer = self._loop.call_at(self._until, self._look)

    def last_at_least(self, seconds: float) -> None:
        """Let it last so long from now, if that is longer than it would."""
        self._until = max(self._until, self._loop.time() + seconds)

    def __enter__(self) -> Self:
        self._scope.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self._timer.cancel()
        return self._scope.__exit__(kind, error, trace)

    def _look(self) -> None:
        now = self._loop.time()
        late_s = now - self._timer.when()
        if now < self._until:
            self._timer = self._loop.call_at(self._until, self._look)
        elif late_s > _LATE_S:  # it is us who were away: what has come meanwhile is read first
            self._timer = self._loop.call_later(late_s, self._look)
        else:
            self._scope.cancel()
