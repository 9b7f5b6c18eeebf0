"""Runs that die of SIGKILL over and over, against an API that goes on billing."""

from __future__ import annotations

import random
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from fluxbatch.model.state import JobState
from fluxbatch.simulator import Faults
from tests.app.stage import (
    check_bills,
    check_folder,
    check_stored,
    jobs_in_state,
    results,
    serving,
    wait_for,
    write_rows,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.app.stage import Child


@pytest.mark.parametrize(
    ("kills", "jobs"),
    [(3, 20), pytest.param(20, 120, marks=[pytest.mark.slow, pytest.mark.timeout(300)])],
)
def test_each_death_costs_at_most_what_was_under_way(tmp_path: Path, kills: int, jobs: int) -> None:
    write_rows(tmp_path / "jobs.jsonl", jobs)
    out = tmp_path / "jobs-out"
    rng = random.Random(kills)
    under_way: Counter[str] = Counter()
    owed: set[str] = set()
    options = ("jobs.jsonl", "--concurrency", "4")
    slow = Faults(rates={"download-slow": 0.5}, slow_s=0.4)  # so that deaths meet downloads as well as requests
    with serving(tmp_path / "simulator", faults=slow, latency=0.3, latency_s=None) as api:

        def asked(child: Child, requests: int) -> bool:
            assert not child.ended, child.said
            return api.sim.requests >= requests

        for _ in range(kills):
            enough = api.sim.requests + rng.randint(1, 8)
            with api.running(*options, cwd=tmp_path) as child:
                wait_for(lambda: asked(child, enough))  # noqa: B023  # waited for in this round
                time.sleep(rng.uniform(0, 0.15))  # no condition: the moment is to be any one
                child.kill()
            under_way.update(jobs_in_state(out, JobState.SUBMITTED))
            owed.update(jobs_in_state(out, JobState.GENERATED))
        last = api.run(*options, "--json", cwd=tmp_path)
        api.settle()

        lines = results(out)
        assert len(lines) == jobs
        failed = [line for line in lines if line["status"] != "stored"]
        assert under_way
        assert owed
        assert {line["charged"] for line in lines if line["id"] in owed and line["status"] == "stored"} == {1}
        assert owed.isdisjoint(line["id"] for line in failed)
        assert [line["error"]["code"] for line in failed] == ["unknown_outcome"] * len(failed)
        assert (last.code, last.summary["lost"]) == (1 if failed else 0, 0), last.err
        assert {line["id"]: line["unknown_charges"] for line in lines if line["unknown_charges"]} == under_way
        check_bills(api, lines)
        check_stored(api, out, lines)
        check_folder(out)
