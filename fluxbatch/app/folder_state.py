"""An output folder held for a run: its lock, ledger, events, memory of photos, and sink."""

from __future__ import annotations

import contextlib
import tempfile
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from fluxbatch.adapters.disk import EventLog, FolderLock, FolderSink, SqliteMemo, network_kind
from fluxbatch.adapters.ledger import SqliteLedger
from fluxbatch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from fluxbatch.app.folder import Paths

__all__ = ["HeldFolder", "LateMemo", "hold"]


@dataclass(frozen=True, slots=True)
class HeldFolder:
    """What a run works with in its folder."""

    paths: Paths
    ledger: SqliteLedger
    sink: FolderSink
    events: EventLog


@asynccontextmanager
async def hold(
    paths: Paths, *, run_id: str, kind: str, filesystem_of: Callable[[Path], str] = network_kind
) -> AsyncIterator[HeldFolder]:
    """Take hold of a folder, made if it isn't there. ``filesystem_of``: the kind, if it is a network's, else empty.

    Raises:
        FolderInUse: another run has it.
        UsageError: it holds images of the other kind, or its ledger would be on a network filesystem.
        StorageError: it can't be written.
    """
    locks = [FolderLock(path) for path in paths.locks]
    sink = FolderSink(paths.out, paths.landing)
    try:
        events = await anyio.to_thread.run_sync(_enter, paths, locks, sink, run_id, filesystem_of)
        ledger = SqliteLedger(paths.ledger, kind=kind)
        try:
            await ledger.open()
            yield HeldFolder(paths, ledger, sink, events)
        finally:
            with anyio.CancelScope(shield=True):
                await ledger.close()
            events.close()
    finally:
        for lock in locks:
            lock.release()


def _enter(
    paths: Paths, locks: list[FolderLock], sink: FolderSink, run_id: str, filesystem_of: Callable[[Path], str]
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


class LateMemo:
    """The ``Memo`` port before it is known where the folder is, or before there is one.

    It remembers nothing until ``open``; without a folder it is a temporary file, which ``settle`` moves there.
    """

    def __init__(self) -> None:
        self._memo: SqliteMemo | None = None
        self._temporary: tempfile.TemporaryDirectory[str] | None = None

    def open(self, path: Path) -> None:
        """Begin to remember, at ``path`` if its folder is there."""
        if not path.parent.is_dir():
            self._temporary = tempfile.TemporaryDirectory(prefix="fluxbatch-")
            path = Path(self._temporary.name) / path.name
        self._memo = SqliteMemo(path)

    def settle(self, path: Path) -> None:
        """The folder exists now: move there. Losing the memory instead is no harm."""
        if self._temporary is None or self._memo is None:
            return
        self._memo.close()
        with contextlib.suppress(OSError):
            path.write_bytes((Path(self._temporary.name) / path.name).read_bytes())
        self._temporary.cleanup()
        self._temporary = None
        self._memo = SqliteMemo(path)

    def get(self, keys: Sequence[str]) -> dict[str, bytes]:
        """What is remembered of these keys."""
        return self._memo.get(keys) if self._memo is not None else {}

    def put(self, entries: Mapping[str, bytes]) -> None:
        """Remember."""
        if self._memo is not None:
            self._memo.put(entries)

    def close(self) -> None:
        """Release the file. May be called again."""
        if self._memo is not None:
            self._memo.close()
        if self._temporary is not None:
            self._temporary.cleanup()
            self._temporary = None
