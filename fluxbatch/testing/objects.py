"""Photos of object stores in memory."""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from typing import TYPE_CHECKING

from blake3 import blake3

from fluxbatch.errors import PhotoChanged, PhotoError
from fluxbatch.formats import NotAnImage, inspect_image
from fluxbatch.model.job import Fit, ObjectPhoto, Photo, RemoteImage
from fluxbatch.planning.object_facts import ObjectFacts, error_among, object_flaws
from fluxbatch.policy.fitting import fitting_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["MemoryObjects"]


class MemoryObjects:
    """The ports ``ObjectIndex`` and ``ObjectSource`` on a dictionary.

    Attributes:
        asked: how often an address was looked at.
        in_use: files that were fetched and not released, by path.
    """

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.in_use: Counter[str] = Counter()
        self._objects: dict[str, bytes] = {}

    def put(self, ref: str, data: bytes) -> None:
        """Write an object, as someone else would."""
        self._objects[ref] = data

    def remove(self, ref: str) -> None:
        """Remove an object, as someone else would."""
        del self._objects[ref]

    def look(self, refs: Sequence[str]) -> Mapping[str, ObjectPhoto | None]:
        """The objects at these addresses."""
        self.asked.update(refs)
        return {ref: self._seen(ref) for ref in refs}

    async def fetch(self, image: ObjectPhoto, most_pixels: int | None = None) -> Photo | RemoteImage:
        """The object as a file that isn't there, or as a URL that nobody serves."""
        seen = self._seen(image.ref)
        if seen is None:
            raise PhotoChanged(f"{image.ref} is gone since it was checked")
        if (seen.etag, seen.size) != (image.etag, image.size):
            raise PhotoChanged(f"{image.ref} has changed since it was checked")
        if image.presign:
            return RemoteImage(f"https://store.example/{image.etag}?signature=secret")
        return self._photo(image, self._objects[image.ref], most_pixels)

    def release(self, photo: Photo) -> None:
        """It is not in use any more."""
        if self.in_use[photo.path]:
            self.in_use[photo.path] -= 1

    def _seen(self, ref: str) -> ObjectPhoto | None:
        data = self._objects.get(ref)
        return None if data is None else ObjectPhoto(ref, hashlib.sha256(data).hexdigest()[:32], len(data))

    def _photo(self, image: ObjectPhoto, data: bytes, most_pixels: int | None) -> Photo:
        try:
            found = ObjectFacts(inspect_image(io.BytesIO(data)))
        except NotAnImage as problem:
            found = ObjectFacts(None, problem)
        flaw = error_among(object_flaws(image, found))
        if flaw is not None:
            raise PhotoError(flaw.message, remedy=flaw.remedy, reason=flaw.reason)
        facts, path = found.facts, f"/objects/{image.etag}"
        assert facts is not None
        self.in_use[path] += 1
        return Photo(
            ref=image.ref,
            path=path,
            mime=facts.mime,
            size=len(data),
            mtime_ns=1,
            inode=1,
            width=facts.width,
            height=facts.height,
            digest=blake3(data).hexdigest(),
            fitting=fitting_of(facts, len(data), image.fit or Fit(), most_pixels),
        )
