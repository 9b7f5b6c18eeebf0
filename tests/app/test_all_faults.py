"""Everything that is known to go wrong, in one run, on both legs."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from fluxbatch.simulator import DELIVERY_KINDS, GENERATE_KINDS, Faults
from fluxbatch.simulator.catalog import PRICES
from tests.app.stage import check_bills, check_folder, check_stored, results, serving, write_rows

if TYPE_CHECKING:
    from pathlib import Path

    from tests.app.stage import Ran

SHARE = 0.2
"""of the requests of each leg that meet a fault"""
MODELS = ("flux-2-klein-4b", "flux-2-pro", "flux-2-max")
BY_DESIGN = frozenset({"quota"})
"""stops the run, and has a trial of its own"""
PAUSING = ("503", "502", "503-no-channel")
"""each makes everything wait for seconds, or closes a model: one of each, close together, and not one in a hundred"""
MOST_RUNS = 6


def all_faults(jobs: int, seed: int) -> Faults:
    rated = GENERATE_KINDS.keys() - BY_DESIGN - set(PAUSING)
    rates = dict.fromkeys(rated, SHARE / len(rated)) | dict.fromkeys(DELIVERY_KINDS, SHARE / len(DELIVERY_KINDS))
    schedule = {kind: frozenset({jobs // 2 + n}) for n, kind in enumerate(PAUSING)}
    return Faults(rates=rates, schedule=schedule, seed=seed, window_s=0.5, stall_s=1, slow_s=1)


@pytest.mark.slow
@pytest.mark.parametrize(("jobs", "seed"), [(60, 1), pytest.param(500, 2, marks=pytest.mark.timeout(300))])
def test_everything_lands_that_can_and_the_account_frames_the_bill(tmp_path: Path, jobs: int, seed: int) -> None:
    write_rows(tmp_path / "jobs.jsonl", jobs, models=MODELS)
    out = tmp_path / "jobs-out"
    told: Counter[str] = Counter()

    def listen(event: dict[str, Any]) -> None:
        told[event["fault"]] += 1

    faults = all_faults(jobs, seed)
    with serving(tmp_path / "simulator", faults=faults, listener=listen, latency_s=0.1, retry_after=0.2) as api:
        runs: list[Ran] = []
        while not runs or (runs[-1].summary["requests"] and len(runs) < MOST_RUNS):
            runs.append(api.run("jobs.jsonl", "--yes", "--json", cwd=tmp_path, timeout=200))
            assert runs[-1].code in {0, 1}, runs[-1].err
            assert "Traceback" not in runs[-1].err
        api.settle()

        lines = results(out)
        last = runs[-1].summary
        assert last["requests"] == 0, "it never came to rest"
        assert last["total"] == jobs == last["stored"] + last["failed"]
        failed = [line for line in lines if line["status"] != "stored"]
        codes = Counter(line["error"]["code"] for line in failed)
        assert codes.keys() <= {"moderated", "unknown_outcome"}, failed
        assert codes["moderated"] == told["moderation"]
        for line in failed:
            if line["error"]["code"] == "unknown_outcome":
                assert line["unknown_charges"] == 2, line
        check_bills(api, lines)
        check_stored(api, out, lines)
        check_folder(out)
        charged = sum(line["charged"] for line in lines)
        unknown = sum(line["unknown_charges"] for line in lines)
        assert charged == sum(ran.summary["charged"] for ran in runs)
        assert charged == last["stored"]
        assert charged <= len(api.sim.calls) <= charged + unknown
        surely = sum(ran.summary["cost_usd"] for ran in runs)
        maybe = sum(ran.summary["unknown_usd"] for ran in runs)
        assert surely == pytest.approx(sum(PRICES[line["model"]] for line in lines if line["status"] == "stored"))
        assert surely - 1e-6 <= api.sim.spent_usd <= surely + maybe + 1e-6
        assert api.sim.leaked_keys == 0
        if jobs >= 500:
            assert {*GENERATE_KINDS, *DELIVERY_KINDS} - BY_DESIGN <= told.keys(), "some fault never came up"
