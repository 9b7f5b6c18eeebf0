"""The embedded simulator as a child process: its own interpreter, its own sockets, like the real thing."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import aiofiles.os
import anyio
import orjson

from fluxbatch.errors import FluxbatchError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from anyio.abc import Process

__all__ = ["SimulatedApi", "simulated_api"]

_START_S: Final = 30.0
_STOP_S: Final = 5.0
KEY_VARIABLE: Final = "FLUXBATCH_SIMULATOR_KEY"


@dataclass(frozen=True, slots=True)
class SimulatedApi:
    """Where the simulator answers, and the key that it was given."""

    base_url: str
    key: str = field(repr=False)


@asynccontextmanager
async def simulated_api(data: Path) -> AsyncIterator[SimulatedApi]:
    """Serve the simulator on loopback for as long as the context lasts.

    It keeps its images in ``data``, so that URLs of a run that died still answer in the next one. It is in a session of
    its own, so that Ctrl-C doesn't reach it, and ends when its standard input closes, however this process goes.

    Raises:
        FluxbatchError: it did not start.
    """
    await aiofiles.os.makedirs(data, exist_ok=True)
    key = f"sk-simulated-{secrets.token_hex(8)}"
    log = data / "simulator.log"
    command = [sys.executable, "-m", "fluxbatch", "simulate", "--port", "0", "--data", str(data)]
    with log.open("wb") as errors:
        process = await anyio.open_process(
            [*command, "--ready-json", "--until-stdin-closes"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**os.environ, KEY_VARIABLE: key},
            start_new_session=True,
        )
    async with process:
        try:
            yield SimulatedApi(await _ready(process, log), key)
        finally:
            with anyio.CancelScope(shield=True):
                await _end(process)


async def _ready(process: Process, log: Path) -> str:
    assert process.stdout is not None
    line = b""
    try:
        with anyio.fail_after(_START_S):
            while not line.endswith(b"\n"):
                line += await process.stdout.receive()
        return str(orjson.loads(line)["base_url"])
    except (TimeoutError, anyio.EndOfStream, ValueError, KeyError):
        words = await anyio.Path(log).read_text(encoding="utf-8", errors="replace")
        raise FluxbatchError(f"the simulator did not start: {words.strip()[-500:]}", remedy=f"see {log}") from None


async def _end(process: Process) -> None:
    if process.stdin is not None:
        await process.stdin.aclose()
    with anyio.move_on_after(_STOP_S):
        await process.wait()
        return
    process.kill()
