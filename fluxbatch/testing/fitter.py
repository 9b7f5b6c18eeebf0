"""Photos made fit in memory: images of the right kind and size, of one colour."""

from __future__ import annotations

import hashlib
import io
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import anyio
from anyio.lowlevel import checkpoint

from fluxbatch.errors import PhotoError, StorageError
from fluxbatch.formats import NotAnImage, inspect_image
from fluxbatch.testing.images import make_jpeg, make_png

if TYPE_CHECKING:
    from fluxbatch.model.job import Fitting, Photo
    from fluxbatch.testing.source import MemorySource

__all__ = ["MemoryFitter"]


class MemoryFitter:
    """The ``Fitter`` port on a dictionary.

    Args:
        source: where the photos are.

    Attributes:
        files: bytes of the fitted photos by path.
        made: photos that were worked on.
        full: there is no room for more.
    """

    def __init__(self, source: MemorySource) -> None:
        self.files: dict[str, bytes] = {}
        self.made = 0
        self.full = False
        self._source = source
        self._kept: dict[str, Photo] = {}
        self._turn = anyio.Lock()

    async def fit(self, photo: Photo) -> Photo:
        """The photo as it is to be sent."""
        fitting = photo.fitting
        if fitting is None:
            return photo
        async with self._turn:
            data = self._read(photo)
            path = _path(photo.digest, fitting)
            kept = self._kept.get(path)
            if kept is None or len(self.files.get(path, b"")) != kept.size:
                await checkpoint()
                kept = self._make(photo, fitting, path, data)
        return replace(kept, ref=photo.ref)

    def _read(self, photo: Photo) -> bytes:
        reader = self._source.open(photo)
        try:
            buffer = memoryview(bytearray(photo.size))
            reader.readinto(buffer)
            reader.verify()
        finally:
            reader.close()
        return bytes(buffer)

    def _make(self, photo: Photo, fitting: Fitting, path: str, data: bytes) -> Photo:
        try:
            inspect_image(io.BytesIO(data))
        except NotAnImage as problem:
            raise PhotoError(f"{photo.ref}: {problem.message}") from problem
        if self.full:
            raise StorageError("the memory is said to be full")
        make = make_png if fitting.mime == "image/png" else make_jpeg
        colour = int.from_bytes(hashlib.blake2b(data, digest_size=3).digest(), "big")
        self.files[path] = made = make(colour, width=fitting.crop_width, height=fitting.crop_height)
        self.made += 1
        self._kept[path] = replace(
            photo,
            path=path,
            mime=fitting.mime,
            size=len(made),
            mtime_ns=self.made,
            inode=self.made,
            width=fitting.crop_width,
            height=fitting.crop_height,
            fitting=None,
        )
        return self._kept[path]


def _path(digest: str, fitting: Fitting) -> str:
    recipe = {name: value for name, value in asdict(fitting).items() if name != "why"}
    return f"/fitted/{hashlib.blake2b(repr([digest, recipe]).encode(), digest_size=16).hexdigest()}"
