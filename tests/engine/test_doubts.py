"""Requests that are billed in vain: a few are risked to find out, no more."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from fluxbatch.model.events import RunPaused
from fluxbatch.policy.verdict import Loss
from fluxbatch.testing import Grant, Lose, Refuse, ScriptedProvider, make_job
from tests.engine.world import VIRTUAL_TIME, World, jobs

if TYPE_CHECKING:
    from fluxbatch.model.job import PlannedJob
    from fluxbatch.testing import Act


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return VIRTUAL_TIME


@pytest.mark.parametrize(
    "act",
    [
        Lose(loss=Loss.TIMEOUT, latency_s=100.0, billed=True),
        Refuse(status=524, latency_s=100.0, billed=True),
        Refuse(status=200, message="{}", billed=True),
        Refuse(status=500, code="do_request_failed", billed=True),
    ],
    ids=["silence", "edge time-out", "nothing in it", "broken"],
)
@pytest.mark.parametrize("ceiling", [1, 4, 24])
async def test_a_row_of_unknown_outcomes_stops_the_run(act: Act, ceiling: int) -> None:
    world = World(ceiling=ceiling)
    world.provider = ScriptedProvider(world.clock, act)
    desk = await world.run(jobs(500))
    assert desk.stop is not None
    # an API that has never said a word may just as well be away
    assert desk.stop.reason == ("outage" if isinstance(act, Lose) else "unknown_outcomes")
    assert desk.stop.exit_code == 3
    assert len(world.provider.sent) <= ceiling - 1 + 5 + 3, "money was spent to learn what was known"


async def test_one_event_that_takes_all_in_flight_does_not_stop_it() -> None:
    world = World(ceiling=24)
    begun = world.clock.monotonic()

    def script(_job: PlannedJob, _attempt: int) -> Act:
        since = world.clock.monotonic() - begun
        # a restart: what is under way is lost, what comes in the next twenty seconds finds nobody
        if since < 5:
            return Lose(billed=True, latency_s=5 - since)
        return Lose(loss=Loss.CONNECT, latency_s=0.1) if since < 25 else Grant()

    world.provider = ScriptedProvider(world.clock, script)
    desk = await world.run(jobs(200))
    assert desk.stop is None
    assert await world.states() == {"stored": 200}
    assert desk.account.unknown == 24
    assert any(event.scope == "model" for event in world.recorder.of(RunPaused)), "nobody was told"


async def test_a_model_in_doubt_does_not_hold_the_others_back() -> None:
    world = World(ceiling=8)

    def script(job: PlannedJob, attempt: int) -> Act:
        return Lose(billed=True, latency_s=2.0) if job.model == "dark" and attempt == 1 else Grant()

    world.provider = ScriptedProvider(world.clock, script)
    await world.run([make_job(n, model="dark" if n < 4 else "light") for n in range(60)])
    assert (await world.states())["stored"] == 60
    assert world.clock.monotonic() < 120


async def test_rate_limits_without_end_stop_the_run() -> None:
    world = World(adaptive=True)
    world.provider = ScriptedProvider(world.clock, Refuse(status=429, code="rate_limit_exceeded", latency_s=0.05))
    begun = world.clock.monotonic()
    desk = await world.run(jobs(300))
    assert desk.stop is not None
    assert (desk.stop.reason, desk.stop.exit_code) == ("rate_limited", 3)
    assert 900 <= world.clock.monotonic() - begun < 1000
    assert len(world.provider.sent) < 60, "a door that is shut is not knocked on all the time"
    assert await world.states() == {"pending": 300}


async def test_a_quota_that_comes_back_does_not_stop_it() -> None:
    world = World(adaptive=True)
    sent: Counter[int] = Counter()

    def script(_job: PlannedJob, _attempt: int) -> Act:
        minute = int(world.clock.monotonic() // 60)
        sent[minute] += 1
        return Grant() if sent[minute] <= 30 else Refuse(status=429, code="rate_limit_exceeded", latency_s=0.05)

    world.provider = ScriptedProvider(world.clock, script)
    desk = await world.run(jobs(300))
    assert desk.stop is None
    assert await world.states() == {"stored": 300}
