"""The API as the benchmarks need it: it waits for the whole body, whose bytes it counts and drops."""

from __future__ import annotations

import asyncio
import json
import re
import resource
import time
from email.utils import formatdate
from typing import Any, Final
from urllib.parse import quote

_BUFFER: Final = memoryview(bytearray(1 << 20))
"""shared: what is read is dealt with before anything else is read"""
_MOST_HEAD: Final = 64 * 1024
_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)
_EXPECT: Final = re.compile(rb"\r\nexpect:[ \t]*100-continue", re.IGNORECASE)
_URL_LIFE_S: Final = 600


class World:
    """What all connections share."""

    def __init__(self, loop: asyncio.AbstractEventLoop, image: bytes, latency_s: float) -> None:
        self.loop = loop
        self.latency_s = latency_s
        self.origin = ""
        self.counts = {"posts": 0, "gets": 0, "refused": 0, "body_bytes": 0, "connections": 0}
        self._image = image
        self._second = -1
        self._date = self._until = b""

    def image(self) -> bytes:
        self.counts["gets"] += 1
        self._tick()
        return _message(b"200 OK", b"image/jpeg", self._image, b"Date: %b\r\n" % self._date)

    def grant(self) -> bytes:
        self._tick()
        number = self.counts["posts"]
        url = b"%b/results/%d/sample.jpeg?se=%b&sig=bench%%2B%%3D" % (self.origin.encode(), number, self._until)
        body = b'{"created":%d,"data":[{"url":"%b"}]}' % (self._second, url)
        return _message(
            b"200 OK", b"application/json", body, b"Date: %b\r\nX-Request-Id: %d\r\n" % (self._date, number)
        )

    def refuse(self, status: bytes) -> bytes:
        self.counts["refused"] += 1
        return _message(status, b"application/json", b'{"error":{"message":"%b"}}' % status)

    def report(self) -> bytes:
        used = resource.getrusage(resource.RUSAGE_SELF)
        return _message(
            b"200 OK",
            b"application/json",
            json.dumps({**self.counts, "cpu_s": used.ru_utime + used.ru_stime}).encode(),
        )

    def _tick(self) -> None:
        second = int(time.time())  # noqa: TID251  # dates of an API are wall time
        if second != self._second:
            self._second = second
            self._date = formatdate(second, usegmt=True).encode()
            until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(second + _URL_LIFE_S))
            self._until = quote(until, safe="").encode()


class Connection(asyncio.BufferedProtocol):
    def __init__(self, world: World) -> None:
        self._world = world
        self._transport: Any = None
        self._head = bytearray()
        self._left = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._world.counts["connections"] += 1
        self._transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002  # asyncio's signature
        return _BUFFER

    def buffer_updated(self, nbytes: int) -> None:
        data = _BUFFER[:nbytes]
        while data:
            data = self._in_body(data) if self._left else self._in_head(data)

    def _in_head(self, data: memoryview) -> memoryview:
        known = len(self._head)
        self._head += data[:_MOST_HEAD]
        end = self._head.find(b"\r\n\r\n", max(0, known - 3))
        if end < 0:
            if len(self._head) > _MOST_HEAD:
                self._transport.abort()
            return _BUFFER[:0]
        head = bytes(self._head[:end])
        self._head.clear()
        self._begin(head)
        return data[end + 4 - known :]

    def _in_body(self, data: memoryview) -> memoryview:
        taken = min(len(data), self._left)
        self._left -= taken
        self._world.counts["body_bytes"] += taken
        if not self._left:
            self._complete(whole=data[taken - 1] == ord("}"))
        return data[taken:]

    def _begin(self, head: bytes) -> None:
        world = self._world
        if head.startswith(b"GET /results/"):
            self._send(world.image())
        elif head.startswith(b"GET /counts "):
            self._send(world.report())
        elif head.startswith(b"POST /v1/images/generations ") and (found := _LENGTH.search(head)):
            self._left = int(found[1])
            if _EXPECT.search(head):
                self._send(b"HTTP/1.1 100 Continue\r\n\r\n")
        else:
            self._send(world.refuse(b"404 Not Found"))
            self._transport.close()

    def _complete(self, *, whole: bool) -> None:
        world = self._world
        if not whole:
            self._send(world.refuse(b"400 Bad Request"))
            return
        world.counts["posts"] += 1
        answer = world.grant()
        if world.latency_s:
            world.loop.call_later(world.latency_s, self._send, answer)
        else:
            self._send(answer)

    def _send(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)


def _message(status: bytes, kind: bytes, body: bytes, more: bytes = b"") -> bytes:
    head = b"HTTP/1.1 %b\r\nContent-Type: %b\r\nContent-Length: %d\r\n%b\r\n"
    return head % (status, kind, len(body), more) + body
