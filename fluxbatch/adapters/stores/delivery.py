"""Finished images, copied into an object store of the user's."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import TYPE_CHECKING, Final

import anyio
import anyio.to_thread

from fluxbatch.adapters.stores.probe import probe
from fluxbatch.adapters.stores.shelf import Shelf
from fluxbatch.adapters.stores.uploads import Uploads
from fluxbatch.errors import StorageError, TargetBlocked
from fluxbatch.ports import Delivered, Presence

if TYPE_CHECKING:
    from pathlib import Path

    from fluxbatch.adapters.stores.bucket import Bucket
    from fluxbatch.model.job import Stored

__all__ = ["StoreDestination"]

_READ: Final = 1 << 20


class StoreDestination:
    """The ``Destination`` port on a bucket.

    Args:
        bucket: where to; tried with a tiny object before the first image.
        kind: of the images, ``live`` or ``simulated``.
    """

    def __init__(self, bucket: Bucket, kind: str) -> None:
        self._bucket = bucket
        self._shelf = Shelf(bucket)
        self._uploads = Uploads(bucket, self._shelf, kind)
        self._tried = False
        self._trying = anyio.Lock()

    async def deliver(self, source: Path, stored: Stored, *, replace: bool) -> Delivered:
        """Put a copy of an image under its own name."""
        await self._try()
        try:
            sha256, md5 = await anyio.to_thread.run_sync(_digests, source)
        except (FileNotFoundError, NotADirectoryError):
            return Delivered.MISSING
        except OSError as error:
            raise StorageError(f"{source} can't be read: {error.strerror or error}") from error
        if sha256 != stored.sha256:
            return Delivered.CHANGED
        # the ETag that the image has in most stores: where it is there, nothing more is asked
        image = dataclasses.replace(stored, etag=f'"{md5}"')
        [presence] = await self._shelf.presences([image])
        if presence is Presence.SAME:
            return Delivered.THERE
        if presence is Presence.ALTERED and not replace:
            return Delivered.IN_THE_WAY
        try:
            await self._uploads.upload(source, image, None)
        except TargetBlocked:
            return Delivered.IN_THE_WAY
        return Delivered.COPIED

    async def _try(self) -> None:
        async with self._trying:
            if not self._tried:
                await probe(self._bucket)
                self._tried = True


def _digests(path: Path) -> tuple[str, str]:
    """SHA-256 and MD5 of a file, hex."""
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while piece := file.read(_READ):
            sha256.update(piece)
            md5.update(piece)
    return sha256.hexdigest(), md5.hexdigest()
