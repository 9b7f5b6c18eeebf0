"""Photos in object stores: looked at once, however many jobs use them, with one question for each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import orjson

from fluxbatch.model.address import StoreAddress
from fluxbatch.model.job import ObjectPhoto
from fluxbatch.model.state import Reason
from fluxbatch.planning.flaw import Flaw
from fluxbatch.planning.photo_rules import too_heavy
from fluxbatch.policy.fitting import LARGEST_FILE, LARGEST_SOURCE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fluxbatch.model.job import Fit
    from fluxbatch.planning.scratch import Scratch
    from fluxbatch.ports import ObjectIndex

__all__ = ["ObjectBook", "object_mark", "sent_object_bytes"]

_GONE: Final = b"null"


class ObjectBook:
    """All objects of one intake, kept in the scratch.

    Args:
        scratch: keeps what was found out.
        index: asks the stores; without one, they can't be used.
    """

    def __init__(self, scratch: Scratch, index: ObjectIndex | None) -> None:
        self._scratch = scratch
        self._index = index

    def prepare(self, refs: Iterable[str]) -> None:
        """Ask about all that are about to be checked and are not known yet.

        Raises:
            UsageError: there is nothing to ask with.
            StorageError: a store can't be asked.
        """
        strange = [ref for ref in refs if _wrong(ref) is None and self._scratch.photo(ref) is None]
        if strange and self._index is not None:
            for ref, found in self._index.look(strange).items():
                self._scratch.keep_photo(ref, _GONE if found is None else orjson.dumps([found.etag, found.size]))

    def check(self, ref: str, fit: Fit | None, *, presign: bool) -> ObjectPhoto | Flaw:
        """An object that was asked about, with what is wanted done to it; or what is wrong with it."""
        wrong = _wrong(ref)
        if wrong is not None:
            return _bad(f"{ref!r} can't be used: {wrong}", "write s3://bucket/path/photo.jpg")
        kept = self._scratch.photo(ref)
        if kept is None:
            return _bad(f"{ref}: objects can't be looked at here", "download it, or give an https URL")
        if kept == _GONE:
            return _bad(f"{ref}: there is no such object", "check its name, upper and lower case too")
        etag, size = orjson.loads(kept)
        if not size:
            return _bad(f"{ref} is empty", "upload it again")
        return too_heavy(ref, size) if size > LARGEST_SOURCE else ObjectPhoto(ref, etag, size, fit, presign)


def object_mark(photo: ObjectPhoto) -> str:
    """What an object adds to a fingerprint: another ETag or size is another photo, another name is not."""
    return f"object:{photo.etag}:{photo.size}"


def sent_object_bytes(photo: ObjectPhoto) -> int:
    """Bytes that an object adds to a request, at most: larger ones are made smaller, presigned ones are a URL."""
    return 0 if photo.presign else min(photo.size, LARGEST_FILE)


def _wrong(ref: str) -> str | None:
    try:
        address = StoreAddress.parse(ref)
    except ValueError as error:
        return str(error)
    return None if address.key else "it names a bucket, and no object"


def _bad(message: str, remedy: str) -> Flaw:
    return Flaw("", message, remedy, reason=Reason.BAD_IMAGE)
