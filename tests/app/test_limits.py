"""Limits of time and of others: a run that must be over, a known quota, ledgers where they can't be."""

from __future__ import annotations

import signal
from datetime import datetime
from typing import TYPE_CHECKING

import pytest

from fluxbatch.adapters.disk import SqliteMemo
from fluxbatch.app.folder import Paths
from fluxbatch.app.folder_state import hold
from fluxbatch.app.learned import Learned, recall, remember
from fluxbatch.errors import UsageError
from tests.app.stage import events, names_of, results, serving, wait_for, write_rows

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.slow
def test_a_run_is_over_in_time_and_goes_on_with_the_next(tmp_path: Path) -> None:
    jobs = write_rows(tmp_path / "jobs.jsonl", 120)
    with serving(tmp_path / "api", latency_s=0.5) as api:
        ran = api.run(jobs, "--max-runtime", "6s", "--concurrency", "4", "--json", cwd=tmp_path)
        assert (ran.code, ran.summary["stop_reason"]) == (3, "runtime")
        assert ran.summary["wall_s"] < 8, "of the run itself: a slow machine takes its time to begin"
        assert ran.summary["stored"] == len(api.sim.calls) > 0
        assert ran.summary["pending"] == 120 - ran.summary["stored"]
        assert "run the same command again" in ran.err


@pytest.mark.slow
def test_a_known_quota_is_kept(tmp_path: Path) -> None:
    """A full period is not fired off at once: with 120 a minute, two a second."""
    jobs = write_rows(tmp_path / "jobs.jsonl", 8)
    with serving(tmp_path / "api") as api:
        assert api.run(jobs, "--rpm", "120", cwd=tmp_path).code == 0
        sent = [
            datetime.fromisoformat(event["at"])
            for event in events(tmp_path / "jobs-out")
            if event["event"] == "job.submitted"
        ]
        assert (sent[-1] - sent[0]).total_seconds() >= 7 * 0.5 - 0.6
        assert len(api.sim.calls) == 8


FOUND = Learned({"": 12, "a": 3}, 7.5)


@pytest.mark.parametrize(
    ("age_s", "known"), [(0.0, FOUND), (23 * 3600, FOUND), (25 * 3600, Learned()), (-60, Learned())]
)
def test_what_was_learned_is_remembered_for_a_day(tmp_path: Path, age_s: float, known: Learned) -> None:
    memo = SqliteMemo(tmp_path / "memo.sqlite")
    remember(memo, "https://one.example/v1", 1000.0, FOUND)
    memo.close()
    memo = SqliteMemo(tmp_path / "memo.sqlite")
    assert recall(memo, "https://one.example/v1", 1000.0 + age_s) == known
    assert recall(memo, "https://other.example/v1", 1000.0) == Learned()
    memo.close()


@pytest.mark.parametrize(
    "note", [b"", b"[]", b'{"at": "x"}', b'{"at": 1, "limits": [3]}', b'{"at": 1, "limits": {"a": "b"}}']
)
def test_a_note_that_makes_no_sense_is_forgotten(tmp_path: Path, note: bytes) -> None:
    memo = SqliteMemo(tmp_path / "memo.sqlite")
    memo.put({"limits of api": note})
    assert recall(memo, "api", 1.0) == Learned()
    memo.close()


def test_a_time_that_is_too_short_for_a_request_is_said_so(tmp_path: Path) -> None:
    jobs = write_rows(tmp_path / "jobs.jsonl", 3, model="flux-2-pro")
    with serving(tmp_path / "api", latency_s=0.1) as api:
        ran = api.run(jobs, "--max-runtime", "5s", "--json", cwd=tmp_path)
        assert (ran.code, ran.summary["stop_reason"], api.sim.requests) == (3, "runtime", 0)
        assert "leaves no time for a request" in ran.err
        # what this API really takes is known after the first run
        assert api.run(jobs, "--limit", "1", cwd=tmp_path).code == 0
        assert api.run(jobs, "--max-runtime", "9s", cwd=tmp_path).code == 0


async def test_a_ledger_on_a_network_filesystem_is_refused(tmp_path: Path) -> None:
    def filesystem_of(path: Path) -> str:
        return "" if path.name == "local" else "nfs4"

    there = Paths.of(tmp_path / "out")
    with pytest.raises(UsageError, match="nfs4") as caught:
        async with hold(there, run_id="r", kind="live", filesystem_of=filesystem_of):
            pass
    assert "--state" in str(caught.value)
    assert not there.out.exists(), "something was made before it was found out"
    elsewhere = Paths.of(tmp_path / "out", tmp_path / "local")
    async with hold(elsewhere, run_id="r", kind="live", filesystem_of=filesystem_of) as folder:
        assert folder.paths == elsewhere


def test_a_closed_terminal_ends_a_run_in_order(tmp_path: Path) -> None:
    jobs = write_rows(tmp_path / "jobs.jsonl", 40)
    out = tmp_path / "jobs-out"
    with serving(tmp_path / "api", latency_s=0.5) as api:
        with api.start(jobs, "--concurrency", "4", cwd=tmp_path) as process:
            wait_for(lambda: len(names_of(out, "job.submitted")) >= 4)
            process.send_signal(signal.SIGHUP)
            process.communicate(timeout=30)
        assert process.returncode == 129
        stored = [line for line in results(out) if line["status"] == "stored"]
        assert len(stored) == len(api.sim.calls) >= 4


def test_a_limit_that_a_run_met_is_where_the_next_one_begins(tmp_path: Path) -> None:
    with serving(tmp_path / "api", concurrency=2, latency_s=0.2) as api:
        assert api.run(write_rows(tmp_path / "one.jsonl", 12, prefix="one"), "-o", "out", cwd=tmp_path).code == 0
        assert api.sim.requests > 12, "nothing was refused, and so nothing learned"
        asked = api.sim.requests
        # fewer than there must be before more is tried again
        assert api.run(write_rows(tmp_path / "two.jsonl", 6, prefix="two"), "-o", "out", cwd=tmp_path).code == 0
        assert api.sim.requests - asked == 6, "it began as if it knew nothing"
