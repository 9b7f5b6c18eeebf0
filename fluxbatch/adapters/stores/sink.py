"""The ``Sink`` port on an object store.

An image is verified and made durable on the local disk first (``StoreLanding``): a store wants length and digest before
the first byte, a broken transfer can be resumed only on disk, and a store that is away for longer than a result URL
lives must not cost the image. An object appears all at once or not at all, and never in place of one that this sink
hasn't seen. Its metadata say what it is, so that a machine without a ledger can tell what is there.

The names are listed once, at the first look: a request a thousand. What others write after that is found out when an
object is written, by If-None-Match and If-Match.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final, TypeVar

import anyio
import anyio.to_thread

from fluxbatch.adapters.disk import FolderSink
from fluxbatch.adapters.stores.faults import Conflict
from fluxbatch.adapters.stores.landing import StoreLanding
from fluxbatch.adapters.stores.listing import Listing
from fluxbatch.adapters.stores.metadata import label_of, read_label
from fluxbatch.errors import PhotoChanged, PhotoError, StorageError, TargetBlocked, UsageError
from fluxbatch.formats import EXTENSIONS
from fluxbatch.model.job import Stored
from fluxbatch.ports import Presence

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

    from fluxbatch.adapters.stores.bucket import Bucket, Object, Seen
    from fluxbatch.adapters.stores.metadata import Label
    from fluxbatch.adapters.stores.photos import PhotoCache
    from fluxbatch.model.job import Photo, PlannedJob
    from fluxbatch.ports import Clock

__all__ = ["StoreSink"]

T = TypeVar("T")
R = TypeVar("R")

_AT_ONCE: Final = 16
"""requests that only ask"""
_UPLOADS: Final = 8
_LARGE: Final = 8 << 20
_LARGE_UPLOADS: Final = 2
"""at a time, of images above ``_LARGE``: an object is sent from memory, which has to stay within bounds"""
_MIME: Final = {extension: f"image/{'jpeg' if extension == 'jpg' else extension}" for extension in EXTENSIONS}


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
        self._listing: Listing | None = None
        self._one_at_a_time = anyio.CapacityLimiter(1)
        self._looking = anyio.Lock()
        self._asking = anyio.CapacityLimiter(_AT_ONCE)
        self._uploads = anyio.CapacityLimiter(_UPLOADS)
        self._large_uploads = anyio.CapacityLimiter(_LARGE_UPLOADS)

    def sweep(self) -> None:
        """Remove what a run that died left half-landed. Only for the holder of the state's lock; blocks."""
        self._spool.sweep()

    def look_again(self) -> None:
        """Forget what was listed."""
        if self._listing is not None:
            self._listing.close()
            self._listing = None

    def spool_name(self, filename: str) -> str:
        """The name of an output's file in the spool, without extension: flat, and short enough for any disk."""
        return hashlib.sha256(filename.encode()).hexdigest()

    async def land(self) -> StoreLanding:
        """Begin a landing."""
        return StoreLanding(self, await self._spool.land())

    async def adopt(self, path: Path) -> StoreLanding:
        """Begin a landing with the bytes of a local file, which is consumed."""
        return StoreLanding(self, await self._spool.adopt(path))

    async def check(self, stored: Sequence[Stored]) -> list[Presence]:
        """What became of outputs since they were stored."""
        found = await self._find([one.file for one in stored])

        async def presence(one: Stored) -> Presence:
            seen = found.get(one.file)
            if seen is None:
                return Presence.MISSING
            if one.etag and seen.etag == one.etag:
                return Presence.SAME
            if seen.size != one.bytes:
                return Presence.ALTERED
            return Presence.SAME if await self._digest(one.file) == one.sha256 else Presence.ALTERED

        return await self._each(presence, stored)

    async def known(self, jobs: Sequence[PlannedJob]) -> dict[str, Stored]:
        """Outputs of these jobs that are known by what is kept beside them."""
        wanted = {name: job for job in jobs for name in _names(job.filename)}
        labels = await self._each(self._label, list(await self._find(list(wanted))))
        found: dict[str, Stored] = {}
        for label in labels:
            if label is None or not label.stored.fingerprint:
                continue
            job = wanted[label.stored.file]
            if label.kind != self._kind:
                raise UsageError(
                    f"{self.bucket.address} holds {label.kind} images, this run is for {self._kind} ones",
                    remedy="simulated images never pass for real ones: use another place (-o)",
                )
            if label.is_of(job):
                found[job.id] = label.stored
        return found

    async def taken(self, filenames: Sequence[str]) -> dict[str, str]:
        """What stands in the way of new outputs under these names."""
        if not filenames:
            return {}
        listing = await self._look()

        def look() -> dict[str, str]:
            found = {filename: _in_the_way(listing, filename) for filename in filenames}
            return {filename: obstacle for filename, obstacle in found.items() if obstacle}

        return await self._in_thread(look)

    async def landed(self, filename: str, since: float, job: PlannedJob | None = None) -> Stored | None:
        """The whole image that was put under this name since then; one that waits in the spool is uploaded first."""
        for extension in EXTENSIONS:
            name = f"{filename}.{extension}"
            found = await self.bucket.head(name)
            if found is None:
                continue
            stored = await self._as_stored(name, found)
            if stored is not None and stored.mtime_ns >= since * 1e9:
                return stored
        spooled = await self._spool.landed(self.spool_name(filename), since)
        if spooled is None:
            return None
        placed = await self.place(spooled, filename, job)
        return replace(placed, fingerprint="", model="", seed=None)

    async def photo(self, stored: Stored) -> Photo:
        """An output as a reference image, as it is now, in a file of the local disk."""
        found = await self.bucket.head(stored.file)
        if found is None:
            raise PhotoChanged(f"{stored.file} is gone since it was stored")
        photo = self._photos.find(stored.file, found.seen)
        if photo is not None:
            return photo
        read = await self.bucket.read(stored.file)
        if read is None:
            raise PhotoChanged(f"{stored.file} is gone since it was stored")
        label = read_label(stored.file, read[0].metadata)
        mtime_ns = label.stored.mtime_ns if label is not None else read[0].seen.modified_ns
        return await self._photos.keep(stored.file, read[0].seen, read[1], mtime_ns=mtime_ns)

    async def copy(self, stored: Stored, filename: str, job: PlannedJob | None = None) -> Stored:
        """Put a copy of an output under another name."""
        landing = await self._spool.land()
        try:
            await self._pour(stored, landing.write)
            spooled = await landing.commit(f"{self.spool_name(filename)}-copy")
        finally:
            await landing.discard()
        try:
            placed = await self.place(spooled, filename, job)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self._spool.remove(spooled)
            raise
        return replace(placed, fingerprint=stored.fingerprint, model=stored.model, seed=stored.seed)

    async def remove(self, stored: Stored) -> bool:
        """Remove an output, unless it is not what was stored."""
        [presence] = await self.check([stored])
        if presence is Presence.ALTERED:
            return False
        if presence is Presence.SAME:
            await self.bucket.delete(stored.file)
            listing = await self._look()
            await self._in_thread(lambda: listing.forget(stored.file))
        return True

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
        """Upload a file of the spool, make sure that it is there, and remove it from the spool.

        Raises:
            TargetBlocked: something else stands where it belongs.
            StorageError: it can't be uploaded; the file stays.
        """
        name = f"{filename}.{spooled.file.rpartition('.')[2]}"
        listing = await self._look()
        obstacle, seen = await self._in_thread(lambda: (_obstacle(listing, name), listing.find([name]).get(name)))
        if obstacle:
            raise self._blocked(*obstacle)
        stored = replace(spooled, file=name, mtime_ns=int(self._clock.now() * 1e9), fingerprint="", url_age_s=None)
        async with self._uploads:
            if spooled.bytes <= _LARGE:
                placed = await self._upload(spooled, stored, seen, job)
            else:
                async with self._large_uploads:
                    placed = await self._upload(spooled, stored, seen, job)
        with suppress(StorageError):  # the image is where it belongs; a file too many does no harm
            await self._spool.remove(spooled)
        return placed

    async def _upload(self, spooled: Stored, stored: Stored, seen: Seen | None, job: PlannedJob | None) -> Stored:
        path, name = self._spool.root / spooled.file, stored.file
        data, md5 = await anyio.to_thread.run_sync(_read_whole, path, stored)
        said = label_of(stored, self._kind, job)
        mime = _MIME[name.rpartition(".")[2]]
        try:
            written = await self.bucket.put(name, data, instead_of=seen, mime=mime, said=said)
        except Conflict:
            found = await self.bucket.head(name)
            if found is not None or seen is None:
                return await self._settle(stored, found)
            written = await self._anew(stored, data, mime, said)  # what was to be replaced was removed meanwhile
        if written.etag.strip('"').lower() != md5:
            await self._verify(stored, written)
        listing = await self._look()
        await self._in_thread(lambda: listing.note(name, written, said))
        return replace(stored, etag=written.etag)

    async def _anew(self, stored: Stored, data: bytes, mime: str, said: Mapping[str, str]) -> Seen:
        try:
            return await self.bucket.put(stored.file, data, instead_of=None, mime=mime, said=said)
        except Conflict:
            raise self._overtaken(stored.file) from None

    async def _settle(self, stored: Stored, found: Object | None) -> Stored:
        """Something is there that was not before: the same image, of a try whose answer was lost, or another."""
        label = None if found is None else read_label(stored.file, found.metadata)
        if found is None or label is None or label.stored.sha256 != stored.sha256:
            raise self._overtaken(stored.file)
        listing, seen, said = await self._look(), found.seen, dict(found.metadata)
        await self._in_thread(lambda: listing.note(stored.file, seen, said))
        return replace(label.stored, etag=seen.etag, fingerprint="", model="", seed=None)

    async def _verify(self, stored: Stored, written: Seen) -> None:
        """Make sure of an object whose ETag is not the digest of its bytes: encrypted ones, those of other clouds."""
        if self.bucket.checks_digests:
            found = await self.bucket.head(stored.file)
            whole = found is not None and found.seen.size == stored.bytes
        else:
            whole = await self._read_digest(stored.file) == stored.sha256
        if not whole:
            raise StorageError(
                f"{self.bucket.address}/{stored.file} is not what was sent ({written.etag})",
                remedy="see how the store is, then run the same command again",
            )

    async def _look(self) -> Listing:
        """What is there, listed at the first call."""
        async with self._looking:
            if self._listing is None:
                listing = await self._in_thread(Listing)
                try:
                    async for page in self.bucket.pages():
                        await self._in_thread(partial(listing.add, page))
                except BaseException:
                    listing.close()
                    raise
                self._listing = listing
            return self._listing

    async def _find(self, names: Sequence[str]) -> dict[str, Seen]:
        if not names:
            return {}
        listing = await self._look()
        return await self._in_thread(lambda: listing.find(names))

    async def _label(self, name: str) -> Label | None:
        """What is kept beside an object, asked for once."""
        listing = await self._look()
        said, seen = await self._in_thread(lambda: (listing.said(name), listing.find([name]).get(name)))
        if said is None or seen is None:
            found = await self.bucket.head(name)
            if found is None:
                return None
            seen, said = found.seen, dict(found.metadata)
            noted, kept = seen, said
            await self._in_thread(lambda: listing.note(name, noted, kept))
        label = read_label(name, said)
        return None if label is None else replace(label, stored=replace(label.stored, etag=seen.etag))

    async def _digest(self, name: str) -> str:
        """The SHA-256 of an object, by what is kept beside it or by its bytes; empty if it is gone."""
        label = await self._label(name)
        return label.stored.sha256 if label is not None else await self._read_digest(name)

    async def _read_digest(self, name: str) -> str:
        found = await self.bucket.read(name)
        if found is None:
            return ""
        sha256 = hashlib.sha256()
        async for piece in found[1]:
            sha256.update(piece)
        return sha256.hexdigest()

    async def _as_stored(self, name: str, found: Object) -> Stored | None:
        """An object as an image that landed; one that is not ours is read for that. None if it is no whole image."""
        label = read_label(name, found.metadata)
        if label is not None:
            return replace(label.stored, etag=found.seen.etag, fingerprint="", model="", seed=None)
        read = await self.bucket.read(name)
        if read is None:
            return None
        sha256 = hashlib.sha256()

        async def hashed() -> AsyncIterator[bytes]:
            async for piece in read[1]:
                sha256.update(piece)
                yield piece

        seen = read[0].seen
        try:
            photo = await self._photos.keep(name, seen, hashed(), mtime_ns=seen.modified_ns)
        except PhotoError:
            return None
        return Stored(name, sha256.hexdigest(), seen.size, photo.width, photo.height, seen.modified_ns, etag=seen.etag)

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

    async def _each(self, ask: Callable[[T], Awaitable[R]], items: Sequence[T]) -> list[R]:
        """Ask about each, some at a time, and answer in order."""
        answers: dict[int, R] = {}
        waiting = iter(enumerate(items))

        async def work() -> None:
            for number, item in waiting:
                answers[number] = await ask(item)

        try:
            async with anyio.create_task_group() as tasks:
                for _ in range(min(_AT_ONCE, len(items))):
                    tasks.start_soon(work)
        except BaseExceptionGroup as group:
            raise _first(group) from None
        return [answers[number] for number in range(len(items))]

    async def _in_thread(self, function: Callable[[], R]) -> R:
        return await anyio.to_thread.run_sync(function, limiter=self._one_at_a_time)

    def _overtaken(self, name: str) -> TargetBlocked:
        return TargetBlocked(
            f"{self.bucket.address}/{name} was written by somebody else since this run looked",
            remedy="move it away, or use another place (-o), then run the same command again",
        )

    def _blocked(self, name: str, what: str) -> TargetBlocked:
        return TargetBlocked(
            f"{self.bucket.address}/{name} is a {what}",
            remedy="move it away, or give the job another file name, then run the same command again",
        )


