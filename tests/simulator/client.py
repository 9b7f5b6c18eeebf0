"""A plain client for tests of the simulator: aiohttp for the usual, raw sockets where single bytes matter."""

from __future__ import annotations

import base64
import io
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import anyio
from PIL import Image
from yarl import URL

from fluxbatch.simulator import Faults, Simulator, SimulatorConfig, wall_clock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from multidict import CIMultiDictProxy

PHOTOS = Path(__file__).parents[2] / "jobs" / "photos"
MIMES = {".jpg": "jpeg", ".png": "png", ".webp": "webp"}
HELLO: dict[str, Any] = {"model": "flux-2-klein-4b", "prompt": "Hello"}


@dataclass
class Answer:
    status: int
    headers: CIMultiDictProxy[str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def url(self) -> str:
        assert self.status == 200, self.body
        return str(self.json["data"][0]["url"])

    @property
    def error(self) -> dict[str, Any]:
        return dict(self.json["error"])

    @property
    def image(self) -> Image.Image:
        assert self.status == 200, self.body
        picture = Image.open(io.BytesIO(self.body))
        picture.load()
        return picture


@dataclass
class Client:
    sim: Simulator
    session: aiohttp.ClientSession
    headers: dict[str, str] = field(default_factory=dict)

    async def post(self, body: object, **headers: str) -> Answer:
        url = f"{self.sim.base_url}/images/generations"
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        auth = {"Authorization": f"Bearer {self.sim.api_key}", "Content-Type": "application/json"}
        async with self.session.post(url, data=io.BytesIO(data), headers={**auth, **headers}) as response:
            return Answer(response.status, response.headers, await response.read())

    async def get(
        self, url: str, headers: dict[str, str] | None = None, *, method: str = "GET", redirects: bool = True
    ) -> Answer:
        target = URL(url if url.startswith("http") else self.sim.delivery_url + url, encoded=True)
        async with self.session.request(method, target, headers=headers, allow_redirects=redirects) as response:
            return Answer(response.status, response.headers, await response.read())

    async def picture(self, body: dict[str, Any]) -> Image.Image:
        return (await self.get((await self.post(body)).url)).image


@asynccontextmanager
async def serving(
    *, faults: Faults | None = None, clock: Callable[[], float] | None = None, **settings: Any
) -> AsyncIterator[Client]:
    """A simulator that answers at once with plain pictures, unless told otherwise."""
    config = SimulatorConfig(**{"latency": 0, "render": "plain", "grace_s": 0.2, **settings})
    async with Simulator(config, faults=faults, clock=clock or wall_clock) as sim, aiohttp.ClientSession() as session:
        yield Client(sim, session)


def data_url(data: bytes, mime: str) -> str:
    return f"data:image/{mime};base64,{base64.b64encode(data).decode()}"


def photo(name: str) -> str:
    path = PHOTOS / name
    return data_url(path.read_bytes(), MIMES[path.suffix])


def drawn(
    size: tuple[int, int] = (64, 64), kind: str = "PNG", mode: str = "RGB", colour: Any = None, **save: Any
) -> str:
    picture = Image.new(mode, size, colour)
    target = io.BytesIO()
    picture.save(target, kind, **save)
    return data_url(target.getvalue(), kind.lower())


def request_bytes(sim: Simulator, body: object, **headers: str) -> bytes:
    """A POST as it goes over the wire."""
    data = json.dumps(body).encode()
    lines = {
        "Host": f"127.0.0.1:{sim.port}",
        "Authorization": f"Bearer {sim.api_key}",
        "Content-Type": "application/json",
        "Content-Length": str(len(data)),
        **headers,
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"POST /v1/images/generations HTTP/1.1\r\n{head}\r\n".encode() + data


async def exchange(port: int, request: bytes) -> bytes:
    """Send bytes, receive until the server closes; what came before a reset is lost with it."""
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send(request)
        return b"".join([chunk async for chunk in stream])


def target_of(url: str) -> str:
    """Path and query, byte for byte."""
    return "/" + url.split("/", 3)[3]
