"""A site on a socket."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final, Self

import anyio
from aiohttp import web

from fluxbatch.web.feed import Feed
from fluxbatch.web.guard import Guard
from fluxbatch.web.site import make_app

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from fluxbatch.web.address import Bound
    from fluxbatch.web.shelf import Door, Shelf

__all__ = ["Server"]

_MOST_CONNECTIONS: Final = 120
"""each holds a file descriptor, and a run needs its own"""
_BACKLOG: Final = 100
"""as many again may come before they are counted"""
_LAST_WORDS_S: Final = 1.0
_SILENT: Final = logging.getLogger("fluxbatch.web")
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False


class Server:
    """Serves for as long as the context lasts, in the loop that it is entered in.

    Args:
        bound: where; the link is known before anything is served.
        shelf: what.
        doors: what readers may do, by name.
    """

    def __init__(self, bound: Bound, shelf: Shelf, doors: Mapping[str, Door]) -> None:
        self.feed = Feed()
        self._bound = bound
        self._guard = Guard(bound.answers_to)
        self._shelf, self._doors = shelf, doors
        self._runner: web.AppRunner | None = None
        self._server: asyncio.Server | None = None

    @property
    def link(self) -> str:
        """The address with the token."""
        return f"{self._bound.origin}/?token={self._guard.token}"

    @property
    def is_open(self) -> bool:
        """Whether other machines can reach it."""
        return self._bound.is_open

    async def __aenter__(self) -> Self:
        """Begin to serve."""
        port = self._bound.socket.getsockname()[1]
        app = make_app(self._guard, self._shelf, self.feed, self._doors, cookie=f"fluxbatch-{port}")
        self._runner = web.AppRunner(app, access_log=None, logger=_SILENT, shutdown_timeout=_LAST_WORDS_S)
        await self._runner.setup()
        handlers = self._runner.server
        assert handlers is not None

        def accept() -> asyncio.Protocol:
            return handlers() if len(handlers.connections) < _MOST_CONNECTIONS else _Full()

        self._server = await asyncio.get_running_loop().create_server(accept, sock=self._bound.socket, backlog=_BACKLOG)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let open pages hear the last words, within a second, and stop."""
        with anyio.CancelScope(shield=True):
            self.feed.close()
            if self._server is not None:
                self._server.close()
            if self._runner is not None:
                await self._runner.cleanup()  # readers end by themselves once they have taken all


class _Full(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()
