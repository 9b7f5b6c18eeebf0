"""A delivery host at a tenth of the API's speed: nothing expires, and the host is kept as busy as it can be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fluxbatch.engine import Engine
from fluxbatch.model.state import JobState
from fluxbatch.testing import Grant, ScriptedFetcher, ScriptedProvider, Serving, make_png
from tests.engine.world import VIRTUAL_TIME, World, jobs

if TYPE_CHECKING:
    from fluxbatch.policy.admission import Load

JOBS = 10_000
API_PER_S = 24.0
"""24 requests at a time, a second each"""
HOST_PER_S = API_PER_S / 10
IMAGE = make_png()


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return VIRTUAL_TIME


def slow_world() -> World:
    world = World(ceiling=24)
    world.provider = ScriptedProvider(world.clock, Grant(latency_s=1.0))
    world.fetcher = ScriptedFetcher(
        world.clock, Serving(data=IMAGE, latency_s=0.0), total_bandwidth={"": len(IMAGE) * HOST_PER_S}
    )
    return world


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_ten_thousand_images_at_the_hosts_own_speed() -> None:
    world = slow_world()
    begun = world.clock.monotonic()
    desk = await world.run(jobs(JOBS))
    took = world.clock.monotonic() - begun
    assert await world.states() == {"stored": JOBS}
    assert desk.account.lost == 0
    assert world.provider.billed.total() == JOBS, "an image was made twice"
    assert took <= 1.1 * JOBS / HOST_PER_S, "the host was left waiting"
    assert desk.account.url_age_max_s is not None
    assert desk.account.url_age_max_s < 400


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_without_admission_thousands_are_lost() -> None:
    """The same with every request sent as soon as the API takes it: what the rule is for."""
    world = slow_world()
    await world.plan(jobs(JOBS))
    desk = world.desk()
    desk.admission = always
    await Engine(desk).run()
    lost = desk.account.lost
    assert lost > 5000
    assert (await world.states()).get(JobState.STORED, 0) < JOBS - 2000


def always(_load: Load) -> bool:
    return True
