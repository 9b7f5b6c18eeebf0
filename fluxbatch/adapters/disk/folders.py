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
        if joined is not None:
            joined.over.wait()
            if joined.error is not None:
                raise OSError(*joined.error.args)
            return
        if current is not None:
            current.over.wait()
        self._lead(folder, mine)

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
            mine.over.set()


class _Round:
    def __init__(self) -> None:
        self.over = threading.Event()
        self.error: OSError | None = OSError(errno.EIO, os.strerror(errno.EIO))
