"""The ports ``ObjectIndex`` and ``ObjectSource``: photos that are in object stores."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import anyio.to_thread

from fluxbatch.adapters.stores.photos import NoPhoto
from fluxbatch.errors import PhotoChanged, PhotoError
from fluxbatch.model.address import StoreAddress
from fluxbatch.model.job import Fit, ObjectPhoto, RemoteImage
from fluxbatch.planning.object_facts import ObjectFacts, error_among, facts_key, object_flaws
from fluxbatch.policy.fitting import fitting_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from pathlib import Path

    from fluxbatch.adapters.stores.bucket import Bucket, Seen
    from fluxbatch.adapters.stores.photos import PhotoCache
    from fluxbatch.model.job import Photo
    from fluxbatch.ports import Memo

__all__ = ["StoreIndex", "StoreSource"]

_AT_ONCE: Final = 16
_SAME_WHEN_SENT: Final = re.compile(r"[A-Za-z0-9_.~/-]+")
_SIGNED_S: Final = 900.0
"""a request may wait for its answer for six minutes; the service fetches its images before that"""


class _Buckets:
    """Buckets, each opened at its first use."""

    def __init__(self, ca_file: Path | None) -> None:
        self._ca_file = ca_file
        self._open: dict[tuple[str, str], Bucket] = {}

    def of(self, address: StoreAddress) -> Bucket:
        """May block on the files of ``~/.aws`` for a moment."""
        place = address.scheme, address.bucket
        if place not in self._open:
            from fluxbatch.adapters.stores.opening import open_bucket

            self._open[place] = open_bucket(StoreAddress(*place, ""), ca_file=self._ca_file)
        return self._open[place]


class StoreIndex:
    """Asks stores for objects, one HEAD each, some at a time.

    Args:
        ca_file: certificates to trust beside the system's.
    """

    def __init__(self, ca_file: Path | None = None) -> None:
        self._buckets = _Buckets(ca_file)

    def look(self, refs: Sequence[str]) -> Mapping[str, ObjectPhoto | None]:
        """The objects at these addresses. Blocks."""
        addresses = {ref: StoreAddress.parse(ref) for ref in refs}
        for address in addresses.values():
            self._buckets.of(address)
        with ThreadPoolExecutor(_AT_ONCE) as threads:
            return dict(zip(addresses, threads.map(self._look, addresses, addresses.values()), strict=True))

    def _look(self, ref: str, address: StoreAddress) -> ObjectPhoto | None:
        seen = self._buckets.of(address).head_now(address.key)
        return None if seen is None else ObjectPhoto(ref, seen.etag.removeprefix("W/").strip('"'), seen.size)


class StoreSource:
    """Brings objects to the local disk, or signs URLs for them.

    Args:
        photos: where they stay while they are needed.
        ca_file: certificates to trust beside the system's.
        memo: is told what was found in them, for the plans that follow.
    """

    def __init__(self, photos: PhotoCache, ca_file: Path | None = None, memo: Memo | None = None) -> None:
        self._photos = photos
        self._buckets = _Buckets(ca_file)
        self._memo = memo

    async def fetch(self, image: ObjectPhoto, most_pixels: int | None = None) -> Photo | RemoteImage:
        """The object as a file that was judged; as a URL if it is to be presigned and that can be done."""
        address = StoreAddress.parse(image.ref)
        bucket = await anyio.to_thread.run_sync(self._buckets.of, address)
        if image.presign and _can_sign(address):
            found = await bucket.head(address.key)
            _check(image, None if found is None else found.seen)
            return RemoteImage(await bucket.sign(address.key, _SIGNED_S))
        photo, facts = await self._brought(image, bucket, address)
        return self._judged(image, facts, photo, most_pixels)

    async def _brought(
        self, image: ObjectPhoto, bucket: Bucket, address: StoreAddress
    ) -> tuple[Photo | None, ObjectFacts]:
        """The file, if it is a photo, and what it is by its bytes; remembered, if it had to be fetched for that."""
        from fluxbatch.adapters.stores.bucket import Seen

        fetched = False

        async def read() -> AsyncIterator[bytes]:
            nonlocal fetched
            found = await bucket.read(address.key)
            _check(image, None if found is None else found[0].seen)
            assert found is not None
            fetched = True
            return found[1]

        photo: Photo | None = None
        try:
            seen = Seen(image.size, image.etag)
            photo = await self._photos.keep(address.url, seen, read, fit=image.fit, ref=image.ref)
            facts = ObjectFacts(self._photos.facts(photo))
        except NoPhoto as error:
            facts = ObjectFacts(None, error.problem)
        if fetched and self._memo is not None and facts.lasts:
            await anyio.to_thread.run_sync(self._memo.put, {facts_key(image): facts.pack()})
        return photo, facts

    def _judged(self, image: ObjectPhoto, found: ObjectFacts, photo: Photo | None, most_pixels: int | None) -> Photo:
        """The photo as it is to be sent.

        Raises:
            PhotoError: it can't be sent, by the rules for local photos.
        """
        if photo is not None and found.facts is not None and most_pixels is not None:
            fitting = fitting_of(found.facts, photo.size, image.fit or Fit(), most_pixels)
            photo = replace(photo, fitting=fitting)
        flaw = error_among(object_flaws(image, found, photo))
        if flaw is None and photo is not None:
            return photo
        if photo is not None:
            self._photos.release(photo.path)
        assert flaw is not None
        raise PhotoError(flaw.message, remedy=flaw.remedy, reason=flaw.reason)

    def release(self, photo: Photo) -> None:
        """It is not in use any more."""
        self._photos.release(photo.path)


def _can_sign(address: StoreAddress) -> bool:
    """Whether a URL would be valid: obstore signs Azure's for the name as sent, Azure checks it as it is written."""
    return address.scheme != "az" or _SAME_WHEN_SENT.fullmatch(address.key) is not None


def _check(image: ObjectPhoto, seen: Seen | None) -> None:
    if seen is None:
        raise PhotoChanged(f"{image.ref} is gone since it was checked")
    if (seen.etag.removeprefix("W/").strip('"'), seen.size) != (image.etag, image.size):
        raise PhotoChanged(f"{image.ref} has changed since it was checked")
