"""Having a place in an object store to oneself while a run fills it."""

from __future__ import annotations

import secrets
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from fluxbatch.adapters.clock import SystemClock
from fluxbatch.errors import StorageError
from fluxbatch.model.summary import Stop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from fluxbatch.app.folder_state import HeldFolder
    from fluxbatch.engine import Desk

__all__ = ["claimed"]


@asynccontextmanager
async def claimed(folder: HeldFolder, desk: Desk, tell: Callable[[str], None]) -> AsyncIterator[None]:
    """Keep other machines out of the store, if images go to one; ``tell`` hears what is waited for.

    A run that finds that another has taken its place sends nothing more; one that can't be sure of it waits.

    Raises:
        FolderInUse: another run fills it.
        StorageError: it can't be told.
    """
    store = folder.store
    if store is None or desk.settings.shared:
        yield
        return
    from fluxbatch.adapters.stores.lease import StoreLease

    owner = await anyio.to_thread.run_sync(partial(_owner, folder.paths.owner))
    lease = StoreLease(store.bucket, owner=owner, run_id=desk.run_id, clock=SystemClock())
    fits = desk.admission
    desk.admission = lambda load: lease.is_fresh and fits(load)

    def lost(whose: str) -> None:
        folder.is_lost = True
        words = f"{whose} has taken {store.bucket.address} over, since this one gave no sign of life for a while"
        desk.ask_to_stop(Stop("in_use", words, "run the same command again once that run has ended"))

    try:
        await lease.take(tell)
        store.look_again()  # what others have made until now is there to be seen
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(lease.keep, renewed=desk.bell.ring, lost=lost, away=desk.stop_for_storage))
            try:
                yield
            finally:
                tasks.cancel_scope.cancel()
    finally:
        await lease.release()


def _owner(path: Path) -> str:
    """What all runs with this state folder have in common. Blocks."""
    try:
        owner = path.read_text(encoding="utf-8", errors="replace").strip() if path.exists() else ""
        if not owner:  # new, or what a power cut left of it
            owner = secrets.token_hex(16)
            path.write_text(f"{owner}\n", encoding="utf-8")
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror or error}", remedy="mend the state folder") from error
    return owner
