"""One run at a time in an output folder."""

from __future__ import annotations

import fcntl
import os
import time
from typing import TYPE_CHECKING, Final, Self

from fluxbatch.errors import FolderInUse, StorageError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["FolderLock"]

_LOOKS: Final = 10
_LOOK_S: Final = 0.02


class FolderLock:
    """An advisory lock on a file. It goes with its process, however that ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1

    def acquire(self) -> Self:
        """Take the lock.

        Raises:
            FolderInUse: another process has it.
            StorageError: the file can't be made.
        """
        try:
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._take()
        except BlockingIOError:
            holder = os.pread(self._fd, 32, 0).decode("ascii", "replace").strip()
            self.release()
            raise FolderInUse(
                f"{self._path.parent.parent} is in use by another run{f' (process {holder})' if holder else ''}",
                remedy="wait for it to end, or use another output folder (-o)",
            ) from None
        except OSError as error:
            self.release()
            raise StorageError(
                f"{self._path}: {error.strerror}", remedy="mend the folder, or use another (-o)"
            ) from error
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)
        return self

    def _take(self) -> None:
        """Take it, after a moment if need be: ``status`` holds it for an instant to see whether a run does."""
        for _ in range(_LOOKS):
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(_LOOK_S)  # on a thread of its own
            else:
                return
        fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def release(self) -> None:
        """Give the lock back. May be called again."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
