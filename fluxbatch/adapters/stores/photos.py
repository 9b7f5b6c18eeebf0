"""Objects as photos: brought to the local disk while they are needed, to be checked, fitted and sent as files.

A request body needs its length before the first byte, and a broken one is sent again: streamed from a store, each would
cost a download more.
"""

from __future__ import annotations

import os
import secrets
import shutil
import threading
from collections import Counter, OrderedDict
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

import anyio
import anyio.to_thread
from blake3 import blake3

from fluxbatch.adapters.photo_files import photo_of
from fluxbatch.errors import PhotoError, StorageError
from fluxbatch.formats import NotAnImage, inspect_image
from fluxbatch.model.job import Fit, Photo
from fluxbatch.policy.fitting import DECODABLE, fitting_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from typing import BinaryIO

    from fluxbatch.adapters.stores.bucket import Seen
    from fluxbatch.formats import ImageFacts
    from fluxbatch.ports import Decoder

__all__ = ["NoPhoto", "PhotoCache"]

_MOST: Final = 1 << 30
"""bytes that stay on the disk beside those in use"""
_MOST_BAD: Final = 1000


class NoPhoto(PhotoError):
    """What came is no image that can be used.

    Attributes:
        problem: what is wrong with its bytes.
    """

    def __init__(self, name: str, problem: NotAnImage) -> None:
        super().__init__(f"{name} can't be used: {problem}", remedy=problem.remedy)
        self.problem = problem


@dataclass(slots=True)
class _Kept:
    photo: Photo
    facts: ImageFacts


class PhotoCache:
    """Files of objects on the local disk, by name and ETag. Holds what is in use, and the latest others up to a bound.

    Args:
        folder: made if needed, emptied at the first use.
        decoder: looks into files of kinds that the API doesn't take.
        most: bytes that may stay.
    """

    def __init__(self, folder: Path, decoder: Decoder | None = None, *, most: int = _MOST) -> None:
        self._folder = folder.absolute()  # as in the photos that it gives
        self._decoder = decoder
        self._most = most
        self._kept: OrderedDict[Path, _Kept] = OrderedDict()
        self._bad: dict[Path, NotAnImage] = {}
        self._users: Counter[Path] = Counter()
        self._coming: WeakValueDictionary[Path, anyio.Lock] = WeakValueDictionary()
        self._swept = False
        self._sweeping = threading.Lock()

    def find(self, name: str, seen: Seen, *, fit: Fit | None = None, ref: str = "") -> Photo | None:
        """The photo of an object that is here already, in use from now on."""
        path = self._path(name, seen)
        kept = self._kept.get(path)
        if kept is None:
            return None
        self._kept.move_to_end(path)
        self._users[path] += 1
        return _as_asked(kept, fit, ref)

    async def keep(
        self,
        name: str,
        seen: Seen,
        read: Callable[[], Awaitable[AsyncIterator[bytes]]],
        *,
        mtime_ns: int = 0,
        fit: Fit | None = None,
        ref: str = "",
    ) -> Photo:
        """Bring an object here, in use from now on.

        Args:
            name: of the object, with what tells it from those of other places.
            seen: as which it is read.
            read: gives its bytes; called if it isn't here, by one of all those who ask for it at the same time.
            mtime_ns: the time that its file gets.
            fit: what the user wants done to it; None: as it is an image of the API.
            ref: how the user calls it; by default its name.

        Raises:
            NoPhoto: it is no image that can be used; it is not read again to find that out.
            PhotoError, StorageError: as ``read`` raises them; the latter also if it can't be kept.
        """
        path = self._path(name, seen)
        lock = self._coming.setdefault(path, anyio.Lock())
        async with lock:
            found = self.find(name, seen, fit=fit, ref=ref)
            if found is not None:
                return found
            if path in self._bad:
                raise NoPhoto(ref or name, self._bad[path])
            try:
                part = await self._write(path, await read())
                kept = await anyio.to_thread.run_sync(self._look, part, path, name, mtime_ns or seen.modified_ns)
            except NotAnImage as problem:
                if len(self._bad) < _MOST_BAD:
                    self._bad[path] = problem
                raise NoPhoto(ref or name, problem) from problem
            except OSError as error:
                raise StorageError(
                    f"{path} can't be written: {error.strerror or error}",
                    remedy="free space or mend the state folder, then run the same command again",
                ) from error
            self._kept[path] = kept
            self._users[path] += 1
            await anyio.to_thread.run_sync(self._shrink)
            return _as_asked(kept, fit, ref)

    def facts(self, photo: Photo) -> ImageFacts:
        """What the bytes of a photo say that is in use."""
        return self._kept[Path(photo.path)].facts

    def release(self, path: str) -> None:
        """A photo is not in use any more, by one of those who asked for it."""
        known = Path(path)
        if self._users[known] > 0:
            self._users[known] -= 1

    def clear(self) -> None:
        """Remove all files, in use or not, if any came. Blocks."""
        if self._swept:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _path(self, name: str, seen: Seen) -> Path:
        key = blake3(f"{name}\0{seen.etag}\0{seen.size}\0{seen.version}".encode()).hexdigest(12)
        # a key in a bucket may be longer than any path
        return self._folder / key / PurePosixPath(name if "://" not in name else name.rpartition("/")[2][-80:])

    async def _write(self, path: Path, pieces: AsyncIterator[bytes]) -> Path:
        part = path.with_name(f"{secrets.token_hex(8)}.part")
        file = await anyio.to_thread.run_sync(self._open, part)
        try:
            async for piece in pieces:
                await anyio.to_thread.run_sync(file.write, piece)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(file.close)
        return part

    def _open(self, path: Path) -> BinaryIO:
        with self._sweeping:  # or one who comes second would find his file swept away
            if not self._swept:
                self._swept = True
                shutil.rmtree(self._folder, ignore_errors=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("wb")

    def _look(self, part: Path, path: Path, name: str, mtime_ns: int) -> _Kept:
        os.utime(part, ns=(mtime_ns, mtime_ns))
        part.replace(path)
        with path.open("rb") as file:
            state = os.fstat(file.fileno())
            try:
                facts = self._facts(path, file)
            except NotAnImage:
                path.unlink()
                raise
            return _Kept(photo_of(name, path, file, state, facts), facts)

    def _facts(self, path: Path, file: BinaryIO) -> ImageFacts:
        try:
            return inspect_image(file)
        except NotAnImage as problem:
            if self._decoder is None or problem.kind not in DECODABLE:
                raise
            return self._decoder.measure(str(path))

    def _shrink(self) -> None:
        """Remove the files that were not used for longest, as far as there are too many bytes."""
        total = sum(kept.photo.size for kept in self._kept.values())
        for path in [path for path in self._kept if not self._users[path]]:
            if total <= self._most:
                return
            total -= self._kept.pop(path).photo.size
            path.unlink(missing_ok=True)


def _as_asked(kept: _Kept, fit: Fit | None, ref: str) -> Photo:
    return replace(kept.photo, ref=ref or kept.photo.ref, fitting=fitting_of(kept.facts, kept.photo.size, fit or Fit()))
