"""Calls that must not hold a run up, nor end it."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

import anyio.to_thread

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["in_thread", "tell"]

T = TypeVar("T")


async def in_thread(function: Callable[[], T]) -> T:
    """Run what blocks; a signal doesn't wait for it."""
    return await anyio.to_thread.run_sync(function, abandon_on_cancel=True)


def tell(hook: Callable[..., None], *facts: object) -> None:
    """Tell the caller; one that can't listen any more (a closed pipe, a full disk) must not end a run."""
    with suppress(Exception):
        hook(*facts)
