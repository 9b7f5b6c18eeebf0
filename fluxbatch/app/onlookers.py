"""Who looks on while a run goes on: the caller's display, a page in browsers, and figures for Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import anyio

from fluxbatch.app.calls import tell

if TYPE_CHECKING:
    from collections.abc import Callable

    from anyio.abc import TaskGroup

    from fluxbatch.app.meter import Meter
    from fluxbatch.app.request import Hooks
    from fluxbatch.app.watch import Watch
    from fluxbatch.model.summary import Progress

__all__ = ["Onlookers"]

_PAGE_EVERY_S: Final = 0.5


class Onlookers:
    """Told from time to time how things stand; none of them can hold the run up, nor end it."""

    def __init__(self, hooks: Hooks, watch: Watch, meter: Meter | None) -> None:
        self._hooks, self._watch, self._meter = hooks, watch, meter

    def start(self, tasks: TaskGroup, *, make: int) -> None:
        """Have them told until the tasks are cancelled; ``make`` images are to be made."""
        if self._hooks.progress is not None:
            tasks.start_soon(self._tell, self._hooks.progress, self._hooks.progress_every_s)
        if self._hooks.page is not None:
            tasks.start_soon(self._tell, self._hooks.page.show, _PAGE_EVERY_S)
        if self._meter is not None:
            tasks.start_soon(self._meter.write_now_and_then, make)

    def end(self) -> None:
        """Show a page how things stand at the end."""
        if self._hooks.page is not None:
            tell(self._hooks.page.show, self._watch.look())

    async def _tell(self, hook: Callable[[Progress], None], every_s: float) -> None:
        while True:
            await anyio.sleep(every_s)
            tell(hook, self._watch.look())
