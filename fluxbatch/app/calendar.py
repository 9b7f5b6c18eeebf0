"""What a run may do by the calendar: in which hours it sends, and how much it spends in a period."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import anyio

from fluxbatch.errors import UsageError
from fluxbatch.policy.allowance import Allowance
from fluxbatch.policy.window import Window, zone_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from fluxbatch.ports import Clock
    from fluxbatch.settings import Settings

__all__ = ["Calendar"]

_LOOK_EVERY_S: Final = 60.0
"""how often the wall clock is looked at while nothing is done: it may jump, and machines sleep"""


@dataclass(frozen=True, slots=True)
class Calendar:
    """As the settings say; None for what they don't."""

    window: Window | None = None
    allowance: Allowance | None = None

    @classmethod
    def of(cls, settings: Settings) -> Calendar:
        """Read what is written. Blocks: time zones are files.

        Raises:
            UsageError: it can't be understood.
        """
        zone = zone_of(settings.timezone)
        if settings.timezone and not (settings.window or settings.budget):
            raise UsageError("--tz is for --window and --budget", remedy="leave it out, or give one of them")
        if settings.wait and not settings.window:
            raise UsageError("--wait is for --window", remedy="leave it out, or say which hours: --window 01:00-06:00")
        return cls(
            Window.of(settings.window, zone) if settings.window else None,
            Allowance.of(settings.budget, zone) if settings.budget else None,
        )

    def is_closed(self, clock: Clock) -> bool:
        """Whether it is an hour in which nothing is sent."""
        return self.window is not None and not self.window.is_open(clock.now())

    async def wait_until_open(self, clock: Clock, tell: Callable[[str], None]) -> None:
        """Wait for the window, if it is closed; ``tell`` hears until when."""
        window = self.window
        if window is None or window.is_open(clock.now()):
            return
        opens_at = window.changes_at(clock.now())
        tell(f"waiting for --window {window}, which opens at {window.local(opens_at)}")
        while not window.is_open(clock.now()):
            left_s = window.changes_at(clock.now()) - clock.now()
            await anyio.sleep(min(_LOOK_EVERY_S, max(left_s, 0.01)))
