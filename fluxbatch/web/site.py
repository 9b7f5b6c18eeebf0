"""The addresses of a site, and the checks that come before any of them."""

from __future__ import annotations

import mimetypes
from contextlib import aclosing
from html import escape
from typing import TYPE_CHECKING, Any, Final

import anyio
import orjson
from aiohttp import web

from fluxbatch.errors import FluxbatchError, UsageError
from fluxbatch.web.guard import HEADERS, Visit
from fluxbatch.web.shelf import Refused

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from fluxbatch.web.feed import Feed
    from fluxbatch.web.guard import Guard
    from fluxbatch.web.shelf import Door, Shelf

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

__all__ = ["make_app"]

_LOOK_S: Final = 1.0
"""how soon a page that was closed is noticed"""
_BEAT: Final = 15
"""looks, after which there is a word, so that a machine that is gone is noticed as well"""
_HUNG_S: Final = 20.0
"""a reader who takes nothing for so long is let go"""
_PIECE: Final = 64 * 1024
_LONGEST_POST: Final = 256 * 1024
_MOST_LISTS: Final = 4
"""readers who are given all jobs at the same time"""
_HEAD: Final = '<!doctype html><meta charset="utf-8"><title>fluxbatch</title><link rel="icon" href="data:,">'
_ENTER: Final = f'{_HEAD}<meta http-equiv="refresh" content="0;url=/"><a href="/">fluxbatch</a>'


def make_app(guard: Guard, shelf: Shelf, feed: Feed, doors: Mapping[str, Door], *, cookie: str) -> web.Application:
    """The application. ``cookie``: its name; browsers keep one jar for all ports of a host."""
    site = _Site(guard, shelf, feed, doors, cookie)
    app = web.Application(middlewares=[site.check], client_max_size=_LONGEST_POST)
    app.router.add_get("/", site.index)
    app.router.add_get("/about", site.about)
    app.router.add_get("/jobs", site.jobs)
    app.router.add_get("/job", site.job)
    app.router.add_get("/events", site.events)
    app.router.add_get("/picture", site.picture)
    for name in shelf.files:
        app.router.add_get(f"/{name}", site.file)
    for name in doors:
        app.router.add_post(f"/{name}", site.act)
    return app


