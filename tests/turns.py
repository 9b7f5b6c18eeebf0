"""How much happens in one turn of the event loop."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["most_a_turn"]


async def most_a_turn(tasks: Sequence[asyncio.Task[Any]]) -> int:
    """Of tasks that are under way: how many end in the turn in which most do."""
    turn = 0
    ended: Counter[int] = Counter()

    def note(_: asyncio.Task[Any]) -> None:
        ended[turn] += 1

    for task in tasks:
        task.add_done_callback(note)
    while ended.total() < len(tasks):
        await asyncio.sleep(0)  # noqa: TID251  # turns of the loop are what is counted
        turn += 1
    return max(ended.values())
