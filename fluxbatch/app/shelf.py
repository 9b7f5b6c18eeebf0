"""An output folder as a site serves it: its ledger is read, thumbnails are made when they are looked at."""

from __future__ import annotations

from collections import Counter, defaultdict
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

import anyio
import anyio.to_thread

from fluxbatch.adapters.clock import SystemClock
from fluxbatch.adapters.fitting.thumbnails import make_thumbnail
from fluxbatch.app.flags import FlagFinder, finding_flags
from fluxbatch.app.look import open_ledger
from fluxbatch.app.tail import Tail
from fluxbatch.formats import recognise
from fluxbatch.model.job import Photo
from fluxbatch.report.gallery.jobs import entry_of, thumbnail_name
from fluxbatch.report.gallery.timeline import Timeline

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

    from fluxbatch.adapters.ledger import SqliteLedger
    from fluxbatch.app.folder import Paths
    from fluxbatch.model.flags import Flags
    from fluxbatch.model.job import Record

__all__ = ["FolderShelf", "addresses", "changes_of"]

_CHUNK: Final = 200
_AT_A_TIME: Final = 2
"""thumbnails in the making: a run beside it needs the processors more"""
_MOST_WAITING: Final = 200
_LASTING: Final = frozenset({"prompt", "inputs", "meta"})
_SHOWN: Final = {"jpeg", "png", "webp", "gif", "avif", "bmp"}
"""what browsers show; of all else they get the thumbnail"""


