"""Signals with much in flight: nothing new is sent, and everything that was asked for comes home."""

from __future__ import annotations

import json
import signal
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.app.stage import (
    check_bills,
    check_folder,
    check_stored,
    events,
    names_of,
    results,
    run_command,
    serving,
    wait_for,
    write_rows,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.app.stage import Api, Child, Ran

IN_FLIGHT = 30
OPTIONS = ("jobs.jsonl", "--concurrency", str(IN_FLIGHT), "--json")
JOBS = 200
QUICK_S = 0.3


def fill_all_slots(api: Api, *, latency_s: float) -> None:
    """Wait until the run has found its way up to its ceiling, then until all its requests are ones that take long."""
    wait_for(lambda: api.sim.in_flight == IN_FLIGHT)
    api.sim.world.config = replace(api.sim.config, latency_s=latency_s)
    quick_ones_end = time.monotonic() + 3 * QUICK_S
    wait_for(lambda: time.monotonic() > quick_ones_end and api.sim.in_flight == IN_FLIGHT)


def is_stopping(out: Path) -> bool:
    return '"run.stopping"' in (out / ".fluxbatch" / "events.jsonl").read_text()


@pytest.mark.parametrize(
    ("number", "code", "reason"),
    [
        (signal.SIGTERM, 143, "terminated"),
        pytest.param(signal.SIGINT, 130, "interrupted", marks=pytest.mark.slow),
    ],
)
def test_all_thirty_in_flight_are_kept(tmp_path: Path, number: signal.Signals, code: int, reason: str) -> None:
    write_rows(tmp_path / "jobs.jsonl", JOBS)
    out = tmp_path / "jobs-out"
    with serving(tmp_path / "simulator", latency_s=QUICK_S, concurrency=64) as api:
        with api.running(*OPTIONS, cwd=tmp_path) as child:
            fill_all_slots(api, latency_s=2.5)
            in_flight = set(names_of(out, "job.submitted")) - set(names_of(out, "job.granted"))
            requests = api.sim.requests
            child.process.send_signal(number)
            ran = child.finish()

        assert ran.code == code, ran.err
        assert api.sim.requests == requests
        names = [event["event"] for event in events(out)]
        (stopping,) = [event for event in events(out) if event["event"] == "run.stopping"]
        assert stopping["in_flight"] == IN_FLIGHT
        assert "job.submitted" not in names[names.index("run.stopping") :]
        assert "once more to leave at once" in ran.err
        summary = ran.summary
        assert (summary["exit_code"], summary["stop_reason"]) == (code, reason)
        assert summary["requests"] == summary["charged"] == summary["stored"] == len(api.sim.calls) == requests
        assert summary["unknown_charges"] == summary["lost"] == summary["failed"] == 0
        assert summary["pending"] == JOBS - requests
        lines = results(out)
        assert len(in_flight) == IN_FLIGHT
        assert in_flight <= {line["id"] for line in lines if line["status"] == "stored"}
        check_bills(api, lines)
        check_stored(api, out, lines)
        check_folder(out)


@pytest.mark.slow
def test_a_second_signal_leaves_at_once_and_the_next_run_settles_everything(tmp_path: Path) -> None:
    write_rows(tmp_path / "jobs.jsonl", JOBS)
    out = tmp_path / "jobs-out"
    with serving(tmp_path / "simulator", latency_s=QUICK_S, concurrency=64) as api:
        with api.running(*OPTIONS, cwd=tmp_path) as child:
            fill_all_slots(api, latency_s=8)
            in_flight = set(names_of(out, "job.submitted")) - set(names_of(out, "job.granted"))
            ran = twice(child, out)
            assert api.sim.in_flight == IN_FLIGHT, "it waited for its answers"

        assert ran.code == ran.summary["exit_code"] == 143, ran.err
        assert ran.summary["unknown_charges"] == IN_FLIGHT
        status = json.loads(run_command("status", "--json", cwd=tmp_path).out)
        assert status["pending"] == ran.summary["pending"]
        api.sim.world.config = api.sim.config

        rest = api.run(*OPTIONS, cwd=tmp_path)
        api.settle()

        assert (rest.code, rest.summary["stored"]) == (0, JOBS), rest.err
        lines = results(out)
        assert {line["id"] for line in lines if line["unknown_charges"]} == in_flight
        assert len(api.sim.calls) == JOBS + IN_FLIGHT
        check_bills(api, lines)
        check_stored(api, out, lines)
        check_folder(out)


def twice(child: Child, out: Path) -> Ran:
    child.process.send_signal(signal.SIGTERM)
    wait_for(lambda: is_stopping(out))
    child.process.send_signal(signal.SIGTERM)
    return child.finish(seconds=5)
