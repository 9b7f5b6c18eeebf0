"""Seeing things through: what a thread does can't be taken back, and what money was spent on is written down."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

import anyio

if TYPE_CHECKING:
    from collections.abc import Coroutine

__all__ = ["Uncut", "unbroken"]

T = TypeVar("T")


class Uncut(asyncio.Future[T]):
    """A future that is not cancelled with whoever waits for it: ``unbroken`` waits for it without any shield."""

    def cancel(self, msg: Any | None = None) -> bool:  # noqa: ARG002  # asyncio's signature
        """It can't be."""
        return False


async def unbroken(act: Coroutine[Any, Any, T] | Uncut[T]) -> T:
    """Wait for something to its end. Whoever is cancelled meanwhile is so at the next await after it."""
    inner = act if isinstance(act, Uncut) else asyncio.ensure_future(act)
    try:
        return await (inner if isinstance(inner, Uncut) else asyncio.shield(inner))
    except asyncio.CancelledError as cancelled:
        if inner.cancelled():
            raise
        with anyio.CancelScope(shield=True):  # anyio cancels again and again, and would take all of the loop's time
            while not inner.done():
                with suppress(asyncio.CancelledError):
                    await asyncio.wait([inner])
        task = asyncio.current_task()
        assert task is not None
        task.uncancel()  # it is the same one, and counts once
        task.cancel(*cancelled.args)  # whoever has cancelled knows it by its words
    return inner.result()
