"""Photos in object stores: looked at once, however many jobs use them, with one question for each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import orjson

from fluxbatch.model.address import StoreAddress
from fluxbatch.model.job import ObjectPhoto
from fluxbatch.model.problem import Level
from fluxbatch.model.state import Reason
from fluxbatch.planning.flaw import Flaw
from fluxbatch.planning.object_facts import ObjectFacts, facts_key, object_flaws
from fluxbatch.planning.photo_rules import too_heavy
from fluxbatch.policy.fitting import LARGEST_FILE, LARGEST_SOURCE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fluxbatch.model.job import Fit
    from fluxbatch.planning.scratch import Scratch
    from fluxbatch.ports import Memo, ObjectIndex

__all__ = ["ObjectBook", "object_mark", "sent_object_bytes"]

_GONE: Final = b"null"


@dataclass(frozen=True, slots=True)
class _Entry:
    """An object as it was looked at: what was found in it earlier, and whether its warnings were told."""

    etag: str
    size: int
    known: str = ""
    told: bool = False


class ObjectBook:
    """All objects of one intake, kept in the scratch.

    Args:
        scratch: keeps what was found out.
        index: asks the stores; without one, they can't be used.
        memo: remembers what was found in those that were fetched once.
    """

    def __init__(self, scratch: Scratch, index: ObjectIndex | None, memo: Memo | None = None) -> None:
        self._scratch = scratch
        self._index = index
        self._memo = memo

    def prepare(self, refs: Iterable[str]) -> None:
        """Ask about all that are about to be checked and are not known yet.

        Raises:
            UsageError: there is nothing to ask with.
            StorageError: a store can't be asked.
        """
        strange = [ref for ref in refs if _wrong(ref) is None and self._scratch.photo(ref) is None]
        if not strange or self._index is None:
            return
        there = self._index.look(strange)
        keys = {ref: facts_key(found) for ref, found in there.items() if found is not None}
        known = self._memo.get(sorted(keys.values())) if self._memo is not None else {}
        for ref, found in there.items():
            entry = None if found is None else _Entry(found.etag, found.size, known.get(keys[ref], b"").decode())
            self._scratch.keep_photo(ref, orjson.dumps(entry))

    def check(self, ref: str, fit: Fit | None, *, presign: bool) -> tuple[ObjectPhoto | None, Sequence[Flaw]]:
        """An object that was asked about, with what is wanted done to it, and what is wrong with it.

        It is None if it can't be used. Its pixels are judged if it was fetched before, and is to be sent as bytes. A
        warning that was told already is left out.
        """
        wrong = _wrong(ref)
        if wrong is not None:
            return _bad(f"{ref!r} can't be used: {wrong}", "write s3://bucket/path/photo.jpg")
        kept = self._scratch.photo(ref)
        if kept is None:
            return _bad(f"{ref}: objects can't be looked at here", "download it, or give an https URL")
        if kept == _GONE:
            return _bad(f"{ref}: there is no such object", "check its name, upper and lower case too")
        entry = _Entry(**orjson.loads(kept))
        if not entry.size:
            return _bad(f"{ref} is empty", "upload it again")
        if entry.size > LARGEST_SOURCE:
            return None, (too_heavy(ref, entry.size),)
        image = ObjectPhoto(ref, entry.etag, entry.size, fit, presign)
        return image, () if presign or not entry.known else self._judged(image, entry)

    def _judged(self, image: ObjectPhoto, entry: _Entry) -> Sequence[Flaw]:
        flaws = object_flaws(image, ObjectFacts.unpack(entry.known.encode()))
        if entry.told:
            return [flaw for flaw in flaws if flaw.level is Level.ERROR]
        if flaws:
            self._scratch.keep_photo(image.ref, orjson.dumps(replace(entry, told=True)))
        return flaws


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


def _bad(message: str, remedy: str) -> tuple[None, Sequence[Flaw]]:
    return None, (Flaw("", message, remedy, reason=Reason.BAD_IMAGE),)
