"""A run's seat: its folder held and its desk made; what earlier runs left behind is settled from there."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import anyio

from fluxbatch.adapters.clock import SystemClock
from fluxbatch.app.calls import in_thread
from fluxbatch.app.compose import compose
from fluxbatch.app.folder_state import hold, try_store
from fluxbatch.app.learned import recall
from fluxbatch.app.simulated import simulated_api
from fluxbatch.errors import Interrupted, StorageError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from fluxbatch.app.calendar import Calendar
    from fluxbatch.app.folder import Paths
    from fluxbatch.app.folder_state import HeldFolder
    from fluxbatch.app.interrupt import Interrupter
    from fluxbatch.app.learned import Learned
    from fluxbatch.app.request import RunRequest
    from fluxbatch.engine import Desk, Engine
    from fluxbatch.planning.intake import Intake

__all__ = ["Seat", "seated", "settle_past"]


@dataclass(frozen=True, slots=True)
class Seat:
    """Where a run works.

    Attributes:
        folder: held, as long as the seat is taken.
        desk: in it.
        base_url: of the API, which may be the embedded simulator.
        known: what earlier runs learned of that API.
        ca_file: certificates to trust beside the system's.
    """

    folder: HeldFolder
    desk: Desk
    base_url: str
    known: Learned
    ca_file: Path | None


@asynccontextmanager
async def seated(
    request: RunRequest, intake: Intake, paths: Paths, *, run_id: str, calendar: Calendar
) -> AsyncIterator[Seat]:
    """Hold a folder, with a desk in it.

    Raises:
        FolderInUse: another run has it.
        UsageError: something of the request can't be used.
        StorageError: the folder can't be written.
    """
    kind = "simulated" if request.simulate else "live"
    async with AsyncExitStack() as stack:
        folder = await stack.enter_async_context(hold(paths, run_id=run_id, kind=kind, ca_file=request.ca_file))
        base_url, key = request.base_url, request.api_key
        if request.simulate:
            api = await stack.enter_async_context(simulated_api(paths.simulator))
            base_url, key = api.base_url, api.key
        known = await in_thread(partial(recall, folder.memo, base_url, SystemClock().now()))
        desk = await stack.enter_async_context(
            compose(
                request,
                folder,
                run_id=run_id,
                base_url=base_url,
                key=key,
                learned=known.limits,
                calendar=calendar,
                memo=intake.memo,
            )
        )
        yield Seat(folder, desk, base_url, known, request.ca_file)


async def settle_past(seat: Seat, engine: Engine, interrupter: Interrupter, seconds: float) -> None:
    """Bring home what is paid for already, also where the store is away: it may be back before the URL dies.

    A signal lets that finish. What isn't stored after ``seconds`` is left for later.

    Raises:
        StorageError: nothing could be stored now.
        Interrupted: there was a signal.
    """
    trouble: StorageError | None = None
    try:
        await try_store(seat.folder, seat.ca_file)
    except StorageError as error:
        trouble = error
    with anyio.CancelScope() as scope:
        interrupter.attach(seat.desk, scope)
        try:
            await engine.recover()
        finally:  # whatever that meets: URLs die meanwhile
            await engine.fetch_owed(seconds)
    if interrupter.exit_code:
        raise Interrupted(interrupter.exit_code)
    interrupter.detach()
    if trouble is not None:
        raise trouble
