"""Figures for Prometheus, read back with its own parser."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from fluxbatch.simulator import Faults
from tests.app.stage import KEY, run_command, serving, wait_for, write_rows

if TYPE_CHECKING:
    from pathlib import Path

    from tests.app.stage import Api


def figures(path: Path) -> dict[str, float]:
    """By name, with the value of the label if there is one."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(path.read_text()):
        assert family.documentation
        for sample in family.samples:
            label = next(iter(sample.labels.values()), "") if len(sample.labels) == 1 else ""
            found[f"{sample.name}{label and f'/{label}'}"] = sample.value
    return found


def test_what_a_run_came_to(api: Api, tmp_path: Path) -> None:
    write_rows(tmp_path / "jobs.jsonl", 12)
    faults = {"moderation": {3}, "504": {5}, "429": {7}, "download-truncated": {2}}
    api.sim.faults = Faults(schedule={kind: frozenset(numbers) for kind, numbers in faults.items()})

    ran = api.run("jobs.jsonl", "--metrics-file", "run.prom", "--json", cwd=tmp_path)

    assert ran.code == 1
    found, summary = figures(tmp_path / "run.prom"), ran.summary
    assert found["fluxbatch_requests_total/flux-2-klein-4b"] == summary["requests"] == 14
    assert found["fluxbatch_verdicts_total/image"] == found["fluxbatch_stored_images_total"] == summary["stored"] == 11
    assert found["fluxbatch_verdicts_total/moderated"] == found["fluxbatch_failed_jobs_total/moderated"] == 1
    assert found["fluxbatch_verdicts_total/unknown_outcome"] == 1
    assert found["fluxbatch_verdicts_total/rate_limited"] == 1
    charges = {kind: found[f"fluxbatch_charges_total/{kind}"] for kind in ("charged", "unknown", "none")}
    assert charges == {"charged": 11, "unknown": 1, "none": 2}
    assert found["fluxbatch_spent_usd_total/charged"] == pytest.approx(summary["cost_usd"])
    assert found["fluxbatch_spent_usd_total/unknown"] == pytest.approx(summary["unknown_usd"])
    assert found["fluxbatch_stored_bytes_total"] == sum(
        path.stat().st_size for path in (tmp_path / "jobs-out").glob("*.jpg")
    )
    assert found["fluxbatch_url_age_seconds_count"] == found["fluxbatch_url_age_seconds_bucket/+Inf"] == 11
    assert found["fluxbatch_download_retries_total"] == 1
    assert found["fluxbatch_run_exit_code"] == 1
    assert found["fluxbatch_run_start_timestamp_seconds"] < found["fluxbatch_run_end_timestamp_seconds"]
    assert (found["fluxbatch_requests_in_flight"], found["fluxbatch_leases"]) == (0, 0)
    assert found["fluxbatch_images_to_make"] == 12
    assert KEY not in (tmp_path / "run.prom").read_text()
    assert [path.name for path in tmp_path.glob(".*")] == []


@pytest.mark.slow
def test_while_it_lives(tmp_path: Path) -> None:
    page = tmp_path / "run.prom"
    with serving(tmp_path / "api", latency_s=20) as api:
        write_rows(tmp_path / "jobs.jsonl", 3)
        with api.running("jobs.jsonl", "--metrics-file", page, cwd=tmp_path) as child:
            wait_for(lambda: page.exists() and figures(page)["fluxbatch_requests_in_flight"] == 3)
            found = figures(page)
            assert "fluxbatch_run_exit_code" not in found
            assert found["fluxbatch_requests_limit"] >= 3
            child.kill()


def test_hostile_names_are_labels_all_the_same(api: Api, tmp_path: Path) -> None:
    model = 'x"} 1\nfluxbatch_spent_usd_total 1e9 # \\'
    write_rows(tmp_path / "jobs.jsonl", 1, models=[model])
    ran = api.run("jobs.jsonl", "--metrics-file", "run.prom", "-q", cwd=tmp_path)
    assert ran.code in {1, 2, 3}
    if (tmp_path / "run.prom").exists():
        assert figures(tmp_path / "run.prom")["fluxbatch_spent_usd_total/charged"] == 0


def test_where_it_can_not_be_written_nothing_is_paid_for(api: Api, tmp_path: Path) -> None:
    write_rows(tmp_path / "jobs.jsonl", 1)
    ran = api.run("jobs.jsonl", "--metrics-file", "nowhere/run.prom", cwd=tmp_path)
    assert ran.code == 2
    assert "--metrics-file" in ran.err
    assert api.sim.requests == 0


@pytest.mark.parametrize("option", ["--metrics-file", "--junit"])
def test_a_pipe_stays_a_pipe_and_a_link_a_link(api: Api, tmp_path: Path, option: str) -> None:
    """As root, even /dev/null would become a file."""
    write_rows(tmp_path / "jobs.jsonl", 1)
    os.mkfifo(tmp_path / "pipe")
    refused = api.run("jobs.jsonl", option, "pipe", cwd=tmp_path)
    assert (refused.code, api.sim.requests) == (2, 0)
    assert f"{option} {tmp_path / 'pipe'} can't be written" in refused.err
    assert (tmp_path / "pipe").is_fifo()
    (tmp_path / "link").symlink_to("file")
    assert api.run("jobs.jsonl", option, "link", cwd=tmp_path).code == 0
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").stat().st_size


def test_without_the_library(api: Api, tmp_path: Path) -> None:
    write_rows(tmp_path / "jobs.jsonl", 1)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "prometheus_client.py").write_text("raise ImportError\n")
    via = ("env", f"PYTHONPATH={tmp_path / 'empty'}")
    ran = run_command("run", "jobs.jsonl", "--metrics-file", "run.prom", cwd=tmp_path, env=api.environment, via=via)
    assert ran.code == 2
    assert "pip install 'fluxbatch[metrics]'" in ran.err