def _names(filename: str) -> list[str]:
    return [f"{filename}.{extension}" for extension in EXTENSIONS]


def _obstacle(listing: Listing, name: str) -> tuple[str, str] | None:
    """What would keep an object from being a file, were the store a folder: it may be copied into one some day."""
    folders = [str(folder) for folder in reversed(PurePosixPath(name).parents[:-1])]
    there = listing.find(folders)
    for folder in folders:
        if folder in there:
            return folder, "file"
    return (name, "folder") if listing.is_folder(name) else None


def _in_the_way(listing: Listing, filename: str) -> str:
    obstacle = _obstacle(listing, filename)
    if obstacle is not None and obstacle[1] == "file":
        return obstacle[0]
    names = _names(filename)
    there = listing.find(names)
    return next((name for name in names if name in there or listing.is_folder(name)), "")


def _read_whole(path: Path, stored: Stored) -> tuple[bytes, str]:
    """The bytes of a spooled image, still those that were verified, and their MD5."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise StorageError(f"{path} can't be read: {error.strerror}", remedy="mend the state folder") from error
    if hashlib.sha256(data).hexdigest() != stored.sha256:
        raise StorageError(f"{path} is not what was written to it", remedy="mend the disk of the state folder")
    return data, hashlib.md5(data, usedforsecurity=False).hexdigest()


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
