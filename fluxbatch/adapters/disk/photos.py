"""The ``Source`` port on local files."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from fluxbatch.errors import PhotoChanged, PhotoError

if TYPE_CHECKING:
    from fluxbatch.model.job import Photo

__all__ = ["FileSource"]


class FileSource:
    """Photos on a local or mounted disk."""

    def open(self, photo: Photo) -> _OpenPhoto:
        """Open a photo that is still the one that was checked."""
        try:
            fd = os.open(photo.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise PhotoChanged(f"{photo.ref} is gone since it was checked") from None
        except OSError as error:
            raise PhotoError(f"{photo.ref} can't be read: {error.strerror}") from error
        reader = _OpenPhoto(photo, fd)
        try:
            reader.verify()
        except BaseException:
            reader.close()
            raise
        return reader


class _OpenPhoto:
    def __init__(self, photo: Photo, fd: int) -> None:
        self._photo = photo
        self._fd = fd
        self._left = photo.size

    def readinto(self, buffer: memoryview, /) -> int:
        wanted = min(len(buffer), self._left)
        done = 0
        while done < wanted:
            try:
                n = os.readv(self._fd, [buffer[done:wanted]])
            except OSError as error:
                raise PhotoError(f"{self._photo.ref} can't be read: {error.strerror}") from error
            if n == 0:
                raise PhotoChanged(f"{self._photo.ref} has become shorter since it was checked")
            done += n
        self._left -= done
        return done

    def verify(self) -> None:
        now = os.fstat(self._fd)
        seen = self._photo
        if (now.st_size, now.st_mtime_ns, now.st_ino) != (seen.size, seen.mtime_ns, seen.inode):
            raise PhotoChanged(f"{seen.ref} has changed since it was checked")

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