class FolderShelf:
    """Reads one folder, in one event loop. Only files that its ledger names are ever given out.

    Of images in an object store there is all but the pictures.

    Args:
        paths: of the folder.
        run_id: of the run that goes on in it, if one does.
        flagged: tell of flags as well; not while images land, since to find them takes work.
        more: what else is to be told of a job, by its row.
    """

    def __init__(
        self,
        paths: Paths,
        run_id: str = "",
        *,
        flagged: bool = False,
        more: Callable[[Record], Awaitable[dict[str, Any]]] | None = None,
    ) -> None:
        self._paths, self._run_id, self._flagged, self._more = paths, run_id, flagged, more
        self._finder: FlagFinder | None = None
        self._open_ones = AsyncExitStack()
        self._ledger: SqliteLedger | None = None
        self._making = anyio.CapacityLimiter(_AT_A_TIME)
        self._waiting = 0
        self._opening = anyio.Lock()
        self._reading = anyio.Lock()
        self._events, self._timeline = Tail(paths.events), Timeline()
        self._prices: dict[str, float] = {}

    async def about(self) -> dict[str, Any]:
        """What holds for all jobs.

        Raises:
            FluxbatchError: the ledger can't be read.
        """
        ledger = await self._open()
        async with self._reading:
            await anyio.to_thread.run_sync(self._read_on)
        return {
            "out": self._paths.out.name if self._paths.store is None else str(self._paths.store),
            "simulated": await ledger.kind() == "simulated",
            "at": SystemClock().now(),
            "timeline": self._timeline.as_dict(self._prices),
        }

    async def jobs(self) -> AsyncGenerator[Sequence[dict[str, Any]], None]:
        """All jobs, some at a time.

        Raises:
            FluxbatchError: the ledger can't be read.
        """
        ledger = await self._open()
        if self._finder is not None:  # what is the same as what may have changed
            self._finder = FlagFinder(ledger, self._finder.memo, self._paths.out)
        cost: defaultdict[str, float] = defaultdict(float)
        charged: Counter[str] = Counter()
        page: list[Record] = []
        async for record in ledger.rows():
            page.append(record)
            charged[record.job.model] += record.charged
            cost[record.job.model] += record.cost_usd
            if len(page) >= _CHUNK:
                yield await self._entries(page)
                page = []
        if page:
            yield await self._entries(page)
        self._prices = {model: cost[model] / count for model, count in charged.items() if count}

    async def some(self, ids: Sequence[str]) -> list[dict[str, Any]]:
        """These jobs, as far as they are there.

        Raises:
            FluxbatchError: the ledger can't be read.
        """
        ledger = await self._open()
        return await self._entries(list((await ledger.recall(ids)).values()))

    async def record(self, job_id: str) -> Record | None:
        """One row.

        Raises:
            FluxbatchError: the ledger can't be read.
        """
        ledger = await self._open()
        return (await ledger.recall([job_id])).get(job_id)

    async def picture(self, job_id: str, place: int, *, small: bool) -> tuple[Path, str] | None:
        """The file of a picture and its MIME type; None if there is none, or none that a browser should get."""
        record = await self.record(job_id)
        path = None if record is None else self.path_of(record, place)
        return None if path is None else await self.shown(path, small=small)

    def path_of(self, record: Record, place: int) -> Path | None:
        """Where a picture of a job is: its output at 0, then its local inputs."""
        if place == 0:
            return self._paths.out / record.stored.file if record.stored is not None else None
        images = record.job.images
        image = images[place - 1] if 0 < place <= len(images) else None
        return Path(image.path) if isinstance(image, Photo) else None

    async def shown(self, path: Path, *, small: bool) -> tuple[Path, str] | None:
        """A file that is a picture, and its MIME type. What is none is not given out, whatever the ledger says."""
        if not small:
            kind = await anyio.to_thread.run_sync(_kind, path)
            return (path, f"image/{kind}") if kind in _SHOWN else None
        if self._waiting >= _MOST_WAITING:
            return None
        target = self._paths.state / thumbnail_name(path)  # below its thumbnails
        self._waiting += 1
        try:
            made = await anyio.to_thread.run_sync(_thumbnail, path, target, limiter=self._making)
        finally:
            self._waiting -= 1
        return (target, "image/jpeg") if made else None

    async def close(self) -> None:
        """Release the ledger."""
        await self._open_ones.aclose()
        if self._ledger is not None:
            await self._ledger.close()

    async def _open(self) -> SqliteLedger:
        async with self._opening:
            if self._ledger is None:
                self._ledger = await open_ledger(self._paths)
                if self._flagged:
                    finding = finding_flags(self._paths, self._ledger)
                    self._finder = await self._open_ones.enter_async_context(finding)
            return self._ledger

    def _read_on(self) -> None:
        self._timeline.read(self._events.news())

    async def _entries(self, records: Sequence[Record]) -> list[dict[str, Any]]:
        """As in a report, but with the addresses of a site."""
        found: Sequence[Flags] = [{} for _ in records]
        if self._finder is not None:
            found = await self._finder.find(records)
        entries = [self._entry(record, flags) for record, flags in zip(records, found, strict=True)]
        if self._more is not None:
            for record, entry in zip(records, entries, strict=True):
                entry.update(await self._more(record))
        return entries

    def _entry(self, record: Record, flags: Flags) -> dict[str, Any]:
        entry = entry_of(record, out=self._paths.out, run_id=self._run_id, made={}, flags=flags)
        if "href" in entry and record.stored is not None:
            del entry["href"]
            if self._paths.store is None:
                entry |= addresses(record.job.id, 0, record.stored.sha256)
        for place, image in enumerate(record.job.images, 1):
            if isinstance(image, Photo):
                entry["inputs"][place - 1] |= addresses(record.job.id, place, image.digest)
        return entry


def addresses(job_id: str, place: int, version: str) -> dict[str, str]:
    """Where the page finds a picture and its thumbnail; other bytes have another address."""
    href = f"picture?{urlencode({'id': job_id, 'n': place, 'v': version[:16]})}"
    return {"href": href, "thumb": f"{href}&small=1"}


def changes_of(entry: dict[str, Any]) -> dict[str, Any]:
    """An entry without what is the same for as long as its job is."""
    return {name: value for name, value in entry.items() if name not in _LASTING}


def _kind(path: Path) -> str:
    """Blocks."""
    try:
        with path.open("rb") as file:
            return recognise(file.read(64))
    except OSError:
        return ""


def _thumbnail(path: Path, target: Path) -> bool:
    """Blocks."""
    try:
        return make_thumbnail(path, target)
    except OSError:  # no room for it
        return False
