"""Runs that can't go on: nothing new is sent, what is paid for is kept, the remedy is named."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

import fluxbatch
from fluxbatch.simulator import Faults
from tests.app.stage import KEY, results, run_command, serving, wait_for, write_rows

if TYPE_CHECKING:
    from pathlib import Path

    from tests.app.stage import Api


def test_a_bad_key_stops_the_run(api: Api, tmp_path: Path) -> None:
    write_rows(tmp_path / "jobs.jsonl", 100)

    ran = run_command(
        *("run", "jobs.jsonl", "--json", "--concurrency", "4"),
        cwd=tmp_path,
        env={**api.environment, "FLUXBATCH_API_KEY": "sk-wrong-key-of-somebody"},
    )

    assert ran.code == 3
    assert ran.summary["stop_reason"] == "unauthorized"
    assert ran.summary["requests"] <= 4
    assert ran.summary["pending"] == 100
    assert "check the key" in ran.err
    assert "wrong-key" not in ran.err + ran.out


def test_a_wrong_base_url_stops_the_run(api: Api, tmp_path: Path) -> None:
    write_rows(tmp_path / "jobs.jsonl", 50)
    wrong = api.sim.base_url.removesuffix("/v1")

    ran = api.run("jobs.jsonl", "--base-url", wrong, "--concurrency", "2", "--json", cwd=tmp_path)

    assert ran.code == 3
    assert ran.summary["stop_reason"] == "wrong_base_url"
    assert ran.summary["requests"] <= 2
    assert "--base-url" in ran.err


def test_no_credit_stops_the_run_and_keeps_what_is_paid_for(tmp_path: Path) -> None:
    with serving(tmp_path / "simulator", credit_usd=0.05) as api:
        write_rows(tmp_path / "jobs.jsonl", 30)
        ran = api.run("jobs.jsonl", "--concurrency", "2", "--json", cwd=tmp_path)

        assert ran.code == 3
        assert ran.summary["stop_reason"] == "out_of_credit"
        # the fifth may have been on its way to the ledger when the first refusal came, and was not sent
        assert ran.summary["stored"] == ran.summary["charged"] == len(api.sim.calls)
        assert ran.summary["stored"] in {4, 5}
        assert "top up" in ran.err


def test_the_cap_is_never_exceeded_by_one_request(api: Api, tmp_path: Path) -> None:
    write_rows(tmp_path / "jobs.jsonl", 30)

    ran = api.run("jobs.jsonl", "--max-cost", "0.075", "--json", cwd=tmp_path)

    assert ran.code == 3
    assert ran.summary["stop_reason"] == "budget"
    assert len(api.sim.calls) == 7
    assert api.sim.spent_usd <= 0.075
    assert ran.summary["cost_usd"] == pytest.approx(0.07)
    assert "--max-cost" in ran.err


def test_a_cap_can_not_be_kept_without_a_price(api: Api, tmp_path: Path) -> None:
    (tmp_path / "jobs.jsonl").write_text('{"prompt": "x", "model": "flux-2-pro"}')
    assert api.run("jobs.jsonl", "--max-cost", "1", "--price", "flux-2-pro=0.5", cwd=tmp_path).code == 0
    assert api.run("jobs.jsonl", "--price", "flux-2-pro=cheap", cwd=tmp_path).code == 2


def test_much_money_is_not_spent_with_nobody_to_ask(api: Api, tmp_path: Path) -> None:
    write_rows(tmp_path / "jobs.jsonl", 400, model="flux-2-max")

    ran = api.run("jobs.jsonl", cwd=tmp_path)

    assert ran.code == 2
    assert "400 images, about $28.00" in ran.err
    assert "--max-cost" in ran.err
    assert api.sim.requests == 0


def test_an_address_where_nothing_answers(tmp_path: Path) -> None:
    write_rows(tmp_path / "jobs.jsonl", 3)
    with serving(tmp_path / "gone") as api:
        nowhere = api.sim.base_url

    result = fluxbatch.run(tmp_path / "jobs.jsonl", base_url=nowhere, api_key=KEY, first_answer_s=0.5)

    assert result.summary.exit_code == 3
    assert result.summary.stop_reason == "outage"
    assert result.summary.unknown_charges == result.summary.failed == 0
    assert result.summary.pending == 3


def test_refused_content_is_final_and_the_rest_goes_on(api: Api, tmp_path: Path) -> None:
    write_rows(tmp_path / "jobs.jsonl", 6)
    api.sim.faults = Faults(schedule={"moderation": frozenset({2})})

    ran = api.run("jobs.jsonl", "--json", cwd=tmp_path)
    assert (ran.code, ran.summary["failed"], ran.summary["stored"]) == (1, 1, 5)
    failed = [line for line in results(tmp_path / "jobs-out") if line["status"] == "failed"]
    assert [line["error"]["code"] for line in failed] == ["moderated"]
    assert "1 × moderated" in ran.err

    again = api.run("jobs.jsonl", "--json", cwd=tmp_path)
    assert (again.code, again.summary["requests"]) == (1, 0)
    asked = api.run("jobs.jsonl", "--retry", "moderated", "--json", cwd=tmp_path)
    assert (asked.code, asked.summary["requests"]) == (0, 1)


def test_secrets_are_nowhere(api: Api, tmp_path: Path) -> None:
    write_rows(tmp_path / "jobs.jsonl", 12)
    faults = {
        "moderation": {3},
        "error-in-200": {5},
        "download-reset": {1, 4},
        "download-404": {2},
        "download-html": {6},
    }
    api.sim.faults = Faults(schedule={kind: frozenset(numbers) for kind, numbers in faults.items()})

    ran = api.run("jobs.jsonl", "-vv", "--log-format", "json", cwd=tmp_path)

    out = tmp_path / "jobs-out"
    written = b"".join(path.read_bytes() for path in out.rglob("*") if path.is_file())
    shown = (ran.out + ran.err).encode()
    for secret in (KEY.encode(), b"sig=", b"Bearer"):
        assert secret not in shown
        assert secret not in written


def test_a_model_that_is_not_available_leaves_a_run_to_be_taken_up(tmp_path: Path) -> None:
    gone = Faults(rates={"503-no-channel": 1.0})
    with serving(tmp_path / "simulator", faults=gone) as api:
        write_rows(tmp_path / "jobs.jsonl", 10)
        ran = api.run("jobs.jsonl", "--json", cwd=tmp_path)
        assert (ran.code, ran.summary["stop_reason"]) == (3, "model_unavailable")
        assert "flux-2-klein-4b is not available" in ran.err
        assert api.sim.requests < 10
        api.sim.faults = Faults()
        assert api.run("jobs.jsonl", cwd=tmp_path).code == 0


def test_who_does_not_listen_changes_no_exit_code(api: Api, tmp_path: Path) -> None:
    write_rows(tmp_path / "jobs.jsonl", 3)
    with api.start("jobs.jsonl", cwd=tmp_path) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        process.stderr.close()
        assert process.wait(30) == 0
    assert len(api.sim.calls) == 3


def test_status_counts_what_was_under_way_when_a_run_was_killed(tmp_path: Path) -> None:
    with serving(tmp_path / "simulator", latency_s=20) as api:
        write_rows(tmp_path / "jobs.jsonl", 3)
        with api.start("jobs.jsonl", cwd=tmp_path) as process:
            wait_for(lambda: api.sim.in_flight == 3)
            live = json.loads(run_command("status", "--json", cwd=tmp_path).out)
            process.kill()
            process.communicate()
    assert (live["in_flight"], live["unknown_charges"]) == (3, 0)
    dead = json.loads(run_command("status", "--json", cwd=tmp_path).out)
    assert (dead["in_flight"], dead["unknown_charges"], dead["unknown_usd"]) == (0, 3, 0.03)
    assert "maybe billed: $0.03 for 3 requests" in run_command("status", cwd=tmp_path).out
