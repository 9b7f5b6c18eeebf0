"""The request body: JSON with images in it, streamed from disk in pieces.

Memory per upload is one piece, whatever the photos weigh; the length is known beforehand. The gate keeps a socket that
takes everything at once from starving the event loop.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import orjson
import pybase64
from aiohttp.http import StreamWriter
from aiohttp.payload import Payload
from anyio.lowlevel import checkpoint

from fluxbatch.errors import PhotoError
from fluxbatch.model.job import Photo, RemoteImage

if TYPE_CHECKING:
    from asyncio import Transport
    from collections.abc import Callable, Iterable

    from aiohttp.abc import AbstractStreamWriter

    from fluxbatch.model.job import PlannedJob
    from fluxbatch.ports import PhotoReader, Source

__all__ = ["PIECE", "RequestBody", "UploadGate", "segments"]

PIECE: Final = 192 * 1024
"""raw bytes a piece: a multiple of 3, so that pieces of base64 join without padding"""


class UploadGate:
    """One piece of one upload at a time, and a round of the event loop for the others after each.

    Uploads take turns: read a piece, encode it, hand it to the socket. The buffer is shared: a piece is
    encoded before the turn ends.
    """

    def __init__(self) -> None:
        self._busy = False
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._buffer = memoryview(bytearray(PIECE))

    async def pass_on(self, reader: PhotoReader, writer: StreamWriter) -> int:
        """Send the next piece; return its raw size, 0 at the end of the photo."""
        await self._turn()
        try:
            size = reader.readinto(self._buffer)
            if size:
                # a view: what TLS or the socket don't take at once is cut off it, and not copied each time
                await writer.write(memoryview(pybase64.b64encode(self._buffer[:size])), drain=False)
            await checkpoint()
        finally:
            self._pass_turn()
        return size

    async def _turn(self) -> None:
        """Wait for it. Who is given one goes on in the next round of the event loop."""
        if not self._busy:
            self._busy = True
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except BaseException:
            if turn.done() and not turn.cancelled():
                self._pass_turn()
            raise

    def _pass_turn(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._busy = False


class RequestBody(Payload):
    """The body of one request.

    Args:
        parts: JSON text and photos, in order; the last one is text.
        source: opens the photos.
        gate: shared by all uploads.
        progress: told after each piece that the network took, with True once the last byte is about to go.

    Attributes:
        complete: the last byte was handed to the network: from now on the request may be billed.
        error: what was wrong with a photo, if that broke the body off.
    """

    def __init__(
        self, parts: Iterable[bytes | Photo], source: Source, gate: UploadGate, progress: Callable[[bool], None]
    ) -> None:
        super().__init__(None, content_type="application/json")
        self._parts = tuple(parts)
        self._source = source
        self._gate = gate
        self._progress = progress
        self._size = sum(_encoded_size(part.size) if isinstance(part, Photo) else len(part) for part in self._parts)
        self.complete = False
        self.error: PhotoError | None = None
        self._transport: Transport | None = None
        self._socket: socket.socket | None = None

    def abort(self) -> None:
        """Cut the connection at once: a mere close would wait for the other side to take what is buffered."""
        if self._transport is None or self._socket is None:
            return
        self._transport.abort()
        # a TLS transport that both sides have closed lets go of its socket: abort() does nothing any more
        _shut_down(self._socket)

    def forget_rest(self) -> None:
        """The answer is here: what is not sent yet stays unsent, or closing would wait for the others to take it."""
        transport = self._transport
        if transport is not None and (transport.is_closing() or transport.get_write_buffer_size()):
            self.abort()

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:  # noqa: ARG002  # aiohttp's signature
        """A streamed body has no text of its own."""
        raise TypeError("a request body is streamed, not decoded")

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Send everything. Breaks off before the last byte if a photo is not the one that was checked."""
        assert isinstance(writer, StreamWriter)
        transport = self._transport = writer.transport
        self._socket = None if transport is None else transport.get_extra_info("socket")
        for part in self._parts[:-1]:
            if isinstance(part, Photo):
                await self._send_photo(part, writer)
            else:
                await writer.write(part)
            self._progress(False)
        last = self._parts[-1]
        assert isinstance(last, bytes)
        self.complete = True
        await writer.write(last)
        self._progress(True)

    async def _send_photo(self, photo: Photo, writer: StreamWriter) -> None:
        try:
            reader = self._source.open(photo)
            try:
                left = photo.size
                while left and (size := await self._gate.pass_on(reader, writer)):
                    left -= size
                    await writer.drain()
                    self._progress(False)
                reader.verify()
            finally:
                reader.close()
        except PhotoError as error:
            self.error = error
            raise


def segments(job: PlannedJob) -> list[bytes | Photo]:
    """The body of a job as JSON text with photos in between, image 1 first, always ending in text.

    The engine has put photos where the job says ``JobOutput`` or ``ObjectPhoto``.
    """
    parts: list[bytes | Photo] = []
    text = orjson.dumps(dict(job.fields))[:-1]
    for number, image in enumerate(job.images, start=1):
        name = b"input_image" if number == 1 else b"input_image_%d" % number
        if isinstance(image, Photo):
            parts += [text + b',"%b":"data:%b;base64,' % (name, image.mime.encode()), image]
            text = b'"'
        elif isinstance(image, RemoteImage):
            text += b',"%b":%b' % (name, orjson.dumps(image.ref))
        else:
            raise TypeError(f"{job.id}: {image.ref} was not made ready")
    return [*parts, text + b"}"]


def _shut_down(sock: socket.socket) -> None:
    """By its descriptor: what uvloop gives out for a socket refuses to be shut down."""
    if sock.fileno() < 0:
        return
    with suppress(OSError):  # it may be closed
        own = socket.socket(fileno=sock.fileno())
        try:
            own.shutdown(socket.SHUT_RDWR)
        finally:
            own.detach()


def _encoded_size(raw: int) -> int:
    return (raw + 2) // 3 * 4
