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


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_run_finds_the_limit_and_the_next_one_knows_it(tmp_path: Path) -> None:
    paces = []
    with serving(tmp_path / "simulator", concurrency=LIMIT, latency_s=LATENCY_S) as api:
        for name in ("first", "second"):
            write_rows(tmp_path / f"{name}.jsonl", JOBS, prefix=name)
            made, asked = len(api.sim.calls), api.sim.requests
            options = ("-o", "out", "--concurrency", CEILING, "--json")
            ran = api.run(f"{name}.jsonl", *options, cwd=tmp_path, timeout=120)
            assert (ran.code, ran.summary["stored"], ran.summary["unknown_charges"]) == (0, JOBS, 0), ran.err
            paces.append(measure(api, api.sim.calls[made:], api.sim.requests - asked))
        assert len(api.sim.calls) == 2 * JOBS
        assert api.sim.peak_in_flight == LIMIT

    cold, warm = paces
    assert cold.share >= 0.8, paces
    assert warm.share >= 0.95, paces
    assert max(pace.refused for pace in paces) < 0.05, paces
