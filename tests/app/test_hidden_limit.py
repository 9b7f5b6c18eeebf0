"""A limit that nobody announces, far below the ceiling: how near a run comes to what the API lets through."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.app.stage import serving, write_rows

if TYPE_CHECKING:
    from pathlib import Path

    from fluxbatch.simulator.billing import Call
    from tests.app.stage import Api

LIMIT = 12
CEILING = 64
LATENCY_S = 1.0
JOBS = 600


@dataclass(frozen=True)
class Pace:
    """What one run made of its time, by the API's own log."""

    share: float
    """of the speed of an API whose slots are never idle"""
    refused: float
    """share of all requests"""


def measure(api: Api, calls: tuple[Call, ...], requests: int) -> Pace:
    begun = min(call.at - call.seconds for call in calls)
    wall_s = max(call.at for call in calls) - begun
    return Pace(len(calls) / LIMIT * LATENCY_S / wall_s, 1 - len(calls) / requests)


def run_once(api: Api, folder: Path, name: str) -> Pace:
    write_rows(folder / f"{name}.jsonl", JOBS, prefix=name)
    made, asked = len(api.sim.calls), api.sim.requests
    ran = api.run(f"{name}.jsonl", "-o", "out", "--concurrency", CEILING, "--json", cwd=folder, timeout=120)
    assert (ran.code, ran.summary["stored"], ran.summary["unknown_charges"]) == (0, JOBS, 0), ran.err
    assert len(api.sim.calls) == made + JOBS
    return measure(api, api.sim.calls[made:], api.sim.requests - asked)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_run_finds_the_limit_and_the_next_one_knows_it(tmp_path: Path) -> None:
    with serving(tmp_path / "simulator", concurrency=LIMIT, latency_s=LATENCY_S) as api:
        cold = run_once(api, tmp_path, "first")
        warm = run_once(api, tmp_path, "second")
        if warm.share < 0.95:  # a machine that does other things may have spoilt it, and does so to one run
            warm = run_once(api, tmp_path, "third")
        assert api.sim.peak_in_flight == LIMIT

    assert cold.share >= 0.8, cold
    assert warm.share >= 0.95, warm
    assert max(cold.refused, warm.refused) < 0.05, (cold, warm)
