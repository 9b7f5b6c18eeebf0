"""Finished images, delivered elsewhere."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.to_thread

from fluxbatch.adapters.disk.delivery import FolderDestination
from fluxbatch.app.review import Standing
from fluxbatch.errors import FluxbatchError, UsageError
from fluxbatch.ports import Delivered
from fluxbatch.telemetry.redact import clean

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fluxbatch.app.folder import Paths
    from fluxbatch.app.review import Reviews
    from fluxbatch.model.job import Stored
    from fluxbatch.ports import Destination

__all__ = ["Exported", "export_images", "open_destination"]

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


def open_destination(asked: str, paths: Paths) -> Destination:
    """The place that ``--to`` names. Blocks.

    Raises:
        UsageError: it is none that images can be delivered to.
        StorageError: it can't be written.
    """
    if not asked.strip():
        raise UsageError("--to is empty", remedy="name a folder")
    if _SCHEME.match(asked):
        raise UsageError(f"--to {clean(asked)}: only local folders are known", remedy="name a folder")
    root = Path(asked).absolute()
    if root.resolve().is_relative_to(paths.out.resolve()):
        raise UsageError(f"--to {asked} is in the output folder", remedy="name a folder elsewhere")
    if root.exists() and not root.is_dir():
        raise UsageError(f"--to {asked} is no folder", remedy="name another one")
    return FolderDestination(root)


async def export_images(
    reviews: Reviews, destination: Destination, *, approved: bool = False, force: bool = False
) -> Exported:
    """Deliver the images that their jobs ask for now; what is there already is left alone, so it can be said again.

    Args:
        reviews: of the output folder.
        destination: where to.
        approved: only what was approved, as it was seen.
        force: replace other files.

    Raises:
        StorageError: the destination can't be written.
    """
    found, counts = Exported(), Counter[Delivered]()
    waiting = _wanted(reviews, found, approved=approved)
    out = reviews.paths.out
    one_at_a_time = anyio.Lock()

    async def work() -> None:
        while True:
            async with one_at_a_time:
                stored = await anext(waiting, None)
            if stored is None:
                return
            deliver = partial(destination.deliver, out / stored.file, stored, replace=force)
            became = await anyio.to_thread.run_sync(deliver)
            counts[became] += 1
            if became in _REFUSED:
                found.refused.append((stored.file, _REFUSED[became]))

    try:
        async with anyio.create_task_group() as tasks:
            for _ in range(_AT_ONCE):
                tasks.start_soon(work)
    except* FluxbatchError as group:
        raise _first(group) from None
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(destination.finish)
    found.copied, found.there = counts[Delivered.COPIED], counts[Delivered.THERE]
    found.refused.sort()
    return found


async def _wanted(reviews: Reviews, found: Exported, *, approved: bool) -> AsyncIterator[Stored]:
    async for one in reviews.images():
        assert one.record.stored is not None
        if one.is_asked_for and (not approved or one.standing is Standing.APPROVED):
            yield one.record.stored
        else:
            found.left_out += 1


def _first(group: BaseExceptionGroup[Any]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
