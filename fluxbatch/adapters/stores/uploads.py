"""From a verified file on the local disk to an object that is surely there."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import anyio
import anyio.to_thread

from fluxbatch.adapters.stores.faults import Conflict
from fluxbatch.adapters.stores.metadata import label_of, read_label
from fluxbatch.errors import StorageError, TargetBlocked

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from fluxbatch.adapters.stores.bucket import Bucket, Seen
    from fluxbatch.adapters.stores.shelf import Shelf
    from fluxbatch.model.job import PlannedJob, Stored

__all__ = ["Uploads"]

_AT_ONCE: Final = 8
_LARGE: Final = 8 << 20
_LARGE_AT_ONCE: Final = 2
"""of images above ``_LARGE`` bytes: an object is sent from memory, which has to stay within bounds"""
_MIME: Final = {"jpg": "image/jpeg", "png": "image/png", "webp": "image/webp"}
_AGAIN: Final = "then run the same command again"


class Uploads:
    """Puts images into a bucket, some at a time, in place of nothing but what was seen there.

    Args:
        kind: of the images, ``live`` or ``simulated``.
    """

    def __init__(self, bucket: Bucket, shelf: Shelf, kind: str) -> None:
        self._bucket = bucket
        self._shelf = shelf
        self._kind = kind
        self._slots = anyio.CapacityLimiter(_AT_ONCE)
        self._large_slots = anyio.CapacityLimiter(_LARGE_AT_ONCE)

    async def upload(self, path: Path, stored: Stored, job: PlannedJob | None) -> Stored:
        """Upload a file as ``stored.file``. Returns what is there now.

        Raises:
            TargetBlocked: something else stands where it belongs.
            StorageError: it can't be uploaded.
        """
        name = stored.file
        seen, obstacle = await self._shelf.place(name)
        if obstacle is not None:
            raise TargetBlocked(
                f"{self._bucket.address}/{obstacle[0]} is a {obstacle[1]}",
                remedy=f"move it away, or give the job another file name, {_AGAIN}",
            )
        said = label_of(stored, self._kind, job)
        async with self._slots:
            if stored.bytes <= _LARGE:
                written = await self._put(path, stored, seen, said)
            else:
                async with self._large_slots:
                    written = await self._put(path, stored, seen, said)
        await self._shelf.note(name, written, said)
        return replace(stored, etag=written.etag)

    async def _put(self, path: Path, stored: Stored, seen: Seen | None, said: Mapping[str, str]) -> Seen:
        data, md5 = await anyio.to_thread.run_sync(_read_whole, path, stored)
        try:
            written = await self._write(stored.file, data, seen, said)
        except Conflict:
            # once more, if it is no worse than that: its answer was lost, or what was to be replaced was removed
            found = await self._bucket.head(stored.file)
            label = None if found is None else read_label(stored.file, found.metadata)
            if found is not None and (label is None or label.stored.sha256 != stored.sha256):
                raise self._overtaken(stored.file) from None
            try:
                written = await self._write(stored.file, data, None if found is None else found.seen, said)
            except Conflict:
                raise self._overtaken(stored.file) from None
        if written.etag.strip('"').lower() != md5:
            await self._verify(stored, written)
        return written

    async def _write(self, name: str, data: bytes, seen: Seen | None, said: Mapping[str, str]) -> Seen:
        mime = _MIME[name.rpartition(".")[2]]
        return await self._bucket.put(name, data, instead_of=seen, mime=mime, said=said)

    async def _verify(self, stored: Stored, written: Seen) -> None:
        """Make sure of an object whose ETag is not the digest of its bytes: encrypted ones, those of other clouds."""
        if self._bucket.checks_digests:
            found = await self._bucket.head(stored.file)
            whole = found is not None and found.seen.size == stored.bytes
        else:
            whole = await self._shelf.read_digest(stored.file) == stored.sha256
        if not whole:
            raise StorageError(
                f"{self._bucket.address}/{stored.file} is not what was sent ({written.etag})",
                remedy=f"see how the store is, {_AGAIN}",
            )

    def _overtaken(self, name: str) -> TargetBlocked:
        return TargetBlocked(
            f"{self._bucket.address}/{name} was written by somebody else since this run looked",
            remedy=f"move it away, or use another place (-o), {_AGAIN}",
        )


def _read_whole(path: Path, stored: Stored) -> tuple[bytes, str]:
    """The bytes of an image, still those that were verified, and their MD5, hex."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise StorageError(f"{path} can't be read: {error.strerror}", remedy="mend the state folder") from error
    if hashlib.sha256(data).hexdigest() != stored.sha256:
        raise StorageError(f"{path} is not what was written to it", remedy="mend the disk of the state folder")
    return data, hashlib.md5(data, usedforsecurity=False).hexdigest()
