"""An API that costs next to nothing, in its own process, so that the client is what is measured.

It answers after a fixed time with a signed URL, and serves one image from memory. It ends with its standard input.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import socket
import ssl
import sys
from pathlib import Path
from typing import Final

from benchmarks.api import Connection, World

_LONGEST_LIFE_S: Final = 3600


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        loop: asyncio.AbstractEventLoop = importlib.import_module("uvloop").new_event_loop()
    except ImportError:
        return asyncio.new_event_loop()
    return loop


async def _serve(image: bytes, latency_s: float, tls: ssl.SSLContext | None) -> None:
    loop = asyncio.get_running_loop()
    world = World(loop, image, latency_s)
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(1024)
    listener.setblocking(False)
    world.origin = f"{'https' if tls else 'http'}://127.0.0.1:{listener.getsockname()[1]}"
    server = await loop.create_server(lambda: Connection(world), sock=listener, ssl=tls)
    over = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), over.set)
    loop.call_later(_LONGEST_LIFE_S, over.set)
    print(json.dumps({"origin": world.origin, "loop": type(loop).__module__.partition(".")[0]}), flush=True)
    await over.wait()
    server.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image", type=Path, required=True)
    parser.add_argument("--latency-ms", type=float, default=0)
    parser.add_argument("--certificate", type=Path, help="with its key; serves https")
    options = parser.parse_args()
    tls = None
    if options.certificate:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(options.certificate)
    with asyncio.Runner(loop_factory=_new_loop) as runner:
        runner.run(_serve(options.image.read_bytes(), options.latency_ms / 1000, tls))


if __name__ == "__main__":
    main()
