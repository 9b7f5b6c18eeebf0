"""The played fetcher keeps the promises of the ``Fetcher`` port. Real ones run the same cases beside their server."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import anyio
import pytest

from fluxbatch.errors import DeliveryError
from fluxbatch.model.job import Lease
from fluxbatch.testing import MemorySink, ScriptedFetcher, Serving, VirtualClock, VirtualTimeLoop
from fluxbatch.testing.conformance import case_name, fetcher

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "asyncio", {"loop_factory": VirtualTimeLoop}


class ScriptedRig:
    def __init__(self) -> None:
        self._clock = VirtualClock()
        self._servings: dict[str, Sequence[Serving]] = {}
        self.fetcher = ScriptedFetcher(self._clock, self._serve, stall_s=2.0)

    def serve(self, servings: Sequence[Serving], query: str = "") -> Lease:
        url = f"https://delivery.example/{len(self._servings)}.png?{query}"
        self._servings[url] = servings
        now = self._clock.now()
        return Lease(url, deadline=now + 600, granted_at=now)

    def targets(self) -> list[str]:
        parts = [urlsplit(one.url) for one in self.fetcher.tries]
        return [f"{part.path}?{part.query}" for part in parts]

    def credentials(self) -> list[str]:
        return []

    def _serve(self, lease: Lease, attempt: int) -> Serving:
        servings = self._servings[lease.url]
        return servings[min(attempt, len(servings)) - 1]


@pytest.mark.parametrize("case", fetcher.CASES, ids=case_name)
async def test_scripted_fetcher(case: fetcher.Case) -> None:
    @asynccontextmanager
    async def make() -> AsyncIterator[ScriptedRig]:
        yield ScriptedRig()

    await case(make)


# ------------------------------------------------------------------------------------------------- a host as one pipe
async def ends(fetcher: ScriptedFetcher, clock: VirtualClock, urls: Sequence[str], every_s: float = 0.0) -> list[float]:
    """When each transfer was through, begun one after another."""
    found = [0.0] * len(urls)
    begun = clock.monotonic()

    async def one(number: int, url: str) -> None:
        await anyio.sleep(number * every_s)
        lease = Lease(url, deadline=clock.now() + 1e6, granted_at=clock.now())
        try:
            await fetcher.fetch(lease, await MemorySink().land())
        except DeliveryError:
            found[number] = -1.0
        else:
            found[number] = clock.monotonic() - begun

    async with anyio.create_task_group() as tasks:
        for number, url in enumerate(urls):
            tasks.start_soon(one, number, url)
    return found


async def test_transfers_share_what_their_host_gives() -> None:
    clock = VirtualClock()
    serving = Serving(weight=2_000_000, latency_s=0.5)
    fetcher = ScriptedFetcher(clock, serving, total_bandwidth={"a.example": 1e6, "": 4e6})
    a, b, c = "https://a.example/", "https://b.example/", "https://c.example/"
    found = await ends(fetcher, clock, [a, a, a, b, b, c], every_s=0.001)
    assert found == pytest.approx([2.5, 4.5, 6.5, 1.003, 1.503, 1.005]), "each of the others has a pipe of its own"
    found = await ends(fetcher, clock, [a, a], every_s=9.0)
    assert found == pytest.approx([2.5, 11.5]), "an idle pipe saves up nothing"


async def test_the_narrower_of_both_bandwidths_counts() -> None:
    clock = VirtualClock()
    serving = Serving(weight=1_000_000, latency_s=0.0)
    fetcher = ScriptedFetcher(clock, serving, bandwidth={"": 1e5}, total_bandwidth={"": 1e6})
    urls = [f"https://a.example/{number}" for number in range(20)]
    found = sorted(await ends(fetcher, clock, urls))
    assert found[:10] == pytest.approx([10.0] * 10), "a transfer alone is held up by its own"
    assert found[10:] == pytest.approx([11.0 + number for number in range(10)]), "then by those before it"


async def test_only_the_bytes_that_are_sent_take_time() -> None:
    clock = VirtualClock()
    servings = [Serving(weight=1_000_000, latency_s=0.0, cut_after=0), Serving(weight=1_000_000, latency_s=0.0)]
    url = "https://a.example/x"
    fetcher = ScriptedFetcher(clock, {url: servings}, total_bandwidth={"": 1e6})
    assert await ends(fetcher, clock, [url]) == [-1.0]
    assert clock.monotonic() == 0.0
    assert await ends(fetcher, clock, [url]) == pytest.approx([1.0])
