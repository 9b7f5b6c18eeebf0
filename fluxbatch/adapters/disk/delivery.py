"""Finished images, copied to a folder of the user's."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import secrets
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio.to_thread

from fluxbatch.adapters.digests import sha256_of
from fluxbatch.adapters.disk.faults import storage_error, unreadable
from fluxbatch.adapters.disk.folders import sync_folder
from fluxbatch.ports import Delivered

if TYPE_CHECKING:
    from pathlib import Path

    from fluxbatch.model.job import Stored

__all__ = ["FolderDestination"]

_READ: Final = 1 << 20
_PREFIX: Final = ".fluxbatch-"
_SUFFIX: Final = ".part"
_NO_LINKS: Final = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})


class FolderDestination:
    """The ``Destination`` port on a local folder, made if need be.

    Copies, not second names of the same files: what somebody does to a delivered image must not change the one that the
    ledger knows.

    Args:
        root: the folder.

    Raises:
        StorageError: it can't be made or written.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        try:
            root.mkdir(parents=True, exist_ok=True)
            self._sweep()
        except OSError as error:
            raise storage_error(root, error) from error

    async def deliver(self, source: Path, stored: Stored, *, replace: bool) -> Delivered:
        """Put a copy of an image under its own name."""
        return await anyio.to_thread.run_sync(partial(self._deliver, source, stored, replace=replace))

    def _deliver(self, source: Path, stored: Stored, *, replace: bool) -> Delivered:
        target = self.root / stored.file
        try:
            if os.path.lexists(target):
                if _is(target, stored):
                    return Delivered.THERE
                if not replace or not (target.is_file() or target.is_symlink()):
                    return Delivered.IN_THE_WAY
            target.parent.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            return Delivered.IN_THE_WAY
        except OSError as error:
            raise storage_error(target, error) from error
        return self._copy(source, target, stored, replace=replace)

    def _copy(self, source: Path, target: Path, stored: Stored, *, replace: bool) -> Delivered:
        part = self.root / f"{_PREFIX}{secrets.token_hex(8)}{_SUFFIX}"
        try:
            fd = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise storage_error(part, error) from error
        try:
            with contextlib.suppress(OSError):
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)  # tells others that somebody is at it
            if (found := _pour(source, fd, stored, part)) is not None:
                return found
            os.fsync(fd)
            return self._place(part, target, stored, replace=replace)
        except OSError as error:
            raise storage_error(target, error) from error
        finally:
            os.close(fd)
            part.unlink(missing_ok=True)

    def _place(self, part: Path, target: Path, stored: Stored, *, replace: bool) -> Delivered:
        if replace:
            part.replace(target)
        else:
            try:
                os.link(part, target)  # unlike a rename, it takes nobody's place
            except FileExistsError:
                return Delivered.THERE if _is(target, stored) else Delivered.IN_THE_WAY
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                part.replace(target)
        for folder in target.parents:
            sync_folder(folder)
            if folder == self.root:
                break
        return Delivered.COPIED

    def _sweep(self) -> None:
        """Remove what an export that died left behind: what nobody holds."""
        for part in self.root.glob(f"{_PREFIX}*{_SUFFIX}"):
            with contextlib.suppress(OSError), part.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                part.unlink()


def _pour(source: Path, fd: int, stored: Stored, part: Path) -> Delivered | None:
    """Copy the bytes; what became of it, if they are not what was stored."""
    digest = hashlib.sha256()
    try:
        file = source.open("rb")
    except (FileNotFoundError, NotADirectoryError):
        return Delivered.MISSING
    except OSError as error:
        raise unreadable(source, error) from error
    with file:
        while True:
            try:
                piece = file.read(_READ)
            except OSError as error:
                raise unreadable(source, error) from error
            if not piece:
                break
            digest.update(piece)
            view = memoryview(piece)
            try:
                while view:
                    view = view[os.write(fd, view) :]
            except OSError as error:
                raise storage_error(part, error) from error
    return None if digest.hexdigest() == stored.sha256 else Delivered.CHANGED


def _is(path: Path, stored: Stored) -> bool:
    """Whether a file is an image, byte for byte."""
    if path.is_symlink() or not path.is_file() or path.stat().st_size != stored.bytes:
        return False
    return sha256_of(path) == stored.sha256
