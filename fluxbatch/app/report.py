"""Writing the gallery of an output folder, also while a run goes on in it."""

from __future__ import annotations

import os
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.to_thread

from fluxbatch.adapters.clock import SystemClock
from fluxbatch.adapters.disk import turn
from fluxbatch.adapters.fitting.thumbnails import make_thumbnail
from fluxbatch.app.far_images import far_images
from fluxbatch.app.flags import finding_flags
from fluxbatch.app.look import open_ledger
from fluxbatch.errors import FluxbatchError, PhotoError, StorageError, unwrapped
from fluxbatch.ports import Presence
from fluxbatch.report.gallery.jobs import THUMBNAILS, entry_of, pictures_of, thumbnail_name
from fluxbatch.report.gallery.page_files import PageFiles
from fluxbatch.report.gallery.timeline import Timeline
from fluxbatch.report.results import in_pages

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping
    from pathlib import Path

    from fluxbatch.adapters.ledger import SqliteLedger
    from fluxbatch.app.far_images import FarImages
    from fluxbatch.app.flags import FlagFinder
    from fluxbatch.app.folder import Paths
    from fluxbatch.model.flags import Flags
    from fluxbatch.model.job import Record, Stored

__all__ = ["write_report"]

_CHUNK: Final = 500
_THREADS: Final = max(1, min(4, os.cpu_count() or 1))


async def write_report(
    paths: Paths,
    *,
    portable: bool = False,
    waits: Callable[[], None] = lambda: None,
    ca_file: Path | None = None,
) -> Path:
    """Write ``OUT/report`` anew and return its ``index.html``; a reader sees the last report or the whole new one.

    Images in an object store are shown small: each is fetched once for that, and named by its address. A page that
    lies around can't point at them: links that are signed die, others are for everybody.

    Args:
        paths: of the output folder; of images in an object store, the report is in the state folder.
        portable: nothing points out of the folder, and names of other folders are left out.
        waits: is called if another report is being written there, which is waited for.
        ca_file: certificates to trust beside the system's, where images are in an object store.

    Raises:
        UsageError: there is no ledger, or the object store can't be opened.
        StorageError: the folder can't be written, or the object store can't be read.
    """
    ledger = await open_ledger(paths)
    folder = paths.out / "report"
    try:
        async with AsyncExitStack() as stack:
            far: FarImages | None = None
            simulated = await ledger.kind() == "simulated"
            if paths.store is not None:
                far = await stack.enter_async_context(far_images(paths, simulated=simulated, ca_file=ca_file))
            writing = _Writing(paths, folder, portable, far)
            await anyio.to_thread.run_sync(partial(folder.mkdir, parents=True, exist_ok=True))
            async with turn(folder / ".lock", waits=waits):
                return await _write(writing, ledger, paths, simulated=simulated)
    except OSError as error:
        raise StorageError(
            f"{error.filename or folder} can't be written: {error.strerror or error}",
            remedy="free space or mend the folder; the last report stands",
        ) from error
    finally:
        with anyio.CancelScope(shield=True):
            await ledger.close()


async def _write(writing: _Writing, ledger: SqliteLedger, paths: Paths, *, simulated: bool) -> Path:
    try:
        run = await ledger.last_run()
        writing.run_id = run.id if run is not None else ""
        async with finding_flags(paths, ledger) as finder:
            await writing.write(ledger.rows(), finder)
        name = paths.out.name if paths.store is None else paths.store.url.rpartition("/")[2]
        about = {"out": name, "simulated": simulated, "at": SystemClock().now()}
        return await anyio.to_thread.run_sync(writing.finish, about, paths.events)
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(writing.clean_up)


