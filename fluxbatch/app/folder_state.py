"""An output folder held for a run: its lock, ledger, events, memory of the API, and sink."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio
import anyio.to_thread

from fluxbatch.adapters.clock import SystemClock
from fluxbatch.adapters.disk import EventLog, FolderLock, FolderSink, SqliteMemo, network_kind
from fluxbatch.adapters.fitting import PillowDecoder
from fluxbatch.adapters.ledger import SqliteLedger
from fluxbatch.adapters.stores import PhotoCache
from fluxbatch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from fluxbatch.adapters.stores.sink import StoreSink
    from fluxbatch.app.folder import Paths

__all__ = ["HeldFolder", "hold", "sink_of", "try_store"]

_TRIAL_S: Final = 10.0
"""how long a store may be in trouble before somebody who waits is told"""


@dataclass(slots=True)
class HeldFolder:
    """What a run works with in its folder.

    Attributes:
        memo: what it learned of the API.
        is_lost: another run fills the store by now: the account there is that one's.
    """

    paths: Paths
    ledger: SqliteLedger
    sink: FolderSink | StoreSink
    events: EventLog
    memo: SqliteMemo
    photos: PhotoCache
    is_lost: bool = False

    @property
    def store(self) -> StoreSink | None:
        """The sink, if images go to an object store."""
        return None if isinstance(self.sink, FolderSink) else self.sink


def sink_of(
    paths: Paths, *, kind: str, ca_file: Path | None = None, photos: PhotoCache | None = None
) -> FolderSink | StoreSink:
    """Where the images of a folder go. Touches nothing yet.

    Raises:
        UsageError: a store can't be opened.
    """
    if paths.store is None:
        return FolderSink(paths.out, paths.landing)
    from fluxbatch.adapters.stores.opening import open_bucket
    from fluxbatch.adapters.stores.sink import StoreSink

    return StoreSink(
        open_bucket(paths.store, ca_file=ca_file),
        spool=paths.spool,
        scratch=paths.landing,
        photos=photos or PhotoCache(paths.objects),
        clock=SystemClock(),
        kind=kind,
    )


async def try_store(folder: HeldFolder, ca_file: Path | None) -> None:
    """Write, read and remove a tiny object, if images go to an object store. Is soon done, or soon given up.

    Raises:
        StorageError: images couldn't land there.
    """
    store = folder.store
    if store is None:
        return
    from fluxbatch.adapters.stores.opening import open_bucket
    from fluxbatch.adapters.stores.probe import probe

    opened = partial(open_bucket, store.bucket.address, ca_file=ca_file, patience_s=_TRIAL_S)
    bucket = await anyio.to_thread.run_sync(opened, abandon_on_cancel=True)
    await probe(bucket)
    store.bucket.learn(bucket)


@asynccontextmanager
async def hold(
    paths: Paths,
    *,
    run_id: str,
    kind: str,
    filesystem_of: Callable[[Path], str] = network_kind,
    ca_file: Path | None = None,
) -> AsyncIterator[HeldFolder]:
    """Take hold of a folder, made if it isn't there. ``filesystem_of``: the kind, if it is a network's, else empty.

    Raises:
        FolderInUse: another run has it.
        UsageError: it holds images of the other kind, or its ledger would be on a network filesystem.
        StorageError: it can't be written.
    """
    locks = [FolderLock(path) for path in paths.locks]
    photos = PhotoCache(paths.objects, PillowDecoder())
    sink = await anyio.to_thread.run_sync(partial(sink_of, paths, kind=kind, ca_file=ca_file, photos=photos))
    try:
        events = await anyio.to_thread.run_sync(_enter, paths, locks, sink, run_id, filesystem_of)
        ledger = SqliteLedger(paths.ledger, kind=kind)
        try:
            await ledger.open()
            memo = await anyio.to_thread.run_sync(SqliteMemo, paths.memo)
            try:
                yield HeldFolder(paths, ledger, sink, events, memo, photos)
            finally:
                with anyio.CancelScope(shield=True):
                    await anyio.to_thread.run_sync(memo.close)
                    await anyio.to_thread.run_sync(photos.clear)
        finally:
            with anyio.CancelScope(shield=True):
                await ledger.close()
            events.close()
    finally:
        for lock in locks:
            lock.release()


def _enter(
    paths: Paths,
    locks: list[FolderLock],
    sink: FolderSink | StoreSink,
    run_id: str,
    filesystem_of: Callable[[Path], str],
) -> EventLog:
    _refuse_network(paths.state, filesystem_of(paths.state))
    paths.make()
    for lock in locks:
        lock.acquire()
    sink.sweep()
    return EventLog(paths.events, run_id)


def _refuse_network(state: Path, kind: str) -> None:
    """Keep a ledger off network filesystems: locks and write order are not what they seem there."""
    if kind:
        raise UsageError(
            f"{state} is on a network filesystem ({kind}), where a ledger can break",
            remedy="keep the ledger on a local disk: --state DIR",
        )
