"""A time limit that signs of life move on."""

from __future__ import annotations

import asyncio
import time

import anyio
import pytest

from fluxbatch.adapters.http.patience import Patience
from fluxbatch.testing import VirtualTimeLoop


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, object]]:
    return "asyncio", {"loop_factory": VirtualTimeLoop}


async def lasted(patience: Patience, seconds: float = 1000) -> float:
    begun = anyio.current_time()
    with patience:
        await anyio.sleep(seconds)
    return anyio.current_time() - begun


async def test_it_ends_when_nothing_happens() -> None:
    patience = Patience(30)

    assert await lasted(patience) == 30
    assert patience.ran_out


async def test_what_is_done_in_time_is_left_alone() -> None:
    patience = Patience(30)

    assert await lasted(patience, 29) == 29
    assert not patience.ran_out


async def test_signs_of_life_move_it_on() -> None:
    patience = Patience(30)
    for at in (20, 40, 60):
        asyncio.get_running_loop().call_later(at, patience.last, 30)

    assert await lasted(patience) == 90


async def test_it_can_be_made_shorter() -> None:
    patience = Patience(300)
    asyncio.get_running_loop().call_later(10, patience.last, 30)

    assert await lasted(patience) == 40


async def test_at_least_so_long_never_makes_it_shorter() -> None:
    patience = Patience(300)
    for at in (10, 290):
        asyncio.get_running_loop().call_later(at, patience.last_at_least, 30)

    assert await lasted(patience) == 320


async def test_an_error_passes_through() -> None:
    with pytest.raises(ValueError, match="mine"), Patience(30) as patience:
        raise ValueError("mine")
    assert not patience.ran_out


async def test_a_cancellation_from_outside_is_not_its_own() -> None:
    patience = Patience(30)
    with anyio.move_on_after(5) as outer:
        await lasted(patience)

    assert outer.cancelled_caught
    assert not patience.ran_out


def test_a_loop_that_was_away_reads_what_has_come_first() -> None:
    async def come_back() -> bool:
        loop = asyncio.get_running_loop()
        with Patience(0.1) as patience:
            time.sleep(0.3)  # a machine that is busy, or was asleep
            loop.call_soon(loop.call_soon, patience.last, 10)  # after its timer, as bytes that wait are
            await anyio.sleep(0.35)
        return patience.ran_out

    assert not anyio.run(come_back)
