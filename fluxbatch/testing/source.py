"""Photos in memory."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from fluxbatch.errors import PhotoChanged, PhotoError
from fluxbatch.model.job import Photo

__all__ = ["MemorySource"]


@dataclass(slots=True)
class _File:
    data: bytes
    mtime_ns: int
    inode: int
    readable: bool = True


class MemorySource:
    """The ``Source`` port on a dictionary.

    Attributes:
        open_readers: photos opened and not closed.
    """

    def __init__(self) -> None:
        self.open_readers = 0
        self._files: dict[str, _File] = {}
        self._count = 0

    def add(self, ref: str, data: bytes) -> Photo:
        """Put a photo there and look at it, as the checks before a run do."""
        self._count += 1
        self._files[ref] = _File(data, mtime_ns=self._count, inode=self._count)
        return Photo(
            ref=ref,
            path=f"/photos/{ref}",
            mime="image/png",
            size=len(data),
            mtime_ns=self._count,
            inode=self._count,
            width=8,
            height=8,
            digest=hashlib.blake2b(data).hexdigest(),
        )

    def overwrite(self, ref: str, data: bytes) -> None:
        """Write into the file as someone else would: the same inode, another time."""
        file = self._files[ref]
        self._count += 1
        file.data, file.mtime_ns = data, self._count

    def cut(self, ref: str, size: int) -> None:
        """Cut the file short and leave its time as it was."""
        self._files[ref].data = self._files[ref].data[:size]

    def remove(self, ref: str) -> None:
        """Remove the file; who has it open keeps it."""
        del self._files[ref]

    def forbid(self, ref: str) -> None:
        """Take away the right to read it."""
        self._files[ref].readable = False

    def open(self, photo: Photo) -> _MemoryReader:
        """Open a photo that is still the one that was checked."""
        file = self._files.get(photo.ref)
        if file is None:
            raise PhotoChanged(f"{photo.ref} is gone since it was checked")
        if not file.readable:
            raise PhotoError(f"{photo.ref} can't be read: Permission denied")
        reader = _MemoryReader(self, photo, file)
        reader.verify()
        self.open_readers += 1
        return reader


class _MemoryReader:
    def __init__(self, source: MemorySource, photo: Photo, file: _File) -> None:
        self._source = source
        self._photo = photo
        self._file = file
        self._at = 0
        self._open = True

    def readinto(self, buffer: memoryview, /) -> int:
        wanted = min(len(buffer), self._photo.size - self._at)
        piece = self._file.data[self._at : self._at + wanted]
        if len(piece) < wanted:
            raise PhotoChanged(f"{self._photo.ref} has become shorter since it was checked")
        buffer[:wanted] = piece
        self._at += wanted
        return wanted

    def verify(self) -> None:
        now, seen = self._file, self._photo
        if (len(now.data), now.mtime_ns, now.inode) != (seen.size, seen.mtime_ns, seen.inode):
            raise PhotoChanged(f"{seen.ref} has changed since it was checked")

    def close(self) -> None:
        if self._open:
            self._open = False
            self._source.open_readers -= 1
