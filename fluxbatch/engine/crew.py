"""Tasks that end together."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self

import anyio

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from types import TracebackType

__all__ = ["Crew"]


class Crew:
    """Tasks of a loop that starts thousands: left once all are done; if it is left in an error, they are cancelled.

    A task group of anyio follows each task with half a dozen objects. Here they are plain; what must not be cut short
    is ``unbroken``. Tasks see to their own errors.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, act: Coroutine[Any, Any, None]) -> None:
        """Have one more thing done."""
        task = asyncio.get_running_loop().create_task(act)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

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
        for task in tuple(self._tasks):
            task.cancel()
        with anyio.CancelScope(shield=True):  # anyio cancels again and again, and would take all of the loop's time
            await self._end()

    async def _end(self) -> None:
        while self._tasks:
            await asyncio.wait(self._tasks)
