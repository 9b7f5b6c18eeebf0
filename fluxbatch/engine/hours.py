"""The hours in which a run may send, by the wall clock, while all else goes by one that never jumps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sized

    from fluxbatch.engine.desk import Desk

__all__ = ["Hours"]

_LEAST_S: Final = 0.001
"""a moment that is as good as now must not look like one that was missed"""


class Hours:
    """Stops a run when its window closes, as a first Ctrl-C would: what is in flight is finished."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._closes_at = 0.0

    def open(self, waiting: Callable[[], Sized]) -> bool:
        """Whether something may be sent; if not, and something waits to be, that is a reason to stop."""
        desk = self._desk
        if desk.window is None or not len(waiting()) or desk.window.is_open(desk.clock.now()):
            return True
        desk.ask_to_stop(desk.window.stop(desk.clock.now()))
        return False

    def closes(self, since: float) -> float | None:
        """When the window closes, monotonic seconds; ``since``: now, by that clock."""
        desk = self._desk
        if desk.window is None:
            return None
        now = desk.clock.now()
        if now >= self._closes_at:  # to find out takes a millisecond
            self._closes_at = desk.window.changes_at(now)
        return since + max(self._closes_at - now, _LEAST_S)
