"""Bytes on the connection: bodies with a limit, resets, answers that end badly."""

from __future__ import annotations

import json
import socket
import struct
from typing import TYPE_CHECKING, Any

import anyio.to_thread
from aiohttp import web

from .errors import ApiError

if TYPE_CHECKING:
    from .world import World

SMALL_BODY = 64 * 1024
"""Bodies up to this many bytes are parsed on the loop; a thread costs more."""


async def read_json(world: World, request: web.Request) -> dict[str, Any]:
    """The body as a JSON object.

    :raises ApiError: 413 too large, 400 for another content type or what is no JSON object.
    """
    if request.content_type != "application/json":
        message = f"Content-Type must be application/json, not {request.content_type}"
        raise ApiError(400, "invalid_request", message)
    data = await _read_body(request, world.config.max_body_bytes)
    try:
        body = _parse(data) if len(data) <= SMALL_BODY else await anyio.to_thread.run_sync(_parse, data)
    except (ValueError, RecursionError) as error:
        raise ApiError(400, "invalid_request", f"the body is no valid JSON: {error}") from error
    if not isinstance(body, dict):
        raise ApiError(400, "invalid_request", "the body must be a JSON object")
    return body


async def _read_body(request: web.Request, limit: int) -> bytearray:
    too_large = ApiError(413, "read_request_body_failed", f"request body too large: at most {limit / 2**20:g} MB")
    if request.content_length is not None and request.content_length > limit:
        raise too_large
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > limit:
            raise too_large
    return body


def _parse(data: bytearray) -> Any:
    return json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)} is given twice")
    return result


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def reset(request: web.BaseRequest) -> web.Response:
    """Drop the connection with a RST; the response is a formality that nobody receives."""
    transport = request.transport
    if transport is not None:
        raw = transport.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    return web.Response(status=500)


async def start_body(request: web.Request, status: int, headers: dict[str, str], length: int) -> web.StreamResponse:
    """An answer with `length` announced, whose bytes are written by the caller."""
    response = web.StreamResponse(status=status, headers=headers)
    response.content_length = length
    await response.prepare(request)
    return response


def cut(request: web.BaseRequest) -> None:
    """Close the connection in the middle of an answer, after what was written is out."""
    if request.transport is not None:
        request.transport.close()
