"""Finished images, delivered elsewhere."""

from __future__ import annotations

import re
from collections import Counter
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import anyio
import anyio.to_thread

from fluxbatch.adapters.disk.delivery import FolderDestination
from fluxbatch.adapters.stores.delivery import StoreDestination
from fluxbatch.adapters.stores.opening import open_bucket
from fluxbatch.app.far_images import far_images
from fluxbatch.app.review import Standing
from fluxbatch.errors import FluxbatchError, PhotoChanged, PhotoError, UsageError, unwrapped
from fluxbatch.model.address import StoreAddress
from fluxbatch.ports import Delivered
from fluxbatch.telemetry.redact import clean

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from fluxbatch.app.folder import Paths
    from fluxbatch.app.review import Reviews
    from fluxbatch.model.job import Stored
    from fluxbatch.ports import Destination

__all__ = ["Exported", "export_images", "open_destination"]

_Read: TypeAlias = "Callable[[Stored], AbstractAsyncContextManager[Path]]"
"""has an image on the local disk for a while; raises ``PhotoChanged`` if it is gone, ``PhotoError`` if it is none"""

_AT_ONCE: Final = 4
_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
_REFUSED: Final = {
    Delivered.IN_THE_WAY: "another file is there; --force replaces it",
    Delivered.MISSING: "it is gone from the output folder; the next run makes it again",
    Delivered.CHANGED: "it was edited since it was made (adopt --changed takes it so), or is a pointer (git lfs pull)",
}


@dataclass(slots=True)
class Exported:
    """What was delivered.

    Attributes:
        copied: images that are new there.
        there: images that were there already.
        left_out: images that were not approved, or belong to jobs that ask for another one now.
        refused: file and why, of images that were not delivered.
    """

    copied: int = 0
    there: int = 0
    left_out: int = 0
    refused: list[tuple[str, str]] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """As data, for scripts."""
        refused = [{"file": file, "why": why} for file, why in self.refused]
        return {"copied": self.copied, "there": self.there, "left_out": self.left_out, "refused": refused}


def open_destination(asked: str, paths: Paths, *, simulated: bool = False, ca_file: Path | None = None) -> Destination:
    """The place that ``--to`` names: a folder, or an object store. Blocks.

    Raises:
        UsageError: it is none that images can be delivered to.
        StorageError: it can't be written.
    """
    if not asked.strip():
        raise UsageError("--to is empty", remedy="name a folder")
    if _SCHEME.match(asked):
        return _open_store(asked, paths, simulated=simulated, ca_file=ca_file)
    root = Path(asked).absolute()
    if root.resolve().is_relative_to(paths.out.resolve()):
        raise UsageError(f"--to {asked} is in the output folder", remedy="name a folder elsewhere")
    if root.exists() and not root.is_dir():
        raise UsageError(f"--to {asked} is no folder", remedy="name another one")
    return FolderDestination(root)


def _open_store(asked: str, paths: Paths, *, simulated: bool, ca_file: Path | None) -> StoreDestination:
    try:
        address = StoreAddress.parse(asked)
    except ValueError as error:
        raise UsageError(f"--to {clean(asked)}: {error}", remedy="name a folder, or s3://bucket/prefix") from None
    if paths.store == address:
        raise UsageError(f"--to {address}: the images are there already", remedy="name another place")
    return StoreDestination(open_bucket(address, ca_file=ca_file), "simulated" if simulated else "live")


async def export_images(
    reviews: Reviews,
    destination: Destination,
    *,
    approved: bool = False,
    force: bool = False,
    ca_file: Path | None = None,
) -> Exported:
    """Deliver the images that their jobs ask for now; what is there already is left alone, so it can be said again.

    Args:
        reviews: of the output folder.
        destination: where to.
        approved: only what was approved, as it was seen.
        force: replace other files.
        ca_file: certificates to trust beside the system's, where images are in an object store.

    Raises:
        UsageError: the object store can't be opened.
        StorageError: the destination can't be written, or the object store can't be reached.
    """
    found, counts = Exported(), Counter[Delivered]()
    waiting = _wanted(reviews, found, approved=approved)
    one_at_a_time = anyio.Lock()

    async def work(read: _Read) -> None:
        while True:
            async with one_at_a_time:
                stored = await anext(waiting, None)
            if stored is None:
                return
            became = await _deliver(destination, read, stored, replace=force)
            counts[became] += 1
            if became in _REFUSED:
                found.refused.append((stored.file, _REFUSED[became]))

    try:
        async with _reading(reviews, ca_file) as read, anyio.create_task_group() as tasks:
            for _ in range(_AT_ONCE):
                tasks.start_soon(work, read)
    except* FluxbatchError as group:
        raise unwrapped(group) from None
    found.copied, found.there = counts[Delivered.COPIED], counts[Delivered.THERE]
    found.refused.sort()
    return found


@asynccontextmanager
async def _reading(reviews: Reviews, ca_file: Path | None) -> AsyncIterator[_Read]:
    """How images are read: where they are, or brought from an object store first."""
    paths = reviews.paths
    if paths.store is None:
        yield lambda stored: nullcontext(paths.out / stored.file)
        return
    async with far_images(paths, simulated=reviews.simulated, ca_file=ca_file) as far:
        yield far.image


async def _deliver(destination: Destination, read: _Read, stored: Stored, *, replace: bool) -> Delivered:
    try:
        async with read(stored) as source:
            return await destination.deliver(source, stored, replace=replace)
    except PhotoChanged:
        return Delivered.MISSING
    except PhotoError:
        return Delivered.CHANGED


async def _wanted(reviews: Reviews, found: Exported, *, approved: bool) -> AsyncIterator[Stored]:
    async for one in reviews.images():
        assert one.record.stored is not None
        if one.is_asked_for and (not approved or one.standing is Standing.APPROVED):
            yield one.record.stored
        else:
            found.left_out += 1
