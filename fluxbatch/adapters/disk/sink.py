"""The ``Sink`` port on a local folder.

An image is written to a temporary file, verified, fsynced, renamed over its name, and its folder fsynced: at any moment
there is either no output, the earlier one, or the whole new one, also after a power cut.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
from dataclasses import replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

import aiofiles.os
import anyio.to_thread

from fluxbatch.adapters.digests import sha256_of
from fluxbatch.adapters.disk.faults import storage_error, unreadable
from fluxbatch.adapters.disk.folders import FolderSyncs, sync_folder
from fluxbatch.adapters.disk.landing import FileLanding
from fluxbatch.adapters.disk.pointer import PULL, points_to
from fluxbatch.adapters.hands import Hands
from fluxbatch.adapters.photo_files import photo_of
from fluxbatch.errors import PhotoChanged, PhotoError
from fluxbatch.formats import EXTENSIONS, NotAnImage, inspect_image
from fluxbatch.model.job import Fit, Stored
from fluxbatch.policy.fitting import fitting_of
from fluxbatch.ports import Presence

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fluxbatch.model.job import Photo, PlannedJob

__all__ = ["FolderSink"]

_THREADS: Final = 8
"""commits at a time: they wait for the disk, not for the processor"""
_READ: Final = 1 << 20


class FolderSink:
    """Images in a folder of the local disk.

    Args:
        root: the output folder; it is there.
        scratch: where temporary files live, on the same filesystem; made if needed, emptied by ``sweep``.

    Attributes:
        root: as given.
        hands: the threads that make files and put them in place.
        folders: makes their names durable.
        durable: folders below the root that are known to survive a power cut, not all of them.
        held: bytes of images that wait in memory for their commit.
    """

    def __init__(self, root: Path, scratch: Path) -> None:
        self.root = root
        self.hands = Hands(_THREADS, "fluxbatch-sink")
        self.folders = FolderSyncs()
        self.durable: set[Path] = set()
        self.held = 0
        self._scratch = scratch
        self._name = secrets.token_hex(8)
        self._parts = 0

    def sweep(self) -> None:
        """Remove what a run that died left half-landed. Only for the holder of the folder's lock; blocks."""
        shutil.rmtree(self._scratch, ignore_errors=True)
        try:
            self._scratch.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise storage_error(self._scratch, error) from error

    async def land(self) -> FileLanding:
        """Begin a landing."""
        return FileLanding(self)

    async def adopt(self, path: Path) -> FileLanding:
        """Begin a landing with the bytes of a local file, which is consumed."""
        target = self._scratch / f"{secrets.token_hex(8)}.part"
        try:
            # opened first: what fails here may be tried again
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise storage_error(path, error) from error
        try:
            await aiofiles.os.rename(path, target)
        except BaseException as error:
            os.close(fd)
            if isinstance(error, OSError):
                raise storage_error(path, error) from error
            raise
        return FileLanding(self, (target, fd, os.lseek(fd, 0, os.SEEK_END)))

    async def check(self, stored: Sequence[Stored]) -> list[Presence]:
        """What became of outputs since they were stored."""
        return await anyio.to_thread.run_sync(lambda: [self._presence(one) for one in stored])

    async def taken(self, filenames: Sequence[str]) -> dict[str, str]:
        """What stands in the way of new outputs under these names."""
        if not filenames:
            return {}

        def look() -> dict[str, str]:
            if not self.root.is_dir():
                return {}
            found = {filename: self._in_the_way(filename) for filename in filenames}
            return {filename: obstacle for filename, obstacle in found.items() if obstacle}

        return await anyio.to_thread.run_sync(look)

    async def known(self, jobs: Sequence[PlannedJob]) -> dict[str, Stored]:  # noqa: ARG002  # the port's signature
        """Nothing: what is known of images is in the ledger."""
        return {}

    async def landed(self, filename: str, since: float, job: PlannedJob | None = None) -> Stored | None:  # noqa: ARG002
        """The whole image that was put under this name since then."""

        def look() -> Stored | None:
            found = [self._whole(f"{filename}.{extension}", since) for extension in EXTENSIONS]
            return max((one for one in found if one is not None), key=lambda one: one.mtime_ns, default=None)

        return await anyio.to_thread.run_sync(look)

    async def unrecorded(self, job: PlannedJob, since: float) -> None:  # the port's signature
        """Nothing: an image that landed is in its place at once."""

    async def photo(self, stored: Stored) -> Photo:
        """An output as a reference image, as it is now."""
        return await anyio.to_thread.run_sync(self._photo, stored)

    async def copy(self, stored: Stored, filename: str, job: PlannedJob | None = None) -> Stored:
        """Put a copy of an output under another name."""
        landing = FileLanding(self, (*await self.hands.do(self.open_part), 0))
        try:
            await anyio.to_thread.run_sync(self._pour, stored, landing)
            placed = await landing.commit(filename, job)
        finally:
            await landing.discard()
        return replace(placed, fingerprint=stored.fingerprint, model=stored.model, seed=stored.seed)

    async def remove(self, stored: Stored) -> bool:
        """Remove an output, and folders that are empty then, unless it is not what was stored."""
        return await anyio.to_thread.run_sync(self._remove, stored)

    async def room(self) -> int:
        """Free bytes for new images."""
        try:
            facts = await aiofiles.os.statvfs(self.root)
        except OSError as error:
            raise storage_error(self.root, error) from error
        return facts.f_bavail * facts.f_frsize

    def open_part(self) -> tuple[Path, int]:
        """A new temporary file and its descriptor.

        Raises:
            StorageError: it can't be made.
        """
        self._parts += 1
        path = self._scratch / f"{self._name}-{self._parts}.part"
        try:
            return path, os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise storage_error(path, error) from error

    def _in_the_way(self, filename: str) -> str:
        if "/" in filename:
            for folder in reversed(PurePosixPath(filename).parents):
                path = self.root / folder
                if os.path.lexists(path) and not os.path.isdir(path):  # noqa: PTH112  # raises for nothing
                    return str(folder)
        # as text: a Path for each of a hundred thousand names would take longer than to look
        names = (f"{filename}.{extension}" for extension in EXTENSIONS)
        return next((name for name in names if os.path.lexists(f"{self.root}/{name}")), "")

    def _whole(self, name: str, since: float) -> Stored | None:
        path = self.root / name
        try:
            with path.open("rb") as file:
                facts, state = inspect_image(file), os.fstat(file.fileno())
                file.seek(0)
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except (OSError, NotAnImage):
            return None
        if state.st_mtime < since:
            return None
        return Stored(name, digest, state.st_size, facts.width, facts.height, state.st_mtime_ns)

    def _photo(self, stored: Stored) -> Photo:
        path = self.root / stored.file
        try:
            with path.open("rb") as file:
                state, facts = os.fstat(file.fileno()), inspect_image(file)
                photo = photo_of(stored.file, path, file, state, facts)
        except (FileNotFoundError, NotADirectoryError):
            raise PhotoChanged(f"{stored.file} is gone since it was stored") from None
        except OSError as error:
            raise PhotoError(f"{stored.file} can't be read: {error.strerror or error}") from error
        except NotAnImage as error:
            remedy = PULL if error.kind == "lfs" else ""
            raise PhotoError(f"{stored.file} can't be used: {error}", remedy=remedy) from error
        # one that the API made needs nothing; one that was edited or adopted may be anything
        return replace(photo, fitting=fitting_of(facts, photo.size, Fit()))

    def _pour(self, stored: Stored, landing: FileLanding) -> None:
        """The bytes of an output into a landing, if they are those that were stored."""
        path = self.root / stored.file
        sha256 = hashlib.sha256()
        try:
            with path.open("rb") as file:
                while piece := file.read(_READ):
                    sha256.update(piece)
                    landing.write(piece)
        except (FileNotFoundError, NotADirectoryError):
            raise PhotoChanged(f"{stored.file} is gone since it was stored") from None
        except OSError as error:
            raise unreadable(path, error) from error
        if sha256.hexdigest() != stored.sha256:
            remedy = PULL if points_to(path, landing.size, stored) else ""
            raise PhotoChanged(f"{stored.file} has changed since it was stored", remedy=remedy)

    def _remove(self, stored: Stored) -> bool:
        if self._presence(stored) is Presence.ALTERED:
            return False
        path = self.root / stored.file
        try:
            path.unlink()
            folder = path.parent
            with contextlib.suppress(OSError):  # there is more in it
                while folder != self.root:
                    folder.rmdir()
                    folder = folder.parent
            sync_folder(folder)
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError as error:
            raise storage_error(path, error) from error
        return True

    def _presence(self, stored: Stored) -> Presence:
        path = self.root / stored.file
        try:
            facts = path.stat()
            if facts.st_size == stored.bytes and facts.st_mtime_ns == stored.mtime_ns:
                return Presence.SAME
            same = facts.st_size == stored.bytes and sha256_of(path) == stored.sha256
            return Presence.SAME if same or points_to(path, facts.st_size, stored) else Presence.ALTERED
        except (FileNotFoundError, NotADirectoryError):
            return Presence.MISSING
        except OSError as error:
            # a disk that can't be read says nothing about the image: what is only out of sight must not be bought again
            raise unreadable(path, error) from error
