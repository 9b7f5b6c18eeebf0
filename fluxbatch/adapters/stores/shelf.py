"""What stands in a store, for the sink: listed once, asked about where a listing doesn't say enough."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import partial
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final, TypeVar

import anyio
import anyio.to_thread

from fluxbatch.adapters.stores.listing import Listing
from fluxbatch.adapters.stores.metadata import read_label
from fluxbatch.errors import unwrapped
from fluxbatch.formats import EXTENSIONS
from fluxbatch.ports import Presence

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from fluxbatch.adapters.stores.bucket import Bucket, Seen
    from fluxbatch.adapters.stores.metadata import Label
    from fluxbatch.model.job import Stored

__all__ = ["Shelf", "names_of"]

T = TypeVar("T")
R = TypeVar("R")

_AT_ONCE: Final = 16


class Shelf:
    """The objects of a bucket by name, as they were seen and as they were written since."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._listing: Listing | None = None
        self._one_at_a_time = anyio.CapacityLimiter(1)
        self._looking = anyio.Lock()

    def look_again(self) -> None:
        """Forget what was listed."""
        if self._listing is not None:
            self._listing.close()
            self._listing = None

    async def find(self, names: Sequence[str]) -> dict[str, Seen]:
        """What is there of these names.

        Raises:
            StorageError: the store can't be listed.
        """
        if not names:
            return {}
        listing = await self._look()
        return await self._in_thread(partial(listing.find, names))

    async def note(self, name: str, seen: Seen, said: Mapping[str, str]) -> None:
        """Remember an object that was written or asked about, with its metadata."""
        listing = await self._look()
        await self._in_thread(partial(listing.note, name, seen, said))

    async def forget(self, name: str) -> None:
        """Remember that an object is gone."""
        listing = await self._look()
        await self._in_thread(partial(listing.forget, name))

    async def refresh(self, name: str) -> None:
        """Ask about an object anew: much may have become of it since it was listed.

        Raises:
            StorageError: it can't be told.
        """
        found = await self._bucket.head(name)
        if found is None:
            await self.forget(name)
        else:
            await self.note(name, found.seen, found.metadata)

    async def place(self, name: str) -> tuple[Seen | None, tuple[str, str] | None]:
        """What stands under a name, and what is in its way, with what that is: ``file`` or ``folder``."""
        listing = await self._look()
        return await self._in_thread(lambda: (listing.find([name]).get(name), _obstacle(listing, name)))

    async def in_the_way(self, filenames: Sequence[str]) -> dict[str, str]:
        """What stands in the way of new outputs under these names (without extension), by name."""
        listing = await self._look()

        def look() -> dict[str, str]:
            found = {filename: _in_the_way(listing, filename) for filename in filenames}
            return {filename: obstacle for filename, obstacle in found.items() if obstacle}

        return await self._in_thread(look)

    async def presences(self, stored: Sequence[Stored]) -> list[Presence]:
        """What became of images since they were stored; those of the same size and another ETag are asked about."""
        found = await self.find([one.file for one in stored])

        async def presence(one: Stored) -> Presence:
            seen = found.get(one.file)
            if seen is None:
                return Presence.MISSING
            if one.etag and seen.etag == one.etag:
                return Presence.SAME
            if seen.size != one.bytes:
                return Presence.ALTERED
            return Presence.SAME if await self._digest(one.file) == one.sha256 else Presence.ALTERED

        return await _each(presence, stored)

    async def labels(self, names: Sequence[str]) -> list[Label]:
        """What the objects among these names tell of their images; one question for each that wasn't asked yet."""
        found = await _each(self._label, list(await self.find(names)))
        return [label for label in found if label is not None]

    async def read_digest(self, name: str) -> str:
        """The SHA-256 of an object by its bytes, hex; empty if it is gone."""
        found = await self._bucket.read(name)
        if found is None:
            return ""
        sha256 = hashlib.sha256()
        async for piece in found[1]:
            sha256.update(piece)
        return sha256.hexdigest()

    async def _digest(self, name: str) -> str:
        label = await self._label(name)
        return label.stored.sha256 if label is not None else await self.read_digest(name)

    async def _label(self, name: str) -> Label | None:
        listing = await self._look()
        said, seen = await self._in_thread(lambda: (listing.said(name), listing.find([name]).get(name)))
        if said is None or seen is None:
            found = await self._bucket.head(name)
            if found is None:
                return None
            seen, said = found.seen, dict(found.metadata)
            await self.note(name, seen, said)
        label = read_label(name, said)
        return None if label is None else replace(label, stored=replace(label.stored, etag=seen.etag))

    async def _look(self) -> Listing:
        """What is there, listed at the first call: a request a thousand."""
        async with self._looking:
            if self._listing is None:
                listing = await self._in_thread(Listing)
                try:
                    async for page in self._bucket.pages():
                        await self._in_thread(partial(listing.add, page))
                except BaseException:
                    listing.close()
                    raise
                self._listing = listing
            return self._listing

    async def _in_thread(self, function: Callable[[], R]) -> R:
        return await anyio.to_thread.run_sync(function, limiter=self._one_at_a_time)


def names_of(filename: str) -> list[str]:
    """The names that an output may have."""
    return [f"{filename}.{extension}" for extension in EXTENSIONS]


def _obstacle(listing: Listing, name: str) -> tuple[str, str] | None:
    """What would keep an object from being a file, were the store a folder: it may be copied into one some day."""
    folders = [str(folder) for folder in reversed(PurePosixPath(name).parents[:-1])]
    there = listing.find(folders)
    for folder in folders:
        if folder in there and there[folder].size:  # an empty one is how consoles make a folder
            return folder, "file"
    return (name, "folder") if listing.is_folder(name) else None


def _in_the_way(listing: Listing, filename: str) -> str:
    obstacle = _obstacle(listing, filename)
    if obstacle is not None and obstacle[1] == "file":
        return obstacle[0]
    names = names_of(filename)
    there = listing.find(names)
    return next((name for name in names if name in there or listing.is_folder(name)), "")


async def _each(ask: Callable[[T], Awaitable[R]], items: Sequence[T]) -> list[R]:
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
        raise unwrapped(group) from None
    return [answers[number] for number in range(len(items))]
