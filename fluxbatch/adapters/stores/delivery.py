"""Finished images, copied into an object store of the user's."""

from __future__ import annotations

import hashlib
import threading
from typing import TYPE_CHECKING, Final

import anyio.from_thread

from fluxbatch.adapters.stores.faults import Conflict
from fluxbatch.adapters.stores.metadata import label_of, read_label
from fluxbatch.adapters.stores.probe import probe
from fluxbatch.errors import StorageError
from fluxbatch.ports import Delivered

if TYPE_CHECKING:
    from pathlib import Path

    from fluxbatch.adapters.stores.bucket import Bucket, Seen
    from fluxbatch.model.job import Stored

__all__ = ["StoreDestination"]

_MIME: Final = {"jpg": "image/jpeg", "png": "image/png", "webp": "image/webp"}
_LARGE: Final = 8 << 20
_LARGE_AT_ONCE: Final = 2
"""of images above ``_LARGE`` bytes: an object is sent from memory"""


class StoreDestination:
    """The ``Destination`` port on a bucket; for worker threads of anyio, whose loop does the talking.

    Args:
        bucket: where to; tried with a tiny object before the first image.
        kind: of the images, ``live`` or ``simulated``.
    """

    def __init__(self, bucket: Bucket, kind: str) -> None:
        self._bucket = bucket
        self._kind = kind
        self._tried = False
        self._trying = threading.Lock()
        self._large = threading.Semaphore(_LARGE_AT_ONCE)

    def deliver(self, source: Path, stored: Stored, *, replace: bool) -> Delivered:
        """Put a copy of an image under its own name."""
        with self._trying:
            if not self._tried:
                anyio.from_thread.run(probe, self._bucket)
                self._tried = True
        if stored.bytes <= _LARGE:
            return self._deliver(source, stored, replace=replace)
        with self._large:
            return self._deliver(source, stored, replace=replace)

    def finish(self) -> None:
        """Nothing is held."""

    def _deliver(self, source: Path, stored: Stored, *, replace: bool) -> Delivered:
        try:
            data = source.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return Delivered.MISSING
        except OSError as error:
            raise StorageError(f"{source} can't be read: {error.strerror}") from error
        if hashlib.sha256(data).hexdigest() != stored.sha256:
            return Delivered.CHANGED
        return anyio.from_thread.run(self._put, data, stored, replace)

    async def _put(self, data: bytes, stored: Stored, replace: bool) -> Delivered:  # through a thread
        seen, same = await self._look(data, stored)
        if same:
            return Delivered.THERE
        if seen is not None and not replace:
            return Delivered.IN_THE_WAY
        mime, said = _MIME[stored.file.rpartition(".")[2]], label_of(stored, self._kind, None)
        try:
            await self._bucket.put(stored.file, data, instead_of=seen, mime=mime, said=said)
        except Conflict:  # somebody else came first, or our own answer was lost
            _, same = await self._look(data, stored)
            return Delivered.COPIED if same else Delivered.IN_THE_WAY
        _, same = await self._look(data, stored)
        if not same:
            raise StorageError(f"{self._bucket.address}/{stored.file} is not what was sent")
        return Delivered.COPIED

    async def _look(self, data: bytes, stored: Stored) -> tuple[Seen | None, bool]:
        """What is under the name, and whether it is this image: by its digest, or by what it says of itself."""
        found = await self._bucket.head(stored.file)
        if found is None:
            return None, False
        if found.seen.size != stored.bytes:
            return found.seen, False
        md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
        label = read_label(stored.file, found.metadata)
        same = label is not None and label.stored.sha256 == stored.sha256
        return found.seen, same or found.seen.etag.strip('"').lower() == md5