@dataclass(slots=True)
class _Writing:
    paths: Paths
    folder: Path
    portable: bool
    far: FarImages | None = None
    run_id: str = ""
    _files: PageFiles = field(init=False)
    _made: dict[Path, bool] = field(default_factory=dict)
    _cost: Counter[str] = field(default_factory=Counter)
    _charged: Counter[str] = field(default_factory=Counter)
    _done: bool = False

    def __post_init__(self) -> None:
        self._files = PageFiles(self.folder)

    async def write(self, rows: AsyncIterator[Record], finder: FlagFinder) -> None:
        async for page in in_pages(rows, _CHUNK):
            await self._add(page, await finder.find(page))

    async def _add(self, page: list[Record], flags: list[Flags]) -> None:
        out, store = self.paths.out, self.paths.store
        wanted = dict.fromkeys(path for record in page for path in pictures_of(record, out))
        await self._shrink([path for path in wanted if path not in self._made], await self._far_ones(page))
        address = "" if store is None else store.url
        entries = [
            entry_of(
                record,
                out=out,
                run_id=self.run_id,
                made=self._made,
                flags=found,
                portable=self.portable,
                store=address,
            )
            for record, found in zip(page, flags, strict=True)
        ]
        for entry in entries:
            self._charged[entry["model"]] += entry.get("charged", 0)
            self._cost[entry["model"]] += entry.get("cost_usd", 0)
        await anyio.to_thread.run_sync(self._files.add, entries)

    async def _far_ones(self, page: list[Record]) -> dict[Path, tuple[Stored, Presence]]:
        """The images of a page that are in the object store, by where they would be in a folder."""
        if self.far is None:
            return {}
        stored = [record.stored for record in page if record.stored is not None]
        seen = await self.far.check(stored)
        return {self.paths.out / one.file: (one, now) for one, now in zip(stored, seen, strict=True)}

    async def _shrink(self, pictures: Iterable[Path], far: Mapping[Path, tuple[Stored, Presence]]) -> None:
        waiting = iter(pictures)

        async def work() -> None:
            for path in waiting:
                target = self.folder / thumbnail_name(path)
                if path in far:
                    self._made[path] = await self._shrink_far(*far[path], target)
                else:
                    self._made[path] = await anyio.to_thread.run_sync(make_thumbnail, path, target)

        try:
            async with anyio.create_task_group() as tasks:
                for _ in range(_THREADS):
                    tasks.start_soon(work)
        except* (OSError, FluxbatchError) as group:
            raise unwrapped(group) from None

    async def _shrink_far(self, stored: Stored, now: Presence, target: Path) -> bool:
        """Likewise of an image in the object store; it is fetched if it is another one than at the last report."""
        assert self.far is not None
        if now is Presence.MISSING:
            return False
        if now is Presence.SAME and await anyio.to_thread.run_sync(_is_of, target, stored.mtime_ns):
            return True
        try:
            async with self.far.image(stored) as path:
                return await anyio.to_thread.run_sync(make_thumbnail, path, target)
        except PhotoError:
            return False

    def finish(self, about: dict[str, Any], events: Path) -> Path:
        """Blocks."""
        timeline = Timeline()
        try:
            with events.open("rb") as lines:
                timeline.read(lines)
        except OSError:
            pass  # plots are all that is missing
        prices = {model: self._cost[model] / count for model, count in self._charged.items() if count}
        index = self._files.finish({**about, "timeline": timeline.as_dict(prices)})
        self._done = True
        kept = {thumbnail_name(path) for path, made in self._made.items() if made}
        for old in (self.folder / THUMBNAILS).glob("??/" + "?" * 32 + ".jpg"):
            if old.relative_to(self.folder).as_posix() not in kept:
                old.unlink(missing_ok=True)
        return index

    def clean_up(self) -> None:
        """Blocks."""
        if not self._done:
            self._files.give_up()


def _is_of(thumbnail: Path, mtime_ns: int) -> bool:
    """Whether a small picture is that of the image that was made then. Blocks."""
    try:
        return thumbnail.stat().st_mtime_ns == mtime_ns
    except OSError:
        return False
