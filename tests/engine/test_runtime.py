"""A run that must be over by a moment: sending ends early enough, and what was sent still lands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fluxbatch.engine import Engine
from fluxbatch.testing import Grant, Refuse, ScriptedFetcher, ScriptedProvider, Send, Serving
from tests.engine.world import VIRTUAL_TIME, World, jobs, rounds

if TYPE_CHECKING:
    from pathlib import Path

    from fluxbatch.engine import Desk


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return VIRTUAL_TIME


async def run_for(world: World, seconds: float, count: int = 2000, **settings: Any) -> tuple[Desk, float]:
    await world.plan(jobs(count))
    desk = world.desk(max_runtime_s=seconds, **settings)
    begun = world.clock.monotonic()
    desk.ends_at = begun + seconds
    await Engine(desk).run()
    world.check_leaks(desk)
    return desk, world.clock.monotonic() - begun


@pytest.mark.parametrize(("answer_s", "delivery_s"), [(1.0, 0.2), (10.0, 5.0), (30.0, 1.0), (2.0, 20.0)])
async def test_everything_sent_has_landed_when_time_is_up(answer_s: float, delivery_s: float) -> None:
    world = World(ceiling=8)
    world.provider = ScriptedProvider(world.clock, Grant(latency_s=answer_s))
    world.fetcher = ScriptedFetcher(world.clock, Serving(latency_s=delivery_s))
    desk, took = await run_for(world, 240.0)
    assert took <= 240
    assert took >= 0.8 * 240, "much of the time was given away"
    assert desk.stop is not None
    assert (desk.stop.reason, desk.stop.exit_code) == ("runtime", 3)
    states = await world.states()
    assert set(states) == {"stored", "pending"}
    assert states["stored"] == len(world.provider.sent)


async def test_answers_that_bring_the_image_count_too(tmp_path: Path) -> None:
    world = World(ceiling=8)
    world.provider = ScriptedProvider(world.clock, Send(latency_s=60.0), spool=tmp_path)
    _, took = await run_for(world, 600.0)
    assert took <= 600


async def test_more_answers_at_a_time_than_downloads() -> None:
    world = World(ceiling=24)
    world.provider = ScriptedProvider(world.clock, Grant(latency_s=30.0))
    world.fetcher = ScriptedFetcher(world.clock, Serving(latency_s=30.0))
    _, took = await run_for(world, 600.0)
    assert 0.75 * 600 <= took <= 600


async def test_a_short_time_is_used_all_the_same() -> None:
    world = World(ceiling=8)
    _, took = await run_for(world, 10.0)
    assert took <= 10
    assert (await world.states())["stored"] > 16


async def test_a_pause_does_not_outlast_the_time() -> None:
    world = World()
    world.provider = ScriptedProvider(world.clock, Refuse(status=429, retry_after=100.0))
    before = rounds()
    desk, took = await run_for(world, 60.0)
    assert took <= 60
    assert desk.stop is not None
    assert desk.stop.reason == "runtime"
    assert rounds() - before < 300


async def test_enough_time_stops_nothing() -> None:
    world = World()
    desk, _ = await run_for(world, 600.0, count=20)
    assert desk.stop is None
    assert await world.states() == {"stored": 20}
