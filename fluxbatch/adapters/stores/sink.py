"""The ``Sink`` port on an object store.

An image is verified and made durable on the local disk first (``StoreLanding``): a store wants length and digest before
the first byte, a broken transfer can be resumed only on disk, and a store that is away for longer than a result URL
lives must not cost the image. An object appears all at once or not at all, and never in place of one that this sink
hasn't seen. Its metadata say what it is, so that a machine without a ledger can tell what is there.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from fluxbatch.adapters.digests import sha256_of
from fluxbatch.adapters.disk import FolderSink
from fluxbatch.adapters.stores.landing import StoreLanding, spool_name
from fluxbatch.adapters.stores.metadata import read_label
from fluxbatch.adapters.stores.shelf import Shelf, names_of
from fluxbatch.adapters.stores.uploads import Uploads
from fluxbatch.errors import PhotoChanged, PhotoError, StorageError, UsageError
from fluxbatch.model.job import Stored
from fluxbatch.ports import Presence

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from fluxbatch.adapters.stores.bucket import Bucket, Object, Seen
    from fluxbatch.adapters.stores.photos import PhotoCache
    from fluxbatch.model.job import Photo, PlannedJob
    from fluxbatch.ports import Clock

__all__ = ["StoreSink"]


class StoreSink:
    """Images in a bucket, below an address.

    Args:
        bucket: where they go.
        spool: a folder of the local disk for what is on its way; what is in it stays until it is uploaded.
        scratch: likewise, for what is not even verified; emptied by ``sweep``.
        photos: takes outputs that are needed as photos.
        clock: for the moment that is kept beside an image.
        kind: of the images, ``live`` or ``simulated``.
    """

    def __init__(
        self, bucket: Bucket, *, spool: Path, scratch: Path, photos: PhotoCache, clock: Clock, kind: str
    ) -> None:
        self.bucket = bucket
        self._spool = FolderSink(spool, scratch)
        self._photos = photos
        self._clock = clock
        self._kind = kind
        self._shelf = Shelf(bucket)
        self._uploads = Uploads(bucket, self._shelf, kind)

    def sweep(self) -> None:
        """Remove what a run that died left half-landed. Only for the holder of the state's lock; blocks."""
        self._spool.sweep()

    def look_again(self) -> None:
        """Forget what was seen in the store."""
        self._shelf.look_again()

    async def land(self) -> StoreLanding:
        """Begin a landing."""
        return StoreLanding(self, await self._spool.land())

    async def adopt(self, path: Path) -> StoreLanding:
        """Begin a landing with the bytes of a local file, which is consumed."""
        return StoreLanding(self, await self._spool.adopt(path))

    async def check(self, stored: Sequence[Stored]) -> list[Presence]:
        """What became of outputs since they were stored."""
        return await self._shelf.presences(stored)

    async def known(self, jobs: Sequence[PlannedJob]) -> dict[str, Stored]:
        """Outputs of these jobs that are known by what is kept beside them."""
        wanted = {name: job for job in jobs for name in names_of(job.filename)}
        found: dict[str, Stored] = {}
        for label in await self._shelf.labels(list(wanted)):
            if label.kind != self._kind:
                raise UsageError(
                    f"{self.bucket.address} holds {label.kind} images, this run is for {self._kind} ones",
                    remedy="simulated images never pass for real ones: use another place (-o)",
                )
            job = wanted[label.stored.file]
            if label.stored.fingerprint and label.is_of(job):
                found[job.id] = label.stored
        return found

    async def taken(self, filenames: Sequence[str]) -> dict[str, str]:
        """What stands in the way of new outputs under these names."""
        return await self._shelf.in_the_way(filenames) if filenames else {}

    async def landed(self, filename: str, since: float, job: PlannedJob | None = None) -> Stored | None:
        """The whole image that was put under this name since then; one that waits in the spool is uploaded first."""
        for name in names_of(filename):
            found = await self.bucket.head(name)
            stored = None if found is None else await self._as_stored(name, found)
            if stored is not None and stored.mtime_ns >= since * 1e9:
                return stored
        return await self._from_spool(filename, since, job)

    async def unrecorded(self, job: PlannedJob, since: float) -> Stored | None:
        """The image of a job that waits in the spool since then; it is uploaded now."""
        return await self._from_spool(job.filename, since, job)

    async def photo(self, stored: Stored) -> Photo:
        """An output as a reference image, as it is now, in a file of the local disk."""
        found = await self.bucket.head(stored.file)
        if found is None:
            raise PhotoChanged(f"{stored.file} is gone since it was stored")
        label = read_label(stored.file, found.metadata)
        mtime_ns = label.stored.mtime_ns if label is not None else found.seen.modified_ns
        read = partial(self._pieces, stored.file, found.seen)
        return await self._photos.keep(stored.file, found.seen, read, mtime_ns=mtime_ns)

    async def copy(self, stored: Stored, filename: str, job: PlannedJob | None = None) -> Stored:
        """Put a copy of an output under another name."""
        landing = await self._spool.land()
        try:
            await self._pour(stored, landing.write)
            spooled = await landing.commit(f"{spool_name(filename)}-copy")
        finally:
            await landing.discard()
        try:
            placed = await self.place(spooled, filename, job)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self._spool.remove(spooled)  # the image is where it was
            raise
        return replace(placed, fingerprint=stored.fingerprint, model=stored.model, seed=stored.seed)

    async def remove(self, stored: Stored) -> bool:
        """Remove an output, unless it is not what was stored."""
        await self._shelf.refresh(stored.file)
        [presence] = await self.check([stored])
        if presence is Presence.SAME:
            await self.bucket.delete(stored.file)
            await self._shelf.forget(stored.file)
        return presence is not Presence.ALTERED

    async def room(self) -> int:
        """Free bytes of the spool: a store has no end."""
        return await self._spool.room()

    async def publish(self, path: Path, name: str) -> None:
        """Put a file of ours beside the images, in place of the earlier one.

        Raises:
            StorageError: it can't be written.
        """
        await self.bucket.upload(name, path, mime="application/x-ndjson")

    async def place(self, spooled: Stored, filename: str, job: PlannedJob | None) -> Stored:
        """Upload a file of the spool, and remove it there once it has arrived.

        Raises:
            TargetBlocked: something else stands where it belongs.
            StorageError: it can't be uploaded; the file stays.
        """
        name = f"{filename}.{spooled.file.rpartition('.')[2]}"
        stored = replace(spooled, file=name, mtime_ns=int(self._clock.now() * 1e9))
        placed = await self._uploads.upload(self._spool.root / spooled.file, stored, job)
        with suppress(StorageError):  # the image is where it belongs; a file too many does no harm
            await self._spool.remove(spooled)
        return placed

    async def _from_spool(self, filename: str, since: float, job: PlannedJob | None) -> Stored | None:
        spooled = await self._spool.landed(spool_name(filename), since)
        return None if spooled is None else await self.place(spooled, filename, job)

    async def _as_stored(self, name: str, found: Object) -> Stored | None:
        """An object as an image that landed; one that is not ours is read for that. None if it is no whole image."""
        label, seen = read_label(name, found.metadata), found.seen
        if label is not None:
            return replace(label.stored, etag=seen.etag, fingerprint="", model="", seed=None)
        try:
            photo = await self._photos.keep(name, seen, partial(self._pieces, name, seen), mtime_ns=seen.modified_ns)
        except PhotoError:
            return None
        try:
            sha256 = await anyio.to_thread.run_sync(sha256_of, Path(photo.path))
        finally:
            self._photos.release(photo.path)
        return Stored(name, sha256, seen.size, photo.width, photo.height, seen.modified_ns, etag=seen.etag)

    async def _pieces(self, name: str, seen: Seen) -> AsyncIterator[bytes]:
        """The bytes of an object as it was seen."""
        there = await self.bucket.read(name)
        if there is None or there[0].seen.etag != seen.etag:
            raise PhotoChanged(f"{name} is changing while it is read")
        return there[1]

    async def _pour(self, stored: Stored, write: Callable[[bytes], None]) -> None:
        """The bytes of an output, if they are those that were stored."""
        found = await self.bucket.read(stored.file)
        if found is None:
            raise PhotoChanged(f"{stored.file} is gone since it was stored")
        sha256 = hashlib.sha256()
        async for piece in found[1]:
            sha256.update(piece)
            write(piece)
        if sha256.hexdigest() != stored.sha256:
            raise PhotoChanged(f"{stored.file} has changed since it was stored")
