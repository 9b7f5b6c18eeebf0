"""The two sides of the memory test, each a process of its own: ``python -m tests.http.uploads sink | client …``."""

from __future__ import annotations

import asyncio
import json
import resource
import sys
from pathlib import Path

import anyio

from fluxbatch.adapters.http import Network
from fluxbatch.model.answer import Granted
from fluxbatch.settings import Settings
from tests.http.rawserver import GRANTED, answer
from tests.http.support import Bench, job_of, photo_of

OK = answer(GRANTED)


class Sink(asyncio.BufferedProtocol):
    """Reads each request to its last byte, keeps none of it, and grants."""

    def __init__(self) -> None:
        self._buffer = bytearray(1 << 20)
        self._head = b""
        self._left = 0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def get_buffer(self, sizehint: int) -> bytearray:  # noqa: ARG002  # asyncio's signature
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if not self._left:
            self._head += self._buffer[:nbytes]
            head, end, _ = self._head.partition(b"\r\n\r\n")
            if not end:
                return
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            self._left = int(length.partition(b":")[2]) + len(head) + 4
            nbytes, self._head = len(self._head), b""
        self._left -= nbytes
        if not self._left and self._transport is not None:
            self._transport.write(OK)


async def serve_sink() -> None:
    server = await asyncio.get_running_loop().create_server(Sink, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201  # how the parent learns the port
    await server.serve_forever()


def peak_bytes() -> int:
    """Peak resident memory of this program. Not what ``getrusage`` says on Linux: it counts what stood before exec."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) << 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


async def upload(*arguments: str) -> None:
    port, scratch, requests, *photos = arguments
    bench = Bench(Path(scratch), Network(), Settings())
    job = job_of([photo_of(Path(photo)) for photo in photos])
    granted: list[bool] = []

    async with bench.provider(f"http://127.0.0.1:{port}/v1") as provider:

        async def send(images: int) -> None:
            answered = await provider.generate(job_of(job.images[:images]))
            granted.append(isinstance(answered, Granted))

        await send(0)
        before = peak_bytes()
        async with anyio.create_task_group() as tasks:
            for _ in range(int(requests)):
                tasks.start_soon(send, len(job.images))
    print(json.dumps({"granted": sum(granted) - 1, "before": before, "peak": peak_bytes()}))  # noqa: T201  # the result


if __name__ == "__main__":
    role, *arguments = sys.argv[1:]
    if role == "sink":
        anyio.run(serve_sink)
    else:
        anyio.run(upload, *arguments)
