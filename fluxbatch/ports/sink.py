"""Where images land."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fluxbatch.model.job import Photo, PlannedJob, Stored

__all__ = ["Landing", "Presence", "Sink"]


class Landing(Protocol):
    """One image on its way to the sink: in memory, or a temporary file, that becomes the output all at once, or never.

    It survives broken transfers: ``size`` bytes are there, and a transfer may go on from there or ``restart``.
    """

    @property
    def size(self) -> int:
        """Bytes so far."""
        ...

    etag: str
    """of the bytes so far, empty if the host gave none; a transfer may be resumed only against the same one"""
    md5: str
    """base64 of the whole image's MD5 as the host gave it, empty if it gave none; ``commit`` holds the bytes to it"""

    def write(self, piece: bytes) -> None:
        """Append. Brief.

        Raises:
            StorageError: the disk is full or gone.
        """
        ...

    def restart(self) -> None:
        """Throw away what came so far."""
        ...

    async def commit(self, filename: str, job: PlannedJob | None = None) -> Stored:
        """Verify by the bytes, make durable, and put in place of ``filename`` + extension, replacing what is there.

        The extension is by the bytes. ``Stored.fingerprint`` and ``url_age_s`` are left for the caller to fill in.
        ``job`` is what it was made for; a sink may keep that beside it (``Sink.known``).

        Order: length and format → fsync → rename → fsync of the folder. On return, the image survives a power cut.

        Raises:
            DeliveryError: the bytes are no complete image (``corrupt``); ``restart`` and fetch again.
            TargetBlocked: something else stands where this output belongs; in a place that others write to, that may be
                an output which was not there when the sink looked.
            StorageError: the disk is full or gone; the landing is intact and may be committed again, unless ``size`` is
                0: then its bytes are gone with their folder, and are to be fetched again.
        """
        ...

    async def discard(self) -> None:
        """Give up and leave nothing behind. May be called again, also after ``commit``.

        An image that was verified and could not be put in place may be kept, for ``Sink.landed`` to find.
        """
        ...


class Presence(StrEnum):
    """What became of an output since it was stored."""

    SAME = "same"
    MISSING = "missing"
    ALTERED = "altered"


class Sink(Protocol):
    """Where images land."""

    async def land(self) -> Landing:
        """Begin a landing. That the folder is gone, read-only or full may come out as late as at its commit."""
        ...

    async def adopt(self, path: Path) -> Landing:
        """Begin a landing with the bytes of a local file, which is consumed."""
        ...

    async def check(self, stored: Sequence[Stored]) -> list[Presence]:
        """For each: is the output still what was stored? Reads a file only if its size fits and its time doesn't.

        Raises:
            StorageError: it can't be told; missing is only what is surely not there.
        """
        ...

    async def taken(self, filenames: Sequence[str]) -> dict[str, str]:
        """What stands in the way of new outputs under these names (without extension), by name.

        An output that is there already, whoever made it, or something that is no folder where one of theirs belongs.
        """
        ...

    async def known(self, jobs: Sequence[PlannedJob]) -> dict[str, Stored]:
        """Outputs of these jobs that the sink itself knows of, with the fingerprints that they were made for, by id.

        Of what ``Landing.commit`` was told, if the sink keeps that beside the images: so can a machine without a ledger
        tell what is there. A folder keeps nothing.

        Raises:
            UsageError: they are of the other kind, simulated or not.
            StorageError: it can't be told.
        """
        ...

    async def landed(self, filename: str, since: float, job: PlannedJob | None = None) -> Stored | None:
        """The whole image that was put under this name (without extension) since then (epoch seconds), if there is one.

        How an image is found whose landing was not recorded any more. ``Stored.fingerprint`` is left to the caller.
        ``job`` is what it was made for, if that is known.
        """
        ...

    async def unrecorded(self, job: PlannedJob, since: float) -> Stored | None:
        """The image of a job that landed since then (epoch seconds) and waits to be put in place; now it is.

        For one that came in an answer, of a run that died before it was on record. It is surely the job's: where others
        write as well, as into a folder, what is found under the name says nothing, and there is none.

        Raises:
            TargetBlocked, StorageError: as ``Landing.commit``; the image stays.
        """
        ...

    async def photo(self, stored: Stored) -> Photo:
        """An output as a reference image, as it is now: an edited one counts as it was edited.

        Raises:
            PhotoChanged: it is gone.
            PhotoError: it is no whole image, or can't be read.
        """
        ...

    async def copy(self, stored: Stored, filename: str, job: PlannedJob | None = None) -> Stored:
        """Put a copy of an output under another name (without extension), as ``Landing.commit`` puts new ones.

        Raises:
            PhotoChanged: it is not what was stored, or gone.
            TargetBlocked, StorageError: as ``Landing.commit``.
        """
        ...

    async def remove(self, stored: Stored) -> bool:
        """Remove an output and folders that are empty then; False if it is not what was stored, and so was kept.

        Raises:
            StorageError: it can't be removed.
        """
        ...

    async def room(self) -> int:
        """Free bytes for new images."""
        ...
