"""A window that closes and a budget that is used up, while a run goes on."""

from __future__ import annotations

from datetime import UTC
from typing import Any

import anyio
import pytest

from fluxbatch.app.calendar import Calendar
from fluxbatch.engine import Engine
from fluxbatch.policy.allowance import Allowance
from fluxbatch.policy.budget import Budget
from fluxbatch.policy.window import Window
from fluxbatch.testing import Grant, Refuse, ScriptedFetcher, ScriptedProvider, Serving, VirtualClock
from tests.engine.world import VIRTUAL_TIME, World, jobs, rounds

# virtual time begins at 08:00 UTC


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return VIRTUAL_TIME


async def run_in(world: World, window: str, count: int = 2000) -> tuple[Any, float]:
    await world.plan(jobs(count))
    desk = world.desk()
    desk.window = Window.of(window, UTC)
    begun = world.clock.monotonic()
    await Engine(desk).run()
    world.check_leaks(desk)
    return desk, world.clock.monotonic() - begun


async def test_nothing_is_sent_once_it_closes_and_all_that_was_sent_lands() -> None:
    world = World(ceiling=5)
    world.provider = ScriptedProvider(world.clock, Grant(latency_s=7.0))
    world.fetcher = ScriptedFetcher(world.clock, Serving(latency_s=3.0))
    desk, took = await run_in(world, "07:00-08:05")
    assert 300 <= took <= 300 + 7 + 4
    assert desk.stop is not None
    assert (desk.stop.reason, desk.stop.exit_code) == ("window", 3)
    assert "opens at 2027-01-16 07:00" in desk.stop.message
    states = await world.states()
    assert states["stored"] == len(world.provider.sent)
    assert all(request.at < 300 for request in world.provider.sent)


async def test_outside_nothing_is_sent_and_nothing_waited_for() -> None:
    world = World()
    desk, took = await run_in(world, "01:00-06:00")
    assert took == 0
    assert world.provider.sent == []
    assert desk.stop.reason == "window"


async def test_one_that_is_wide_enough_stops_nothing() -> None:
    world = World()
    desk, _ = await run_in(world, "22:00-09:00", count=20)
    assert desk.stop is None
    assert await world.states() == {"stored": 20}


async def test_a_pause_does_not_outlast_it() -> None:
    world = World()
    world.provider = ScriptedProvider(world.clock, Refuse(status=429, retry_after=1000.0))
    before = rounds()
    desk, took = await run_in(world, "07:00-08:01")
    assert took == pytest.approx(60, abs=0.1)
    assert desk.stop.reason == "window"
    assert rounds() - before < 300


async def test_a_budget_that_is_used_up_stops_the_run() -> None:
    world = World(ceiling=8)
    await world.plan(jobs(50, price=0.03))
    desk = world.desk()
    desk.budget = Budget(None, Allowance.of("0.50/day", UTC))
    desk.budget.recall(await world.ledger.runs(0.0), world.clock.now())
    await Engine(desk).run()
    world.check_leaks(desk)
    assert (await world.states())["stored"] == 16
    assert desk.stop is not None
    assert desk.stop.reason == "budget"
    assert "of this day" in desk.stop.message


async def test_waiting_for_it_ends_when_it_opens() -> None:
    clock = VirtualClock()
    calendar = Calendar(Window.of("09:30-10:00", UTC))
    told: list[str] = []
    await calendar.wait_until_open(clock, told.append)
    assert clock.monotonic() == pytest.approx(5400, abs=0.1)
    assert told == ["waiting for --window 09:30-10:00, which opens at 2027-01-15 09:30 (UTC)"]
    await calendar.wait_until_open(clock, told.append)
    assert len(told) == 1
    with anyio.move_on_after(10) as scope:
        await Calendar(Window.of("01:00-02:00", UTC)).wait_until_open(clock, told.append)
    assert scope.cancelled_caught
