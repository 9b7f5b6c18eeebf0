"""Watching a run from outside: its ledger is read, nothing of it is touched."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import anyio

from fluxbatch.app.look import look_at

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from fluxbatch.app.folder import Paths
    from fluxbatch.app.look import FolderStatus
    from fluxbatch.settings import Settings

__all__ = ["Seen", "per_minute", "watch"]

_WINDOW_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Seen:
    """A folder at a moment.

    Attributes:
        status: how it stands.
        per_minute: images stored in a minute, over the last one at most; None at the first look.
    """

    status: FolderStatus
    per_minute: float | None

    def as_dict(self) -> dict[str, Any]:
        """As data, for scripts."""
        rate = None if self.per_minute is None else round(self.per_minute, 3)
        return {**self.status.as_dict(), "images_per_minute": rate}


async def watch(paths: Paths, settings: Settings, every_s: float) -> AsyncIterator[Seen]:
    """Look every so many seconds, and a last time once no run goes on; ``settings``: of hours and budget.

    Raises:
        UsageError: there is no ledger, or they can't be understood.
    """
    looks: deque[tuple[float, int]] = deque()
    while True:
        status = await look_at(paths, settings)
        if not status.live:
            # the ledger was read before the lock: what the run wrote at its very end may be missing
            status = await look_at(paths, settings)
        now = anyio.current_time()
        looks.append((now, status.tally.by_state.get("stored", 0)))
        while looks[0][0] < now - _WINDOW_S and len(looks) > 2:
            looks.popleft()
        yield Seen(status, per_minute(looks))
        if not status.live:
            return
        await anyio.sleep(every_s)


def per_minute(looks: Sequence[tuple[float, int]]) -> float | None:
    """Images a minute from the first to the last of some looks: seconds, and how many there were."""
    (begun, before), (ended, after) = looks[0], looks[-1]
    return max(0, after - before) * 60 / (ended - begun) if ended > begun else None
