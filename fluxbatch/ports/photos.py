"""Photos on their way to an API: where they come from, and what makes them fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fluxbatch.formats import ImageFacts
    from fluxbatch.model.job import ObjectPhoto, Photo, RemoteImage

__all__ = ["Decoder", "Fitter", "ObjectIndex", "ObjectSource", "PhotoReader", "Source"]


class PhotoReader(Protocol):
    """An open photo. Holds one file descriptor, no bytes."""

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill ``buffer`` with the next bytes; 0 at the end. Brief, may block on the local disk.

        Raises:
            PhotoChanged: the file is shorter than it was when checked.
        """
        ...

    def verify(self) -> None:
        """Ask once more whether the open file is still the one that was checked.

        Raises:
            PhotoChanged: it is not.
        """
        ...

    def close(self) -> None:
        """Release the file. May be called again."""
        ...


class Source(Protocol):
    """Where local photos come from."""

    def open(self, photo: Photo) -> PhotoReader:
        """Open a photo for sending. Brief.

        Raises:
            PhotoChanged: it is gone, or size, time or inode differ from ``photo``.
            PhotoError: it can't be read.
        """
        ...


class ObjectIndex(Protocol):
    """Knows which photos there are in object stores."""

    def look(self, refs: Sequence[str]) -> Mapping[str, ObjectPhoto | None]:
        """The objects at these addresses, None where there is none. One question each; blocks.

        Raises:
            UsageError: there is nothing to ask with.
            StorageError: a store can't be asked.
        """
        ...


class ObjectSource(Protocol):
    """Where photos come from that are in object stores."""

    async def fetch(self, image: ObjectPhoto, most_pixels: int | None = None) -> Photo | RemoteImage:
        """The object as a local file, or as a URL that dies if it is to be presigned; in use until it is released.

        A file was judged by its bytes as local photos are; ``most_pixels``: it is to be made smaller than that besides.

        Raises:
            PhotoChanged: it is gone, or has another ETag or size than when it was checked.
            PhotoError: it is no image that can be used; the message names its address.
            StorageError: the store can't be read, or there is no room for it here.
        """
        ...

    def release(self, photo: Photo) -> None:
        """A file is not in use any more, by one of those who got it. One that came from elsewhere is none of ours."""
        ...


class Decoder(Protocol):
    """Looks into image files of kinds that the API doesn't take, but that can be made into ones that it does."""

    def measure(self, path: str) -> ImageFacts:
        """The facts of a whole image file of any kind that can be decoded. Blocks; decodes no pixels.

        Raises:
            NotAnImage: it can't be decoded; the message says what is missing for it, if anything is.
            OSError: it can't be read.
        """
        ...


class Fitter(Protocol):
    """Makes photos fit for the API."""

    async def fit(self, photo: Photo) -> Photo:
        """The photo as it is to be sent: another file on the local disk, done as ``photo.fitting`` says.

        Itself if nothing is to be done. The same bytes with the same fitting are worked on once, by whoever asks, and
        give the same bytes. Only a few photos are decoded at a time.

        Raises:
            PhotoChanged: it is not the file that was checked.
            PhotoError: it can't be read or decoded.
            StorageError: there is no room for the result.
        """
        ...
