"""The played fetcher keeps the promises of the ``Fetcher`` port. Real ones run the same cases beside their server."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from fluxbatch.model.job import Lease
from fluxbatch.testing import ScriptedFetcher, Serving, VirtualClock, VirtualTimeLoop
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
