"""The ``Fitter`` port: photos are decoded in threads, a few at a time, and their fitted form is kept on disk."""

from __future__ import annotations

import contextlib
import os
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio
import anyio.to_thread

from fluxbatch.adapters.fitting.pixels import rendered, shrunk, write
from fluxbatch.adapters.fitting.store import FittedStore, key_of
from fluxbatch.errors import PhotoChanged, PhotoError, StorageError
from fluxbatch.formats import NotAnImage
from fluxbatch.policy.fitting import LARGEST_FILE, MEGAPIXEL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from PIL.Image import Image

    from fluxbatch.adapters.fitting.store import Fitted
    from fluxbatch.model.job import Fitting, Photo

__all__ = ["PillowFitter"]

_DECODES: Final = 2
_LOOKS: Final = 8
_LARGE: Final = 40 * MEGAPIXEL
"""pixels; of such photos one at a time"""
_QUALITY: Final = 95
_LESS_QUALITY: Final = 85
_MOST_KEPT: Final = 1 << 30
_MOST_HOPELESS: Final = 1000


class PillowFitter:
    """Fitted photos in a folder of their own, made when they are first asked for.

    Args:
        folder: for it alone; made if needed.
        max_bytes: about how much is kept there.

    Attributes:
        made: photos that were worked on.
        threads: bounds the photos that are decoded at a time.
    """

    def __init__(self, folder: Path, *, max_bytes: int = _MOST_KEPT) -> None:
        self.made = 0
        self.threads = anyio.CapacityLimiter(_DECODES)
        self._looks = anyio.CapacityLimiter(_LOOKS)
        self._folder = folder
        self._store = FittedStore(folder)
        self._max_bytes = max_bytes
        self._written = 0
        self._turns: dict[str, anyio.Lock] = {}
        self._large = anyio.Lock()
        self._hopeless: dict[str, str] = {}

    async def fit(self, photo: Photo) -> Photo:
        """The photo as it is to be sent."""
        fitting = photo.fitting
        if fitting is None:
            return photo
        key = key_of(photo.digest, fitting)
        async with self._turn(key):
            fitted = await anyio.to_thread.run_sync(self._found, photo, key, limiter=self._looks)
            if fitted is None:
                async with self._large if photo.width * photo.height > _LARGE else contextlib.nullcontext():
                    fitted = await anyio.to_thread.run_sync(self._make, photo, fitting, key, limiter=self.threads)
                self.made += 1
        return replace(photo, fitting=None, **asdict(fitted))

    def sweep(self, max_bytes: int | None = None) -> None:
        """Remove the oldest fitted photos until about so many bytes are left; never those asked for last. Blocks."""
        self._store.sweep(self._max_bytes if max_bytes is None else max_bytes)

    @asynccontextmanager
    async def _turn(self, key: str) -> AsyncIterator[None]:
        """One at a time works on the same; who comes later finds it done."""
        lock = self._turns.setdefault(key, anyio.Lock())
        try:
            async with lock:
                yield
        finally:
            if not lock.locked():
                self._turns.pop(key, None)

    def _found(self, photo: Photo, key: str) -> Fitted | None:
        try:
            _check_same(photo, os.stat(photo.path))  # noqa: PTH116  # a Path would cost more than the call
        except OSError as error:
            raise _unreadable(photo, error) from error
        if key in self._hopeless:
            raise PhotoError(f"{photo.ref}: {self._hopeless[key]}")
        return self._store.find(key)

    def _make(self, photo: Photo, fitting: Fitting, key: str) -> Fitted:
        image = self._decoded(photo, fitting, key)
        try:
            fitted = self._kept(image, fitting.mime, key)
            self._written += fitted.size
            if self._written > self._max_bytes // 4:
                self._written = 0
                self.sweep()
        except OSError as error:
            remedy = "free space or mend the folder, then run the same command again"
            raise StorageError(f"{self._folder} can't be written: {error.strerror or error}", remedy=remedy) from error
        return fitted

    def _decoded(self, photo: Photo, fitting: Fitting, key: str) -> Image:
        try:
            with Path(photo.path).open("rb") as file:
                _check_same(photo, os.fstat(file.fileno()))
                try:
                    return rendered(file, fitting)
                finally:
                    _check_same(photo, os.fstat(file.fileno()))
        except NotAnImage as problem:
            if problem.kind == "damaged" and len(self._hopeless) < _MOST_HOPELESS:
                self._hopeless[key] = problem.message
            raise PhotoError(f"{photo.ref}: {problem.message}", remedy=problem.remedy) from problem
        except OSError as error:
            raise _unreadable(photo, error) from error

    def _kept(self, image: Image, mime: str, key: str) -> Fitted:
        """On disk; if it is too large then, with less quality, and at last with fewer pixels."""
        fitted = self._put(key, image, mime, _QUALITY)
        if fitted.size > LARGEST_FILE and mime == "image/jpeg":
            fitted = self._put(key, image, mime, _LESS_QUALITY)
        if fitted.size > LARGEST_FILE:
            fitted = self._put(key, shrunk(image), mime, _QUALITY)
        return fitted

    def _put(self, key: str, image: Image, mime: str, quality: int) -> Fitted:
        return self._store.put(key, mime, image.size, lambda file: write(image, mime, quality, file))


def _check_same(photo: Photo, status: os.stat_result) -> None:
    if (status.st_size, status.st_mtime_ns, status.st_ino) != (photo.size, photo.mtime_ns, photo.inode):
        raise PhotoChanged(f"{photo.ref} has changed since it was checked")


def _unreadable(photo: Photo, error: OSError) -> PhotoError:
    if isinstance(error, FileNotFoundError):
        return PhotoChanged(f"{photo.ref} is gone since it was checked")
    return PhotoError(f"{photo.ref} can't be read: {error.strerror}")
