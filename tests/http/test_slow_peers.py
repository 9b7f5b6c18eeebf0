"""A slow transfer beside quick ones, over real sockets in virtual time: a trickle of forty seconds takes none."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from fluxbatch.errors import DeliveryError
from fluxbatch.model.state import Reason
from fluxbatch.testing import MemorySink, VirtualTimeLoop
from tests.http.rawserver import Peer, RawServer, Request, answer, serve
from tests.http.support import Bench, lease_at

if TYPE_CHECKING:
    from fluxbatch.testing import MemoryLanding

IMAGE = os.urandom(200_000)
ETAG = '"0x8DC"'
QUICK = 4
PACE = 5000
"""bytes a second of a slow one: it takes forty seconds"""


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "asyncio", {"loop_factory": VirtualTimeLoop}


@dataclass
class Host:
    """Sends ``/slow…`` bit by bit as often as ``slow_tries`` says, everything else at once."""

    etag: str = ETAG
    slow_tries: int = 1
    headers: dict[str, str] = field(default_factory=dict)
    all_slow: bool = False

    async def script(self, peer: Peer) -> None:
        while True:
            request = await peer.request()
            tries = sum(one.target == request.target for one in peer.server.requests)
            data, head = self.answer(request)
            if self.all_slow or (request.target.startswith("/slow") and tries <= self.slow_tries):
                await self.trickle(peer, head, data)
            else:
                await anyio.sleep(0.5)
                await peer.send(head, data)
            if "Connection" in self.headers:
                return

    async def trickle(self, peer: Peer, head: bytes, data: bytes) -> None:
        await peer.send(head)
        for at in range(0, len(data), PACE):
            await anyio.sleep(1.0)
            await peer.send(data[at : at + PACE])

    def answer(self, request: Request) -> tuple[bytes, bytes]:
        data, status, headers = IMAGE, "200 OK", {"ETag": self.etag, "Content-Type": "image/png", **self.headers}
        if "range" in request.headers and request.headers.get("if-range") == self.etag:
            start = int(request.headers["range"].removeprefix("bytes=").removesuffix("-"))
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
            data, status = data[start:], "206 Partial Content"
        whole = answer(data, status=status, headers=headers)
        return data, whole[: len(whole) - len(data)]


@dataclass
class Found:
    server: RawServer
    landing: MemoryLanding
    failures: list[DeliveryError]
    seconds: list[float]
    """that each try for the slow one took"""

    @property
    def slow_requests(self) -> list[Request]:
        return [request for request in self.server.requests if request.target.startswith("/slow")]


async def fetched(bench: Bench, host: Host, *, quick: int = QUICK, life_s: float = 1e6) -> Found:
    """The slow one again and again until it is there, quick ones all the while."""
    landing = await MemorySink().land()
    async with serve(host.script) as server, bench.fetcher() as fetcher, anyio.create_task_group() as tasks:
        found = Found(server, landing, [], [])

        async def quick_one(number: int) -> None:
            other = await MemorySink().land()
            await fetcher.fetch(lease_at(f"{server.origin}/quick/{number}"), other)
            assert other.data == IMAGE

        async def beside() -> None:
            number = 0
            while True:
                async with anyio.create_task_group() as several:
                    for _ in range(quick):
                        number += 1
                        several.start_soon(quick_one, number)
                await anyio.sleep(1.0)

        tasks.start_soon(beside)
        lease = lease_at(f"{server.origin}/slow?sig=a%2Fb")
        lease = type(lease)(lease.url, deadline=bench.clock.now() + life_s, granted_at=lease.granted_at)
        while landing.data != IMAGE:
            begun = anyio.current_time()
            try:
                await fetcher.fetch(lease, landing)
            except DeliveryError as error:
                found.failures.append(error)
            found.seconds.append(anyio.current_time() - begun)
        tasks.cancel_scope.cancel()
    return found


async def test_a_trickle_beside_quick_ones_is_cut_and_goes_on(bench: Bench) -> None:
    found = await fetched(bench, Host())
    (failure,) = found.failures
    assert re.fullmatch(r"5000 B/s, others on this host \d{6} B/s", str(failure))
    assert (failure.refused, failure.corrupt, failure.reason) == (False, False, Reason.DOWNLOAD_FAILED)
    first, second = found.slow_requests
    assert "range" not in first.headers
    kept = int(second.headers["range"].removeprefix("bytes=").removesuffix("-"))
    assert 45_000 <= kept <= 65_000, "what came in the first ten seconds is not asked for again"
    assert second.headers["if-range"] == ETAG
    assert found.seconds[0] == pytest.approx(11.0, abs=2.0)
    assert found.seconds[1] < 1.0


async def test_a_host_that_is_slow_for_this_image_is_borne_in_the_end(bench: Bench) -> None:
    found = await fetched(bench, Host(slow_tries=99))
    assert len(found.failures) == 2
    assert found.seconds[2] == pytest.approx((len(IMAGE) - 2 * 50_000) / PACE, rel=0.2)


@pytest.mark.parametrize(
    "host",
    [
        Host(etag=""),
        Host(etag='W/"weak"'),
        Host(headers={"Accept-Ranges": "none"}),
        Host(headers={"Content-Length": "", "Connection": "close"}),
    ],
    ids=["no ETag", "a weak ETag", "no ranges", "no length"],
)
async def test_what_can_not_go_on_is_not_cut(bench: Bench, host: Host) -> None:
    found = await fetched(bench, host)
    assert found.failures == []


async def test_a_slow_host_is_not_cut(bench: Bench) -> None:
    found = await fetched(bench, Host(all_slow=True))
    assert found.failures == []
    assert len(found.slow_requests) == 1


async def test_too_few_others_prove_nothing(bench: Bench) -> None:
    found = await fetched(bench, Host(), quick=0)
    assert found.failures == []


async def test_near_its_deadline_a_transfer_is_held_on_to(bench: Bench) -> None:
    """The next try might be refused."""
    found = await fetched(bench, Host(), life_s=50.0)
    assert found.failures == []
