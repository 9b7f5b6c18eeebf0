"""Addresses of the simulator, and the checks that come before any of them: Host, key, shape of errors."""

from __future__ import annotations

import asyncio
import hmac
from typing import TYPE_CHECKING, Any

from aiohttp import web

from .billing import log_page
from .catalog import MODELS
from .config import is_loopback
from .deliver import FIRST_HOP, SECOND_HOP, handle_delivery
from .errors import ApiError, HtmlError, invalid_url
from .generate import handle_generation

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .world import World

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

WRONG_HOST = ApiError(403, "access_denied", "this Host is not served: use 127.0.0.1 or localhost")
REQUEST_ID = web.RequestKey("request_id", str)


def make_app(world: World, tasks: set[asyncio.Task[Any]]) -> web.Application:
    """The application; `tasks` holds every request under way, also those whose client has left."""

    @web.middleware
    async def keep_task(request: web.Request, handler: Handler) -> web.StreamResponse:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        return await handler(request)

    @web.middleware
    async def shape_answers(request: web.Request, handler: Handler) -> web.StreamResponse:
        request_id = request[REQUEST_ID] = world.new_request_id()
        response, code = await _answer(request, handler, request_id)
        if not request.path.startswith((FIRST_HOP, SECOND_HOP)):
            world.answers[f"{response.status} {code}".strip()] += 1
            if code != "html" and not response.prepared:
                response.headers["X-Oneapi-Request-Id"] = request_id
        if not response.prepared:
            response.headers["Date"] = world.date()
        return response

    app = web.Application(middlewares=[keep_task, shape_answers])
    _add_routes(app, world)
    return app


async def _answer(request: web.Request, handler: Handler, request_id: str) -> tuple[web.StreamResponse, str]:
    """The answer and its error code, "" for a success."""
    if not is_loopback(_host_name(request)):
        return error_response(WRONG_HOST, request_id), "access_denied"
    try:
        return await handler(request), ""
    except ApiError as error:
        return error_response(error, request_id), error.code or ""
    except HtmlError as error:
        return error.response(), "html"
    except (web.HTTPNotFound, web.HTTPMethodNotAllowed):
        return error_response(invalid_url(request.method, request.path), request_id), "invalid_url"


def error_response(error: ApiError, request_id: str) -> web.Response:
    """An error as the gateway answers it."""
    return web.json_response(error.body(request_id), status=error.status, headers=error.headers)


def _add_routes(app: web.Application, world: World) -> None:
    async def generate(request: web.Request) -> web.StreamResponse:
        _authorise(world, request)
        return await handle_generation(world, request, request[REQUEST_ID])

    async def deliver(request: web.Request) -> web.StreamResponse:
        return await handle_delivery(world, request, request[REQUEST_ID])

    async def models(request: web.Request) -> web.StreamResponse:
        _authorise(world, request)
        entries = [{"id": name, "object": "model", "created": 0, "owned_by": "black-forest-labs"} for name in MODELS]
        return web.json_response({"object": "list", "data": entries})

    async def call_log(request: web.Request) -> web.StreamResponse:
        # an invalid token is 200 with success false, as the gateway family documents
        token = request.headers.get("Authorization", "")
        if not _same(token, world.config.system_token):
            return web.json_response({"success": False, "message": "无权进行此操作，access token is invalid."})
        return web.json_response(log_page(world.account.calls, dict(request.query)))

    app.router.add_post("/v1/images/generations", generate)
    app.router.add_get("/v1/models", models)
    app.router.add_get("/api/log/self", call_log)
    for hop in (FIRST_HOP, SECOND_HOP):
        app.router.add_get(hop + "{id}/{file}", deliver, allow_head=True)


def _authorise(world: World, request: web.Request) -> None:
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    if not key:
        raise ApiError(401, "", "未提供令牌 (no token provided: send Authorization: Bearer sk-…)")
    if scheme.lower() != "bearer" or not _same(key, world.config.api_key):
        raise ApiError(401, "invalid_api_key", "无效的令牌 (invalid token)")


def _same(given: str, right: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), right.encode())


def _host_name(request: web.Request) -> str:
    host = request.headers.get("Host", "")
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() else host
