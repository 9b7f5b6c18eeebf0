"""Images in an object store, brought to the local disk one by one, to be looked at or handed on."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from fluxbatch.adapters.stores import PhotoCache
from fluxbatch.app.folder_state import sink_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from fluxbatch.app.folder import Paths
    from fluxbatch.model.job import Stored
    from fluxbatch.ports import Presence, Sink

__all__ = ["FarImages", "far_images"]


class FarImages:
    """The images of a folder whose images are in an object store."""

    def __init__(self, sink: Sink, photos: PhotoCache) -> None:
        self._sink, self._photos = sink, photos

    async def check(self, stored: Sequence[Stored]) -> list[Presence]:
        """For each: is it still what was stored? The store is listed once.

        Raises:
            StorageError: the store can't be listed.
        """
        return await self._sink.check(stored)

    @asynccontextmanager
    async def image(self, stored: Stored) -> AsyncIterator[Path]:
        """The image on the local disk, for a while, with the time that it was made.

        Raises:
            PhotoChanged: it is gone.
            PhotoError: what is there is no image.
            StorageError: the store can't be read.
        """
        photo = await self._sink.photo(stored)
        try:
            yield Path(photo.path)
        finally:
            self._photos.release(photo.path)


@asynccontextmanager
async def far_images(paths: Paths, *, simulated: bool, ca_file: Path | None) -> AsyncIterator[FarImages]:
    """Images of the store of ``paths``.

    Raises:
        UsageError: the store can't be opened.
    """
    # not where runs have theirs: one may be going on
    folder = Path(await anyio.to_thread.run_sync(partial(tempfile.mkdtemp, prefix="fluxbatch-")))
    photos = PhotoCache(folder, most=0)  # each is asked for once
    kind = "simulated" if simulated else "live"
    try:
        sink = await anyio.to_thread.run_sync(partial(sink_of, paths, kind=kind, ca_file=ca_file, photos=photos))
        yield FarImages(sink, photos)
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(partial(shutil.rmtree, folder, ignore_errors=True))
