"""Tasks that end together."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, Self

import anyio

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from types import TracebackType

__all__ = ["Crew"]

_FEW: Final = 64


class Crew:
    """Tasks of a loop that starts thousands: left once all are done; if it is left in an error, they are cancelled.

    A task group of anyio follows each task with half a dozen objects. Here they are plain; what must not be cut short
    is ``unbroken``. Tasks see to their own errors. Those that are done are forgotten many at a time.
    """

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[None]] = []
        self._most = _FEW

    def start(self, act: Coroutine[Any, Any, None]) -> None:
        """Have one more thing done."""
        self._tasks.append(asyncio.get_running_loop().create_task(act))
        if len(self._tasks) >= self._most:
            self._tasks = [task for task in self._tasks if not task.done()]
            self._most = max(_FEW, 2 * len(self._tasks))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            try:
                await self._end()
            except asyncio.CancelledError:
                await self._cancel()
                raise
        else:
            await self._cancel()

    async def _cancel(self) -> None:
        for task in self._tasks:
            task.cancel()
        with anyio.CancelScope(shield=True):  # anyio cancels again and again, and would take all of the loop's time
            await self._end()

    async def _end(self) -> None:
        while tasks := [task for task in self._tasks if not task.done()]:
            await asyncio.wait(tasks)
