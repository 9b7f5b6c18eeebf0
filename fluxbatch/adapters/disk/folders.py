"""Making names durable: one fsync of a folder for all threads that want it at the same time."""

from __future__ import annotations

import errno
import os
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["FolderSyncs", "sync_folder"]


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable.

    Raises:
        OSError: it can't be.
    """
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class FolderSyncs:
    """Folders are synced in rounds: while one is under way, those who come wait for the next one, together.

    Args:
        sync: makes the names in a folder durable; blocks, raises OSError.
    """

    def __init__(self, sync: Callable[[Path], None] = sync_folder) -> None:
        self._sync = sync
        self._lock = threading.Lock()
        self._next: dict[Path, _Round] = {}
        self._current: dict[Path, _Round] = {}

    def sync(self, folder: Path) -> None:
        """Make durable what was put into a folder before. Blocks.

        Raises:
            OSError: it can't be. All of a round hear of it: the system may tell only once.
        """
        with self._lock:
            joined = self._next.get(folder)
            mine = joined or self._next.setdefault(folder, _Round())
            current = self._current.get(folder)
            awaited = joined or current
            over = None if awaited is None else awaited.end()
        if over is not None:
            over.wait()
        if joined is None:
            self._lead(folder, mine)
        elif joined.error is not None:
            raise OSError(*joined.error.args)

    def _lead(self, folder: Path, mine: _Round) -> None:
        with self._lock:
            # whoever comes from here on may have come after the fsync has begun
            self._current[folder] = self._next.pop(folder)
        try:
            self._sync(folder)
            mine.error = None
        except OSError as error:
            mine.error = error
            raise
        finally:
            with self._lock:
                del self._current[folder]
                over = mine.over
            if over is not None:
                over.set()


class _Round:
    def __init__(self) -> None:
        self.over: threading.Event | None = None
        self.error: OSError | None = OSError(errno.EIO, os.strerror(errno.EIO))

    def end(self) -> threading.Event:
        """What is waited for by those who come meanwhile: mostly nobody, and an event takes longer than all else."""
        self.over = self.over or threading.Event()
        return self.over
