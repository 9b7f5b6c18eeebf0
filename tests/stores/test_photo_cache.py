"""Photos of object stores on the local disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from fluxbatch.adapters.stores import PhotoCache
from fluxbatch.adapters.stores.bucket import Seen
from fluxbatch.testing import make_png

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

PNG = make_png(3)
TIMES = 60


async def read() -> AsyncIterator[bytes]:
    async def pieces() -> AsyncIterator[bytes]:
        yield PNG

    return pieces()


async def test_the_first_ones_do_not_sweep_each_other_away(tmp_path: Path) -> None:
    """A matter of chance, so it is tried many times; without the lock it fails each time all the same."""
    for number in range(TIMES):
        folder = tmp_path / str(number)
        await anyio.Path(folder).mkdir()
        cache = PhotoCache(folder)
        async with anyio.create_task_group() as tasks:
            for name in ("a.png", "b.png", "c.png", "d.png"):
                tasks.start_soon(cache.keep, name, Seen(len(PNG), f'"{name}"', ""), read)
        assert len([path async for path in anyio.Path(folder).rglob("*.png")]) == 4