class _Site:
    def __init__(self, guard: Guard, shelf: Shelf, feed: Feed, doors: Mapping[str, Door], cookie: str) -> None:
        self._guard, self._shelf, self._feed, self._doors = guard, shelf, feed, doors
        self._cookie = cookie
        self._lists = anyio.CapacityLimiter(_MOST_LISTS)

    @web.middleware
    async def check(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let in who may come in; what goes wrong inside is told without its inside."""
        visit = _visit(request, self._cookie)
        entering = request.method == "GET" and request.path == "/" and "token" in request.query
        refusal = self._guard.judge_host(visit) if entering else self._guard.judge(visit)
        if refusal is not None:
            return _words(refusal.status, refusal.words)
        if entering:
            return self._enter(request)
        try:
            response = await handler(request)
        except web.HTTPException as error:
            return _words(error.status, error.reason)
        except Refused as error:
            return _json({**error.facts, "error": str(error)}, status=409)
        except UsageError as error:
            return _json({"error": str(error)}, status=400)
        except FluxbatchError as error:
            return _json({"error": str(error)}, status=503)
        if not response.prepared:
            response.headers.update(HEADERS)
            response.headers.setdefault("Cache-Control", "no-store")
        return response

    def _enter(self, request: web.Request) -> web.Response:
        """Take the token for a cookie.

        The page goes on by itself: after a redirect, a browser that came from another site would keep the cookie back.
        """
        if not self._guard.admits(request.query["token"]):
            return _words(401, "this link is not, or no longer, valid: open the one that was printed last")
        response = web.Response(text=_ENTER, content_type="text/html", headers=HEADERS)
        response.headers["Cache-Control"] = "no-store"
        response.set_cookie(self._cookie, self._guard.session, httponly=True, samesite="Strict", path="/")
        return response

    async def index(self, _: web.Request) -> web.Response:
        return web.Response(body=self._shelf.files["index.html"], content_type="text/html", charset="utf-8")

    async def file(self, request: web.Request) -> web.Response:
        name = request.path.removeprefix("/")
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        return web.Response(body=self._shelf.files[name], content_type=kind, charset="utf-8")

    async def about(self, _: web.Request) -> web.Response:
        return _json(await self._shelf.about())

    async def job(self, request: web.Request) -> web.Response:
        return _json(await self._shelf.more(request.query.get("id", "")))

    async def jobs(self, request: web.Request) -> web.StreamResponse:
        """All jobs, an array of some of them a line. If it breaks off, the transfer does."""
        response = web.StreamResponse(headers={**HEADERS, "Cache-Control": "no-store"})
        response.content_type = "application/x-ndjson"
        async with self._lists, aclosing(self._shelf.jobs()) as pages:
            page = await anext(pages, None)  # what can't be read at all is told with a status
            await response.prepare(request)
            try:
                while page is not None:
                    await _push(request, response, orjson.dumps(page) + b"\n")
                    page = await anext(pages, None)
            except FluxbatchError:
                _abort(request)
            except ConnectionError:
                pass  # the page was closed
        return response

    async def events(self, request: web.Request) -> web.StreamResponse:
        """Tell what happens, for as long as the page is open. Each connection begins with how everything stands."""
        reader = self._feed.open()
        if reader is None:
            return _words(503, "too many pages are open")
        response = web.StreamResponse(headers={**HEADERS, "Cache-Control": "no-store"})
        response.content_type = "text/event-stream"
        try:
            await response.prepare(request)
            await _push(request, response, b"retry: 2000\n\n")
            silent = 0
            while (words := await reader.take(_LOOK_S)) is not None and request.transport is not None:
                silent = 0 if words else (silent + 1) % _BEAT
                if words or not silent:
                    await _push(request, response, words or b": \n\n")
        except ConnectionError:
            pass  # the page was closed
        finally:
            self._feed.leave(reader)
        return response

    async def picture(self, request: web.Request) -> web.StreamResponse:
        asked = request.query
        place = asked.get("n", "0")
        if not place.removeprefix("-").isdecimal() or len(place) > 4:
            return _words(404, "no such picture")
        found = await self._shelf.picture(asked.get("id", ""), int(place), small="small" in asked)
        if found is None:
            return _words(404, "no such picture")
        path, kind = found
        keep = "private, max-age=3600" if asked.get("v") else "no-store"
        return web.FileResponse(path, headers={"Content-Type": kind, "Cache-Control": keep, **HEADERS})

    async def act(self, request: web.Request) -> web.Response:
        try:
            said = orjson.loads(await request.read())
        except orjson.JSONDecodeError:
            said = None
        if not isinstance(said, dict):
            return _json({"error": "this is no JSON object"}, status=400)
        return _json(await self._doors[request.path.removeprefix("/")](said))


def _visit(request: web.Request, cookie: str) -> Visit:
    headers = request.headers
    return Visit(
        host=headers.get("Host", ""),
        origin=headers.get("Origin", ""),
        fetched_from=headers.get("Sec-Fetch-Site", ""),
        cookie=request.cookies.get(cookie, ""),
        kind=request.content_type,
        acts=request.method not in {"GET", "HEAD"},
    )


async def _push(request: web.Request, response: web.StreamResponse, data: bytes) -> None:
    """Write, and let go of a reader who takes nothing.

    Raises:
        ConnectionError: he is gone.
    """
    for start in range(0, len(data), _PIECE):
        with anyio.move_on_after(_HUNG_S) as waiting:
            await response.write(data[start : start + _PIECE])
        if waiting.cancelled_caught:
            _abort(request)
            raise ConnectionResetError("a reader who takes nothing")


def _abort(request: web.Request) -> None:
    """End a transfer so that the other side can't take it for whole."""
    if request.transport is not None:
        request.transport.abort()


def _words(status: int, words: str) -> web.Response:
    headers = {**HEADERS, "Cache-Control": "no-store"}
    return web.Response(status=status, text=f"{_HEAD}<p>{escape(words)}</p>", content_type="text/html", headers=headers)


def _json(facts: dict[str, Any], *, status: int = 200) -> web.Response:
    headers = {**HEADERS, "Cache-Control": "no-store"}
    return web.Response(status=status, body=orjson.dumps(facts), content_type="application/json", headers=headers)
