"""`GET` and `HEAD` of a result: the signed URL, ranges, and what can go wrong on the way."""

from __future__ import annotations

from email.utils import formatdate
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
from aiohttp import web

from .errors import azure_error
from .ranges import UnsatisfiableRangeError, if_range_holds, parse_range
from .signing import deadline_of
from .wire import cut, reset, start_body
from .world import World, is_gone, stall

if TYPE_CHECKING:
    from .store import Result

FIRST_HOP, SECOND_HOP = "/results/", "/durable/"
SLOW_STEPS = 20
PAGE = b"<!DOCTYPE html><html><body><h1>One moment, please</h1></body></html>"


async def handle_delivery(world: World, request: web.Request, request_id: str) -> web.StreamResponse:
    """Serve one result, or say in Azure's words why not."""
    first_hop = request.path.startswith(FIRST_HOP)
    fault = None
    if request.method == "GET" and first_hop:
        world.deliveries += 1
        fault = world.faults.on_delivery(world.deliveries)
    response = await _respond(world, request, request_id, fault)
    world.tell(event="deliver", request_id=request_id, status=response.status, fault=fault, name=request.path)
    return response


async def _respond(world: World, request: web.Request, request_id: str, fault: str | None) -> web.StreamResponse:
    if refusal := _refusal(world, request, request_id, fault):
        return refusal
    name = f"{request.match_info['id']}/{request.match_info['file']}"
    result = await anyio.to_thread.run_sync(world.folder.find, name)
    if result is None or fault == "download-404":
        message = "The specified blob does not exist."
        return azure_error(404, "BlobNotFound", message, now=world.clock(), request_id=request_id)
    hop_wanted = world.config.redirect_delivery or fault == "download-redirect"
    if hop_wanted and request.path.startswith(FIRST_HOP):
        target = world.signer.sign(SECOND_HOP + name, result.mime, result.deadline)
        return web.Response(status=302, headers={"Location": world.delivery_base + target})
    data = await anyio.to_thread.run_sync(world.folder.read, result)
    return await _send(world, request, result, data, fault)


def _refusal(world: World, request: web.Request, request_id: str, fault: str | None) -> web.Response | None:
    now = world.clock()
    if _carries_key(world, request):
        world.leaked_keys += 1
        message = (
            "Authentication information is not given in the correct format. Check the value of Authorization header."
        )
        return azure_error(400, "InvalidAuthenticationInfo", message, now=now, request_id=request_id)
    verdict = world.signer.check(request.raw_path, now)
    if verdict == "ok" and fault != "download-403":
        return None
    detail = "Signature did not match."
    if verdict == "expired":
        expiry = formatdate(deadline_of(request.raw_path), usegmt=True)
        detail = f"Signature not valid in the specified time frame: Expiry [{expiry}] - Current [{world.date()}]"
    message = (
        "Server failed to authenticate the request. Make sure the value of Authorization header is formed correctly "
        "including the signature."
    )
    return azure_error(403, "AuthenticationFailed", message, detail=detail, now=now, request_id=request_id)


def _carries_key(world: World, request: web.Request) -> bool:
    """The key must never reach the delivery host, in whatever header or query."""
    key = world.config.api_key
    return (
        "Authorization" in request.headers
        or any(key in value for value in request.headers.values())
        or key in request.raw_path
    )


async def _send(
    world: World, request: web.Request, result: Result, data: bytes, fault: str | None
) -> web.StreamResponse:
    modified = formatdate(result.created, usegmt=True)
    headers = {
        "Content-Type": result.mime,
        "ETag": result.etag,
        "Last-Modified": modified,
        "Accept-Ranges": "bytes",
        "Date": world.date(),
        "Server": "Windows-Azure-Blob/1.0 Microsoft-HTTPAPI/2.0",
    }
    wanted = None
    if if_range_holds(request.headers.get("If-Range"), result.etag, modified):
        try:
            wanted = parse_range(request.headers.get("Range"), len(data))
        except UnsatisfiableRangeError:
            return _unsatisfiable(world, len(data))
    if wanted is None:
        headers["Content-MD5"] = result.md5
        return await _body(world, request, headers, 200, data, fault)
    start, stop = wanted
    headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(data)}"
    return await _body(world, request, headers, 206, data[start:stop], fault)


def _unsatisfiable(world: World, size: int) -> web.Response:
    message = "The range specified is invalid for the current size of the resource."
    response = azure_error(416, "InvalidRange", message, now=world.clock(), request_id=world.new_request_id())
    response.headers["Content-Range"] = f"bytes */{size}"
    return response


async def _body(
    world: World, request: web.Request, headers: dict[str, str], status: int, data: bytes, fault: str | None
) -> web.StreamResponse:
    match fault:
        case "download-html":
            return web.Response(body=PAGE, content_type="text/html")
        case "download-empty":
            return web.Response(body=b"", headers={"Content-Type": headers["Content-Type"]})
        case "download-corrupt":
            return web.Response(status=status, headers=headers, body=_corrupt(data))
        case "download-slow" | "download-stall" | "download-truncated" | "download-reset":
            return await _badly(world, request, headers, status, data, fault)
        case _:
            return web.Response(status=status, headers=headers, body=data)


def _corrupt(data: bytes) -> bytes:
    """The same length and ends, other bytes in between: only decoding or a checksum shows it."""
    middle, reach = len(data) // 2, max(min(len(data) // 8, 512), 1)
    wrong = bytes(byte ^ 0x5A for byte in data[middle : middle + reach])
    return data[:middle] + wrong + data[middle + reach :]


async def _badly(
    world: World, request: web.Request, headers: dict[str, str], status: int, data: bytes, fault: str
) -> web.StreamResponse:
    response = await start_body(request, status, headers, len(data))
    if fault == "download-slow":
        await _trickle(world, request, response, data)
        return response
    await response.write(data[: len(data) // 2])
    if fault == "download-stall":
        await stall(world, request, world.faults.stall_s)
    if fault == "download-reset":
        # what was written should leave first: a reset discards what is still queued
        await anyio.sleep(0.05)
        reset(request)
    else:
        cut(request)
    return response


async def _trickle(world: World, request: web.Request, response: web.StreamResponse, data: bytes) -> None:
    step = max(len(data) // SLOW_STEPS, 1)
    for start in range(0, len(data), step):
        if is_gone(request) or world.stopping.is_set():
            cut(request)
            return
        await response.write(data[start : start + step])
        await anyio.sleep(world.faults.slow_s / SLOW_STEPS)
