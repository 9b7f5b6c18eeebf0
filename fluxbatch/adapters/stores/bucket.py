"""One bucket, reached through obstore: typed, bounded in time, its errors told in our words.

obstore works on threads of its own: nothing here blocks the event loop.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from fluxbatch.adapters.stores.faults import Conflict, is_about_bucket, is_unsupported, storage_error
from fluxbatch.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from pathlib import Path

    from obstore import ObjectMeta
    from obstore.store import AzureStore, GCSStore, S3Store

    from fluxbatch.model.address import StoreAddress

__all__ = ["Bucket", "Object", "Seen"]

_PIECE: Final = 1 << 20
_PART: Final = 8 << 20


@dataclass(frozen=True, slots=True)
class Seen:
    """An object as it was seen.

    Attributes:
        size: bytes.
        etag: as the store gave it; another one means that it was written since.
        version: of stores that count generations; empty elsewhere.
        modified_ns: epoch nanoseconds by the store's clock; 0 if it did not say.
    """

    size: int
    etag: str
    version: str = ""
    modified_ns: int = 0


@dataclass(frozen=True, slots=True)
class Object:
    """An object and what is kept beside it."""

    seen: Seen
    metadata: Mapping[str, str]


class Bucket:
    """Objects below an address; their names are relative to it.

    Attributes:
        address: of all of them.
        creates, updates: whether the store holds to If-None-Match and If-Match. Where it doesn't, an object is looked
            at right before it is written, which leaves a moment for somebody else.
        bare_etags: the store wants the ETag in If-Match without its quotes (Ceph does).
        checks_digests: the store refuses bytes that are not those that were signed for (the S3 protocol).
    """

    def __init__(self, address: StoreAddress, store: S3Store | GCSStore | AzureStore) -> None:
        import obstore

        self.address = address
        self.creates = True
        self.updates = True
        self.bare_etags = False
        self.checks_digests = address.scheme in {"s3", "oss"}
        self._counts_generations = address.scheme == "gs"  # which a listing doesn't tell
        self._obstore = obstore
        self._store = store
        self._errors = (obstore.exceptions.BaseError, OSError, ValueError)

    def learn(self, other: Bucket) -> None:
        """Take over what was found out with another client of the same place."""
        self.creates, self.updates, self.bare_etags = other.creates, other.updates, other.bare_etags

    async def put(self, name: str, data: bytes, *, instead_of: Seen | None, mime: str, said: Mapping[str, str]) -> Seen:
        """Write an object all at once, in place of what was seen there (nothing: None).

        Raises:
            Conflict: something else is there by now; nothing was written.
            StorageError: it can't be written.
        """
        mode = await self._mode(name, instead_of)
        exceptions = self._obstore.exceptions
        try:
            result = await self._obstore.put_async(
                self._store, name, data, mode=mode, use_multipart=False, attributes={"Content-Type": mime, **said}
            )
        except (exceptions.AlreadyExistsError, exceptions.PreconditionError):
            raise Conflict(name) from None
        except self._errors as error:
            if instead_of is not None and _is_missing(error):
                raise Conflict(name) from None  # what was to be replaced is gone
            raise storage_error(self.address, error, doing="written") from error
        return Seen(len(data), result["e_tag"] or "", result["version"] or "")

    async def attempt(self, name: str, data: bytes, *, instead_of: Seen | None) -> Seen | None:
        """Write an object that nobody needs, to find out what the store holds to; None if it wasn't written.

        Raises:
            StorageError: the store is in trouble.
        """
        try:
            return await self.put(name, data, instead_of=instead_of, mime="text/plain", said={})
        except Conflict:
            return None
        except StorageError as error:
            if is_unsupported(error):
                return None
            raise

    async def upload(self, name: str, path: Path, *, mime: str) -> None:
        """Write a file of ours, of any length, whatever is there.

        Raises:
            StorageError: it can't be written.
        """
        try:
            await self._obstore.put_async(
                self._store, name, path, attributes={"Content-Type": mime}, chunk_size=_PART, max_concurrency=2
            )
        except self._errors as error:
            raise storage_error(self.address, error, doing="written") from error

    async def head(self, name: str) -> Object | None:
        """An object and what is kept beside it; None if there is none.

        Raises:
            StorageError: it can't be told.
        """
        try:
            result = await self._obstore.get_async(self._store, name, options={"head": True})
        except self._errors as error:
            if _is_missing(error):
                return None
            raise storage_error(self.address, error, doing="read") from error
        return Object(_seen(result.meta), result.attributes)

    def head_now(self, name: str) -> Seen | None:
        """An object, None if there is none. Blocks.

        Raises:
            StorageError: it can't be told.
        """
        try:
            return _seen(self._obstore.head(self._store, name))
        except self._errors as error:
            if _is_missing(error):
                return None
            raise storage_error(self.address, error, doing="read") from error

    async def read(self, name: str) -> tuple[Object, AsyncIterator[bytes]] | None:
        """An object and its bytes, piece by piece; None if there is none.

        Raises:
            StorageError: it can't be read; also from the iterator.
        """
        try:
            result = await self._obstore.get_async(self._store, name)
        except self._errors as error:
            if _is_missing(error):
                return None
            raise storage_error(self.address, error, doing="read") from error

        async def pieces() -> AsyncIterator[bytes]:
            try:
                async for piece in result.stream(min_chunk_size=_PIECE):
                    yield bytes(piece)
            except self._errors as error:
                raise storage_error(self.address, error, doing="read") from error

        return Object(_seen(result.meta), result.attributes), pieces()

    async def pages(self) -> AsyncIterator[Sequence[tuple[str, Seen]]]:
        """All objects by name, a thousand at a time.

        Raises:
            StorageError: they can't be listed.
        """
        try:
            async for page in self._obstore.list(self._store, chunk_size=1000):
                yield [(meta["path"], _seen(meta)) for meta in page]
        except self._errors as error:
            raise storage_error(self.address, error, doing="listed") from error

    async def delete(self, name: str) -> None:
        """Remove an object; it may be gone already.

        Raises:
            StorageError: it can't be removed.
        """
        try:
            await self._obstore.delete_async(self._store, name)
        except self._errors as error:
            if not _is_missing(error):
                raise storage_error(self.address, error, doing="written") from error

    async def sign(self, name: str, seconds: float) -> str:
        """A URL that anyone may read the object by, for so long. It is a secret.

        Raises:
            StorageError: there is nothing to sign it with.
        """
        try:
            return await self._obstore.sign_async(self._store, "GET", name, timedelta(seconds=seconds))
        except self._errors as error:
            raise storage_error(self.address, error, doing="signed for") from error

    async def _mode(self, name: str, instead_of: Seen | None) -> Any:
        """How to write, in obstore's words, so that nothing but what was seen is replaced.

        Raises:
            Conflict: it is something else by now.
        """
        if instead_of is None and self.creates:
            return "create"
        if instead_of is not None and self.updates and (instead_of.version or not self._counts_generations):
            return self._version(instead_of)
        found = await self.head(name)
        if (found and found.seen.etag) != (instead_of and instead_of.etag):
            raise Conflict(name)
        return self._version(found.seen) if found is not None and self.updates else "overwrite"

    def _version(self, seen: Seen) -> dict[str, str]:
        etag = seen.etag.strip('"') if self.bare_etags else seen.etag
        return {"e_tag": etag} | ({"version": seen.version} if seen.version else {})


def _seen(meta: ObjectMeta) -> Seen:
    modified_ns = int(meta["last_modified"].timestamp() * 1e9)
    return Seen(meta["size"], meta["e_tag"] or "", meta["version"] or "", modified_ns)


def _is_missing(error: Exception) -> bool:
    return isinstance(error, FileNotFoundError) and not is_about_bucket(error)
