"""Runs that end before their time, and the same command again. Real processes, really killed."""

from __future__ import annotations

import json
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from fluxbatch.simulator import Faults
from tests.app.stage import (
    command,
    leftovers,
    names_of,
    photos_into,
    results,
    run_command,
    serving,
    wait_for,
    write_rows,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.app.stage import Api

STALLED = Faults(rates={"download-stall": 1.0}, stall_s=60)


def calls_by_prompt(api: Api) -> dict[str, int]:
    counts: dict[str, int] = {}
    for call in api.sim.calls:
        counts[call.prompt_sha256] = counts.get(call.prompt_sha256, 0) + 1
    return counts


def test_after_sigkill_what_had_a_url_is_fetched_and_not_ordered_again(api: Api, tmp_path: Path) -> None:
    write_rows(tmp_path / "jobs.jsonl", 12)
    out = tmp_path / "jobs-out"
    api.sim.faults = STALLED
    with api.start("jobs.jsonl", "--concurrency", "3", cwd=tmp_path) as process:
        wait_for(lambda: len(names_of(out, "job.granted")) >= 5)
        process.kill()
        process.communicate()
    granted = names_of(out, "job.granted")
    assert names_of(out, "job.stored") == []
    paid_before = len(api.sim.calls)
    api.sim.faults = Faults()

    ran = api.run("jobs.jsonl", "--json", cwd=tmp_path)

    assert ran.code == 0, ran.err
    assert ran.summary["stored"] == 12
    assert ran.summary["cached"] == 0
    lines = {line["id"]: line for line in results(out)}
    assert not any(line["cached"] for line in lines.values())
    assert all(lines[job_id]["charged"] == 1 for job_id in granted)
    assert all(lines[job_id]["unknown_charges"] == 0 for job_id in granted)
    assert max(calls_by_prompt(api).values()) <= 2
    charged = sum(line["charged"] for line in lines.values())
    unknown = sum(line["unknown_charges"] for line in lines.values())
    assert charged <= len(api.sim.calls) <= charged + unknown
    assert paid_before >= len(granted)
    assert leftovers(out) == []


def test_a_request_under_way_at_the_kill_counts_as_maybe_billed_and_may_be_held(tmp_path: Path) -> None:
    with serving(tmp_path / "simulator", latency_s=30) as api:
        write_rows(tmp_path / "jobs.jsonl", 2)
        out = tmp_path / "jobs-out"
        with api.start("jobs.jsonl", cwd=tmp_path) as process:
            wait_for(lambda: len(names_of(out, "job.submitted")) == 2)
            process.kill()
            process.communicate()

        held = api.run("jobs.jsonl", "--if-unsure", "hold", "--json", cwd=tmp_path)

    assert held.code == 1
    assert held.summary["requests"] == 0
    assert {line["error"]["code"] for line in results(out)} == {"unknown_outcome"}
    assert "--retry unknown_outcome" in held.err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_finishes_what_is_in_flight_and_exits_resumable(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    with serving(tmp_path / "simulator", latency_s=0.5) as api:
        write_rows(tmp_path / "jobs.jsonl", 20)
        out = tmp_path / "jobs-out"
        with api.start("jobs.jsonl", "--concurrency", "4", "--json", cwd=tmp_path) as process:
            wait_for(lambda: len(names_of(out, "job.submitted")) >= 6)
            process.send_signal(number)
            output, _ = process.communicate(timeout=30)

        summary = json.loads(output)
        assert process.returncode == summary["exit_code"] == code
        assert summary["unknown_charges"] == summary["lost"] == 0
        assert summary["charged"] == summary["stored"] == len(api.sim.calls)
        assert summary["pending"] == 20 - summary["stored"] > 0
        assert f"stopped early ({summary['stop_reason']})" in run_command("status", cwd=tmp_path).out
        rest = api.run("jobs.jsonl", "--json", cwd=tmp_path)
        assert (rest.code, rest.summary["stored"]) == (0, 20)
        assert len(api.sim.calls) == 20


def test_a_second_signal_leaves_at_once_with_a_consistent_ledger(tmp_path: Path) -> None:
    with serving(tmp_path / "simulator", latency_s=20) as api:
        write_rows(tmp_path / "jobs.jsonl", 3)
        out = tmp_path / "jobs-out"
        with api.start("jobs.jsonl", "--json", cwd=tmp_path) as process:
            wait_for(lambda: len(names_of(out, "job.submitted")) == 3)
            process.send_signal(signal.SIGINT)
            wait_for(lambda: "run.stopping" in (out / ".fluxbatch" / "events.jsonl").read_text())
            process.send_signal(signal.SIGINT)
            output, _ = process.communicate(timeout=10)

    summary = json.loads(output)
    assert process.returncode == 130
    assert (summary["pending"], summary["unknown_charges"]) == (3, 3)
    assert round(summary["unknown_usd"], 6) == 0.03
    status = run_command("status", "--json", cwd=tmp_path)
    assert json.loads(status.out)["pending"] == 3


def test_a_folder_in_use_is_said_so(tmp_path: Path) -> None:
    with serving(tmp_path / "simulator", latency_s=20) as api:
        write_rows(tmp_path / "jobs.jsonl", 1)
        out = tmp_path / "jobs-out"
        with api.start("jobs.jsonl", cwd=tmp_path) as process:
            wait_for(lambda: names_of(out, "job.submitted") != [])
            second = api.run("jobs.jsonl", cwd=tmp_path)
            live = json.loads(run_command("status", "--json", cwd=tmp_path).out)
            process.kill()
            process.communicate()

    assert second.code == 75
    assert str(process.pid) in second.err
    assert live["live"]
    assert not json.loads(run_command("status", "--json", cwd=tmp_path).out)["live"]


def test_the_embedded_simulator_outlives_nobody_and_its_urls_outlive_it(tmp_path: Path) -> None:
    write_rows(tmp_path / "jobs.jsonl", 12, size="256x256")
    out = tmp_path / "jobs-out-simulated"
    with subprocess.Popen(
        command("run", "jobs.jsonl", "--simulate"),
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        wait_for(lambda: len(names_of(out, "job.granted")) >= 3)
        process.kill()
        process.communicate()

    ran = run_command("run", "jobs.jsonl", "--simulate", "--json", cwd=tmp_path)

    assert ran.code == 0, ran.err
    assert ran.summary["stored"] == 12
    assert max(line["charged"] for line in results(out)) == 1


def test_a_signal_lets_images_of_an_earlier_run_come_home(api: Api, tmp_path: Path) -> None:
    """They are fetched before anything is planned; what is asked to stop is not that."""
    write_rows(tmp_path / "jobs.jsonl", 3)
    out = tmp_path / "jobs-out"
    api.sim.faults = STALLED
    with api.start("jobs.jsonl", cwd=tmp_path) as process:
        wait_for(lambda: len(names_of(out, "job.granted")) == 3)
        process.kill()
        process.communicate()
    asked, fetched = api.sim.requests, api.sim.deliveries
    api.sim.faults = Faults(rates={"download-slow": 1.0}, slow_s=3.0)
    write_rows(tmp_path / "jobs.jsonl", 6)
    with api.start("jobs.jsonl", cwd=tmp_path) as process:
        wait_for(lambda: api.sim.deliveries > fetched)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    assert process.returncode == 143
    assert len(names_of(out, "job.stored")) == 3
    assert api.sim.requests == asked, "something was sent after the signal"
    api.sim.faults = Faults()
    assert api.run("jobs.jsonl", cwd=tmp_path).code == 0
    assert max(calls_by_prompt(api).values()) == 1


def test_a_photo_that_is_away_for_a_moment_takes_nothing_with_it(api: Api, tmp_path: Path) -> None:
    """The job can't be sent; what was paid for it, and what its image is, stays on record."""
    [photo] = photos_into(tmp_path, "cat.webp").glob("*.webp")
    (tmp_path / "jobs.jsonl").write_text(json.dumps({"id": "one", "prompt": "A cat", "images": [photo.name]}))
    out = tmp_path / "jobs-out"
    assert api.run("jobs.jsonl", cwd=tmp_path).code == 0
    [before] = results(out)
    photo.rename(tmp_path / "elsewhere")
    away = api.run("jobs.jsonl", "--on-invalid", "skip", cwd=tmp_path)
    assert away.code == 1
    [line] = results(out)
    assert (line["status"], line["charged"], line["cost_usd"]) == ("failed", 1, before["cost_usd"])
    (tmp_path / "elsewhere").rename(photo)
    again = api.run("jobs.jsonl", "--json", cwd=tmp_path)
    assert (again.code, again.summary["requests"]) == (0, 0)
    assert results(out)[0]["sha256"] == before["sha256"]


@pytest.mark.slow
def test_two_output_folders_can_not_use_one_ledger_at_a_time(tmp_path: Path) -> None:
    with serving(tmp_path / "simulator", latency_s=20) as api:
        write_rows(tmp_path / "jobs.jsonl", 1)
        state = tmp_path / "state"
        with api.start("jobs.jsonl", "-o", "one", "--state", state, cwd=tmp_path) as process:
            wait_for(lambda: api.sim.requests == 1)
            second = api.run("jobs.jsonl", "-o", "two", "--state", state, cwd=tmp_path)
            process.kill()
            process.communicate()
    assert second.code == 75
    assert str(process.pid) in second.err
    assert api.sim.requests == 1


def test_a_changed_name_does_not_land_on_somebody_elses_file(api: Api, tmp_path: Path) -> None:
    manifest = tmp_path / "jobs.json"
    manifest.write_text(json.dumps({"version": 1, "jobs": [{"id": "one", "prompt": "A cat"}]}))
    out = tmp_path / "jobs-out"
    assert api.run("jobs.json", cwd=tmp_path).code == 0
    (out / "kept-one.png").write_bytes(b"not ours")
    plan = {"version": 1, "filename": "kept-{{ id }}", "jobs": [{"id": "one", "prompt": "A dog"}]}
    manifest.write_text(json.dumps(plan))
    ran = api.run("jobs.json", cwd=tmp_path)
    assert ran.code == 2
    assert "kept-one.png" in ran.err
    assert (out / "kept-one.png").read_bytes() == b"not ours"
    assert len(api.sim.calls) == 1


def test_a_file_where_a_folder_of_outputs_belongs_is_said_before_anything_is_sent(api: Api, tmp_path: Path) -> None:
    plan = {
        "version": 1,
        "filename": "shoes/{{ id }}",
        "jobs": [{"id": "a", "prompt": "x"}, {"id": "b", "prompt": "y"}],
    }
    (tmp_path / "jobs.json").write_text(json.dumps(plan))
    (tmp_path / "jobs-out").mkdir()
    (tmp_path / "jobs-out" / "shoes").write_text("a list of shoes")
    ran = api.run("jobs.json", cwd=tmp_path)
    assert ran.code == 2
    assert "shoes is in the output folder already" in ran.err
    assert api.sim.requests == 0


def test_a_file_that_came_between_two_runs_is_not_overwritten(api: Api, tmp_path: Path) -> None:
    """Its job is known, and was never sent: the file is somebody else's."""
    write_rows(tmp_path / "jobs.jsonl", 2)
    out = tmp_path / "jobs-out"
    assert api.run("jobs.jsonl", "--limit", "1", cwd=tmp_path).code == 0
    (out / "job-001.jpg").write_bytes(b"not ours")
    ran = api.run("jobs.jsonl", cwd=tmp_path)
    assert ran.code == 2
    assert "job-001.jpg" in ran.err
    assert (out / "job-001.jpg").read_bytes() == b"not ours"
    assert len(api.sim.calls) == 1
