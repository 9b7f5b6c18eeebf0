"""Taking turns: who comes second waits until the first is done."""

from __future__ import annotations

import fcntl
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import anyio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

__all__ = ["turn"]

_LOOK_S: Final = 0.2


@asynccontextmanager
async def turn(path: Path, *, waits: Callable[[], None] = lambda: None) -> AsyncIterator[None]:
    """Hold an advisory lock on a file, which is made if it isn't there; ``waits`` is called once if another has it.

    Where the filesystem knows no locks, nobody waits for anybody.

    Raises:
        OSError: the file can't be made.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        told = False
        while not _take(fd):
            if not told:
                told = True
                waits()
            await anyio.sleep(_LOOK_S)
        yield
    finally:
        os.close(fd)


def _take(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
