"""The adapters over real sockets against the suites of their ports, with servers that play what the cases ask for."""

from __future__ import annotations

import base64
import os
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from fluxbatch.adapters.clock import SystemClock
from fluxbatch.adapters.disk.photos import FileSource
from fluxbatch.adapters.http import GatewayProvider, HttpFetcher
from fluxbatch.adapters.http.connect import check_base_url
from fluxbatch.model.job import Lease
from fluxbatch.testing import Grant, Lose, Refuse, Send, Silence, make_job, make_png
from fluxbatch.testing.conformance import case_name, fetcher, provider
from tests.http.rawserver import Peer, RawServer, Request, answer, serve
from tests.http.support import Bench, write_photo

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from fluxbatch.model.job import PlannedJob
    from fluxbatch.testing import Act, Serving

HASTE = 0.1
"""latencies of the cases are made shorter by this: their order is what matters"""


@dataclass
class Api:
    """A gateway that keeps to a script for each prompt."""

    acts: dict[str, list[Act]] = field(default_factory=dict)
    arrived: Counter[str] = field(default_factory=Counter)

    async def serve(self, peer: Peer) -> None:
        while True:
            request = await peer.request()
            prompt = request.json["prompt"]
            self.arrived[prompt] += 1
            acts = self.acts.get(prompt, [])
            act = acts.pop(0) if len(acts) > 1 else acts[0] if acts else Grant(latency_s=0.0)
            if isinstance(act, Silence):
                await peer.gone()
                return
            await anyio.sleep(act.latency_s * HASTE)
            if isinstance(act, Lose):
                peer.reset()
                return
            await peer.send(self.answer(act))

    def answer(self, act: Act) -> bytes:
        match act:
            case Grant(url=url, request_id=number):
                body: dict[str, Any] = {"data": [{"url": url or "https://delivery.example/own.png"}]}
                return answer(body, headers={"X-Oneapi-Request-Id": number})
            case Send(data=data, request_id=number):
                body = {"data": [{"b64_json": base64.b64encode(data).decode()}]}
                return answer(body, headers={"X-Oneapi-Request-Id": number})
            case Refuse(status=status, code=code, message=message, retry_after=wait):
                headers = {"Retry-After": "" if wait is None else f"{wait:g}"}
                body = {"error": {"message": message, "code": code or None, "type": "shell_api_error"}}
                return answer(body, status=f"{status} No", headers=headers)
            case _:
                raise AssertionError(act)


@dataclass
class ProviderRig:
    folder: Path
    api: Api
    provider: GatewayProvider
    clock: SystemClock
    server: RawServer

    def will(self, job: PlannedJob, acts: Sequence[Act]) -> None:
        self.api.acts[str(job.fields["prompt"])] = list(acts)

    def arrived(self, job: PlannedJob) -> int:
        return self.api.arrived[str(job.fields["prompt"])]

    def job(self, name: str) -> PlannedJob:
        photo = write_photo(self.folder, f"{len(os.listdir(self.folder))}.png", 1000)  # noqa: PTH208  # a count
        return make_job(id=name, images=(photo,), fields={"model": "flux-2-pro"})

    def spoiled(self, name: str) -> PlannedJob:
        job = self.job(name)
        photo = write_photo(self.folder, "spoiled.png", 1000)
        return replace(job, images=(replace(photo, mtime_ns=1),))

    @asynccontextmanager
    async def unreachable(self) -> AsyncIterator[None]:
        self.server.stop_listening()
        yield


@pytest.mark.parametrize("case", provider.CASES, ids=case_name)
async def test_provider(bench: Bench, tmp_path: Path, case: provider.Case) -> None:
    @asynccontextmanager
    async def make() -> AsyncIterator[provider.Rig]:
        api, clock = Api(), SystemClock()
        photos = tmp_path / "photos"
        photos.mkdir(exist_ok=True)
        async with serve(api.serve) as server:
            made = GatewayProvider(
                check_base_url(server.base_url),
                "sk-conformance",
                network=bench.network,
                source=FileSource(),
                clock=clock,
                spool=bench.folder,
                settings=bench.settings,
            )
            try:
                yield ProviderRig(photos, api, made, clock, server)
            finally:
                await made.close()

    await case(make)


@dataclass
class FetcherRig:
    fetcher: HttpFetcher
    server: RawServer
    servings: dict[str, list[Serving]] = field(default_factory=dict)

    def serve(self, servings: Sequence[Serving], query: str = "") -> Lease:
        path = f"/results/{len(self.servings)}%2Fx.png"
        self.servings[path] = list(servings)
        now = SystemClock().now()
        return Lease(f"{self.server.origin}{path}?{query}", deadline=now + 600, granted_at=now)

    def targets(self) -> list[str]:
        return [request.target for request in self.server.requests]

    def credentials(self) -> list[str]:
        names = ("authorization", "cookie", "proxy-authorization")
        return [request.headers[name] for request in self.server.requests for name in names if name in request.headers]

    async def host(self, peer: Peer) -> None:
        while True:
            request = await peer.request()
            left = self.servings[request.target.partition("?")[0]]
            serving = left.pop(0) if len(left) > 1 else left[0]
            await anyio.sleep(serving.latency_s * HASTE)
            if serving.status != 200:
                wait = "" if serving.retry_after is None else f"{serving.retry_after:g}"
                await peer.send(answer("no", status=f"{serving.status} No", headers={"Retry-After": wait}))
                continue
            head, body = self.image(request, serving)
            if serving.stall_after is not None:
                await peer.send(head, body[: serving.stall_after])
                await peer.gone()
                return
            if serving.cut_after is not None:
                await peer.send(head, body[: serving.cut_after])
                return
            await peer.send(head, body)

    def image(self, request: Request, serving: Serving) -> tuple[bytes, bytes]:
        data = serving.data if serving.data is not None else make_png()
        headers = {"ETag": serving.etag, "Content-MD5": serving.md5, "Content-Type": "image/png"}
        status = "200 OK"
        if "range" in request.headers and serving.etag and request.headers.get("if-range") == serving.etag:
            start = int(request.headers["range"].removeprefix("bytes=").removesuffix("-"))
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
            data, status = data[start:], "206 Partial Content"
        whole = answer(data, status=status, headers=headers)
        return whole[: len(whole) - len(data)], data


@pytest.mark.parametrize("case", fetcher.CASES, ids=case_name)
async def test_fetcher(bench: Bench, case: fetcher.Case) -> None:
    patient = replace(bench.settings, download_stall_s=0.3)

    @asynccontextmanager
    async def make() -> AsyncIterator[fetcher.Rig]:
        made = HttpFetcher(network=bench.network, clock=SystemClock(), settings=patient, local=True)
        rigs: list[FetcherRig] = []

        async def host(peer: Peer) -> None:
            await rigs[0].host(peer)

        async with serve(host) as server:
            rigs.append(FetcherRig(made, server))
            try:
                yield rigs[0]
            finally:
                await made.close()

    await case(make)
