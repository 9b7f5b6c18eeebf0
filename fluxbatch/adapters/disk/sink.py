"""The ``Sink`` port on a local folder.

An image is written to a temporary file, verified, fsynced, renamed over its name, and its folder fsynced: at any moment
there is either no output, the earlier one, or the whole new one, also after a power cut.
"""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
import shutil
from typing import TYPE_CHECKING, Final

import aiofiles.os
import anyio
import anyio.to_thread

from fluxbatch.errors import DeliveryError, StorageError
from fluxbatch.formats import NotAnImage, inspect_image
from fluxbatch.model.job import Stored
from fluxbatch.model.state import Reason
from fluxbatch.ports import Presence

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["FolderSink"]

_THREADS: Final = 8
"""commits at a time: they wait for the disk, not for the processor"""
_READ: Final = 1 << 20
_EXTENSIONS: Final = ("jpg", "png", "webp")


class FolderSink:
    """Images in a folder of the local disk.

    Args:
        root: the output folder; it is there.
        scratch: where temporary files live, on the same filesystem; made if needed, emptied by ``sweep``.

    Attributes:
        threads: bounds the commits under way.
        durable: folders below the root that are known to survive a power cut.
    """

    def __init__(self, root: Path, scratch: Path) -> None:
        self.root = root
        self.threads = anyio.CapacityLimiter(_THREADS)
        self.durable: set[Path] = set()
        self._scratch = scratch

    def sweep(self) -> None:
        """Remove what a run that died left half-landed. Only for the holder of the folder's lock; blocks."""
        shutil.rmtree(self._scratch, ignore_errors=True)
        try:
            self._scratch.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _storage_error(self._scratch, error) from error

    async def land(self) -> FileLanding:
        """Begin a landing."""
        path = self._scratch / f"{secrets.token_hex(8)}.part"
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise _storage_error(path, error) from error
        return FileLanding(self, path, fd)

    async def adopt(self, path: Path) -> FileLanding:
        """Begin a landing with the bytes of a local file, which is consumed."""
        target = self._scratch / f"{secrets.token_hex(8)}.part"
        try:
            # opened first: what fails here may be tried again
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise _storage_error(path, error) from error
        try:
            await aiofiles.os.rename(path, target)
        except BaseException as error:
            os.close(fd)
            if isinstance(error, OSError):
                raise _storage_error(path, error) from error
            raise
        return FileLanding(self, target, fd, size=os.lseek(fd, 0, os.SEEK_END))

    async def check(self, stored: Sequence[Stored]) -> list[Presence]:
        """What became of outputs since they were stored."""
        return await anyio.to_thread.run_sync(lambda: [self._presence(one) for one in stored])

    async def taken(self, filenames: Sequence[str]) -> list[str]:
        """The outputs that are there under these names."""
        names = [f"{filename}.{extension}" for filename in filenames for extension in _EXTENSIONS]
        return await anyio.to_thread.run_sync(lambda: [name for name in names if os.path.lexists(self.root / name)])

    async def room(self) -> int:
        """Free bytes for new images."""
        try:
            facts = await aiofiles.os.statvfs(self.root)
        except OSError as error:
            raise _storage_error(self.root, error) from error
        return facts.f_bavail * facts.f_frsize

    def _presence(self, stored: Stored) -> Presence:
        path = self.root / stored.file
        try:
            facts = path.stat()
            if facts.st_size != stored.bytes:
                return Presence.ALTERED
            if facts.st_mtime_ns == stored.mtime_ns:
                return Presence.SAME
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except (FileNotFoundError, NotADirectoryError):
            return Presence.MISSING
        except OSError as error:
            # a disk that can't be read says nothing about the image: what is only out of sight must not be bought again
            raise StorageError(
                f"{path} can't be read: {error.strerror or error}",
                remedy="mend the folder, then run the same command again",
            ) from error
        return Presence.SAME if digest == stored.sha256 else Presence.ALTERED


class FileLanding:
    """The ``Landing`` port on one temporary file."""

    def __init__(self, sink: FolderSink, path: Path, fd: int, *, size: int = 0) -> None:
        self.etag = ""
        self.md5 = ""
        self._root = sink.root
        self._threads = sink.threads
        self._durable = sink.durable
        self._path = path
        self._fd = fd
        self._size = size
        self._placed = False

    @property
    def size(self) -> int:
        """Bytes so far."""
        return self._size

    def write(self, piece: bytes) -> None:
        """Append."""
        view = memoryview(piece)
        try:
            while view:
                written = os.write(self._fd, view)
                self._size += written
                view = view[written:]
        except OSError as error:
            raise _storage_error(self._path, error) from error

    def restart(self) -> None:
        """Throw away what came so far."""
        self.etag = self.md5 = ""
        if not self._size:
            return
        try:
            os.ftruncate(self._fd, 0)
            os.lseek(self._fd, 0, os.SEEK_SET)
        except OSError as error:
            raise _storage_error(self._path, error) from error
        self._size = 0

    async def commit(self, filename: str) -> Stored:
        """Verify, make durable, put in place."""
        return await anyio.to_thread.run_sync(self._commit, filename, limiter=self._threads)

    async def discard(self) -> None:
        """Give up and leave nothing behind."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            if not self._placed:
                self._path.unlink(missing_ok=True)

    def _commit(self, filename: str) -> Stored:
        try:
            with os.fdopen(os.dup(self._fd), "rb") as file:
                file.seek(0)
                facts = inspect_image(file)
            size, sha256 = self._digest()
            target = self._root / f"{filename}.{facts.extension}"
            self._put(target)
            mtime_ns = target.stat().st_mtime_ns
        except NotAnImage as error:
            raise DeliveryError(
                f"what was delivered is no complete image: {error}", reason=Reason.DOWNLOAD_FAILED, corrupt=True
            ) from error
        except OSError as error:
            raise _storage_error(self._root / filename, error) from error
        file_name = target.relative_to(self._root).as_posix()
        return Stored(file_name, sha256, size, facts.width, facts.height, mtime_ns)

    def _digest(self) -> tuple[int, str]:
        sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
        size = 0
        while piece := os.pread(self._fd, _READ, size):
            sha256.update(piece)
            if self.md5:
                md5.update(piece)
            size += len(piece)
        if self.md5 and base64.b64encode(md5.digest()).decode() != self.md5:
            message = "the bytes don't match the host's checksum"
            raise DeliveryError(message, reason=Reason.DOWNLOAD_FAILED, corrupt=True)
        return size, sha256.hexdigest()

    def _put(self, target: Path) -> None:
        below = [folder for folder in target.parents if folder.is_relative_to(self._root) and folder != self._root]
        for folder in reversed(below):
            folder.mkdir(exist_ok=True)
        os.fsync(self._fd)
        if not self._placed:
            self._path.replace(target)
            self._placed = True
        _sync_folder(target.parent)
        for folder in below:
            # a folder is there after a power cut only once the one above it was synced, whoever made it
            if folder not in self._durable:
                _sync_folder(folder.parent)
                self._durable.add(folder)
        os.close(self._fd)
        self._fd = -1


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _storage_error(path: Path, error: OSError) -> StorageError:
    return StorageError(
        f"{path} can't be written: {error.strerror or error}",
        remedy="free space or mend the folder, then run the same command again",
    )
