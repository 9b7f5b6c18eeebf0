"""A server that does what a script says, byte by byte, and remembers what it was sent, byte by byte."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import anyio
import orjson

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable


Script: TypeAlias = "Callable[[Peer], Awaitable[None]]"
"""what a server does with one connection"""
SMALL_BUFFER = 32 * 1024
"""what the kernel may hold on the server's side when a test wants uploads to block early"""


@dataclass
class Request:
    line: str
    headers: dict[str, str]
    """names in lower case; a name that came twice is joined by a comma"""
    body: bytes = b""

    @property
    def method(self) -> str:
        return self.line.split(" ")[0]

    @property
    def target(self) -> str:
        return self.line.split(" ")[1]

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


@dataclass
class Peer:
    """One accepted connection."""

    number: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    server: RawServer
    received: int = 0
    """bytes of bodies"""

    async def head(self) -> Request:
        """The next request without its body; ``EOFError`` if the client closes instead."""
        raw = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *lines = raw[:-4].split("\r\n")
        request = Request(line, {})
        for one in lines:
            name, _, value = one.partition(":")
            name = name.lower()
            known = request.headers.get(name)
            request.headers[name] = value.strip() if known is None else f"{known},{value.strip()}"
        self.server.requests.append(request)
        return request

    async def body(self, request: Request, *, bytes_at_most: int | None = None) -> bytes:
        """The body, or its first bytes; ``EOFError`` if it is cut short. What came is in ``received``."""
        wanted = int(request.headers.get("content-length", "0"))
        if bytes_at_most is not None:
            wanted = min(wanted, bytes_at_most)
        pieces = []
        while wanted:
            piece = await self.reader.read(min(wanted, 1 << 20))
            if not piece:
                raise EOFError
            pieces.append(piece)
            wanted -= len(piece)
            self.received += len(piece)
        request.body = b"".join(pieces)
        return request.body

    async def request(self) -> Request:
        request = await self.head()
        await self.body(request)
        self.server.complete.append(request)
        return request

    async def send(self, *data: bytes) -> None:
        self.writer.write(b"".join(data))
        await self.writer.drain()

    def reset(self) -> None:
        """Close with RST instead of FIN."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    def half_close(self) -> None:
        self.writer.write_eof()

    def end_with(self, data: bytes) -> None:
        """Send the last bytes and say in the same breath that no more comes, but keep the connection."""
        if not self.server.tls:
            self.writer.write(data)
            self.writer.write_eof()
            return
        tls = self.writer.get_extra_info("ssl_object")
        tls.write(data)
        with suppress(ssl.SSLError):  # it would like the notice of the client too
            tls.unwrap()
        # both go out when the connection is read next

    async def gone(self) -> None:
        """Read on until the client is gone."""
        while await self.reader.read(1 << 20):
            pass


def _nothing() -> None: ...


@dataclass
class RawServer:
    script: Script
    port: int = 0
    tls: bool = False
    peers: list[Peer] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    """every head that was read"""
    complete: list[Request] = field(default_factory=list)
    """requests whose body came whole"""
    failures: list[BaseException] = field(default_factory=list)
    open: int = 0
    stop_listening: Callable[[], None] = _nothing

    @property
    def origin(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def base_url(self) -> str:
        return f"{self.origin}/v1"

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(len(self.peers), reader, writer, self)
        self.peers.append(peer)
        self.open += 1
        try:
            await self.script(peer)
        except (EOFError, OSError, asyncio.CancelledError):
            pass  # the client left, or the test is over
        except Exception as error:  # noqa: BLE001  # told at the end of the test, where it can fail it
            self.failures.append(error)
        finally:
            self.open -= 1
            writer.close()

    async def until(self, true: Callable[[], bool]) -> None:
        """Wait for something that other tasks bring about."""
        with anyio.fail_after(10):
            while not true():
                await anyio.sleep(0.005)


@asynccontextmanager
async def serve(
    script: Script, *, tls: ssl.SSLContext | None = None, small_buffer: bool = False
) -> AsyncIterator[RawServer]:
    listener = socket.socket()
    server = RawServer(script, tls=tls is not None)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if small_buffer:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
    listener.bind(("127.0.0.1", 0))
    listener.listen(256)
    server.port = listener.getsockname()[1]
    running = await asyncio.start_server(server.accept, sock=listener, ssl=tls, limit=SMALL_BUFFER)
    server.stop_listening = running.close
    try:
        yield server
    finally:
        running.close()
        for peer in server.peers:
            peer.writer.transport.abort()
        with anyio.CancelScope(shield=True), anyio.move_on_after(5):
            while server.open:
                await anyio.sleep(0.005)
    if server.failures:
        raise server.failures[0]


def answer(
    body: bytes | str | dict[str, Any], *, status: str = "200 OK", headers: dict[str, str] | None = None
) -> bytes:
    """An answer with a Content-Length."""
    raw = orjson.dumps(body) if isinstance(body, dict) else body.encode() if isinstance(body, str) else body
    lines = {"Content-Type": "application/json", "Content-Length": str(len(raw)), **(headers or {})}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value)
    return f"HTTP/1.1 {status}\r\n{head}\r\n".encode("latin-1") + raw


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
RESULT = "https://delivery.example.com/results/1/sample.jpeg?se=2026-08-15T19%3A22%3A20Z&sig=a%2Bb%2F%3D"
GRANTED: dict[str, Any] = {"created": 1, "data": [{"url": RESULT}]}


def always(*data: bytes) -> Script:
    """Answer every request with the same bytes."""

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(*data)

    return script


def in_turn(*answers: bytes) -> Script:
    """Answer each request with the next bytes, over all connections."""
    left = list(answers)

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(left.pop(0))

    return script
