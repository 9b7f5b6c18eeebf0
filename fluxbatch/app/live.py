"""The live page of a run. It is served by a thread with a loop of its own: whatever becomes of it, the run goes on."""

from __future__ import annotations

import threading
from contextlib import AsyncExitStack
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import anyio

from fluxbatch.app.shelf import FolderShelf, changes_of
from fluxbatch.errors import FluxbatchError
from fluxbatch.model.events import JobFailed, JobLost, JobStored, RunEnded
from fluxbatch.report.gallery.served import served_page
from fluxbatch.report.gallery.timeline import Timeline
from fluxbatch.web.address import bind
from fluxbatch.web.server import Server
from fluxbatch.web.shelf import Refused

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
    from pathlib import Path

    from fluxbatch.app.folder import Paths
    from fluxbatch.model.events import Event
    from fluxbatch.model.summary import Progress

__all__ = ["LivePage"]

_EVERY_S: Final = 0.5
_MOST_CHANGED: Final = 2_000
"""jobs told of one by one; with more of them at a time, pages look anew"""
_AT_A_TIME: Final = 200
_LINGER_S: Final = 1.0
"""for whoever looks on, to fetch what landed last"""
_CLOSING_S: Final = 5.0


class LivePage:
    """Binds its address at once, serves from ``open`` to ``close``, and shows what ``begin`` and ``show`` tell it.

    ``note``, ``begin`` and ``show`` are called by the run, and only leave word: they neither wait nor fail.

    Raises:
        UsageError: the address is none, or in use.
    """

    def __init__(self, address: str) -> None:
        self._server = Server(bind(address), self, {"stop": self._stop})
        self._thread = threading.Thread(target=self._work, name="fluxbatch-page", daemon=True)
        self._files = served_page("live.js", "live.css")
        self._lock = threading.Lock()
        self._changed: dict[str, None] = {}
        self._all_changed = False
        self._run: tuple[Paths, str, Callable[[], None]] | None = None
        self._shelf: FolderShelf | None = None
        self._progress: Progress | None = None
        self._state: dict[str, Any] = {"phase": "preparing"}
        self._over = threading.Event()
        self.broken = ""

    @property
    def link(self) -> str:
        """The address with the token."""
        return self._server.link

    @property
    def is_open(self) -> bool:
        """Whether other machines can reach it."""
        return self._server.is_open

    def open(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def begin(self, paths: Paths, run_id: str, stop: Callable[[], None]) -> None:
        """There is a plan in this folder's ledger, and requests follow. ``stop`` may be called by any thread."""
        self._run = (paths, run_id, stop)
        self._state = {"phase": "running"}

    def note(self, event: Event) -> None:
        """Keep in mind which jobs have changed."""
        if isinstance(event, JobStored | JobFailed | JobLost):
            with self._lock:
                self._changed[event.job_id] = None
                if len(self._changed) > _MOST_CHANGED:
                    self._changed.clear()
                    self._all_changed = True
        elif isinstance(event, RunEnded):
            self._state = {"phase": "ended", "exit_code": event.exit_code, "stop_reason": event.stop_reason}

    def show(self, progress: Progress) -> None:
        """How things stand."""
        self._progress = progress

    def close(self) -> None:
        """Have open pages hear how it ended, for a few seconds at most, and stop serving."""
        if self._state["phase"] != "ended":
            self._state = {"phase": "ended", "exit_code": None, "stop_reason": "called_off"}
        self._over.set()
        if self._thread.ident is not None:
            self._thread.join(_CLOSING_S)

    # ------------------------------------------------------------------------------ from here on, the page's own thread
    def _work(self) -> None:
        try:
            anyio.run(self._serve)
        except Exception as error:  # noqa: BLE001  # it is told at the end; the run has nothing to do with it
            self.broken = f"{type(error).__name__}: {error}"

    async def _serve(self) -> None:
        async with AsyncExitStack() as stack, self._server:
            over = False
            while not over:
                over = self._over.is_set()
                if self._run is not None and self._shelf is None:
                    self._shelf = FolderShelf(*self._run[:2])
                    stack.push_async_callback(self._shelf.close)
                    self._all_changed = True
                await self._tell()
                if not over:
                    await anyio.sleep(_EVERY_S)
                elif self._server.feed.is_read:
                    await anyio.sleep(_LINGER_S)

    async def _tell(self) -> None:
        feed = self._server.feed
        with self._lock:
            changed, everything = list(self._changed), self._all_changed
            self._changed, self._all_changed = {}, False
        if everything:
            feed.resync()
        elif self._shelf is not None and feed.is_read:
            try:
                for first in range(0, len(changed), _AT_A_TIME):
                    entries = await self._shelf.some(changed[first : first + _AT_A_TIME])
                    feed.tell("jobs", [changes_of(entry) for entry in entries])
            except FluxbatchError:
                self._all_changed = True
        if self._progress is not None:
            feed.stand("progress", asdict(self._progress))
        feed.stand("run", self._state)

    async def _stop(self, _: dict[str, Any]) -> dict[str, Any]:
        """What the first Ctrl-C does; more of it changes nothing."""
        if self._run is None or self._state["phase"] != "running":
            raise Refused("there is no run to be stopped")
        self._run[2]()
        return {"stopping": True}

    # ------------------------------------------------------------------------------------------------------- its shelf
    @property
    def files(self) -> Mapping[str, bytes]:
        """The page and its scripts."""
        return self._files

    async def about(self) -> dict[str, Any]:
        """What holds for all jobs; next to nothing before there is a plan."""
        if self._shelf is None:
            return {"mode": "live", "out": "", "simulated": False, "at": 0, "timeline": Timeline().as_dict({})}
        return {"mode": "live", **await self._shelf.about()}

    async def jobs(self) -> AsyncGenerator[Sequence[dict[str, Any]], None]:
        """All jobs; none before there is a plan."""
        if self._shelf is not None:
            async for page in self._shelf.jobs():
                yield page

    async def more(self, job_id: str) -> dict[str, Any]:  # noqa: ARG002  # the protocol
        """Nothing beyond the list."""
        return {}

    async def picture(self, job_id: str, place: int, *, small: bool) -> tuple[Path, str] | None:
        """The file of a picture and its MIME type."""
        return None if self._shelf is None else await self._shelf.picture(job_id, place, small=small)
