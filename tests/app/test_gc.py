"""What is removed, and what never is."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from fluxbatch.simulator import Faults
from tests.app.stage import events, names_of, photos_into, run_command, serving, wait_for, write_rows

if TYPE_CHECKING:
    from pathlib import Path

    from tests.app.stage import Api

DAY = 86400


def age(path: Path, days: float) -> Path:
    moment = datetime.now(UTC).timestamp() - days * DAY
    os.utime(path, (moment, moment))
    return path


def contents(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def folder(api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An output folder with all that may lie about in one."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home-state"))
    photos_into(tmp_path / "photos", "cat.webp")
    write_rows(tmp_path / "jobs.jsonl", 2, images=["photos/cat.webp"], fit={"long_edge": 256})
    assert api.run("jobs.jsonl", cwd=tmp_path).code == 0
    out = tmp_path / "jobs-out"
    state = out / ".fluxbatch"
    (state / "landing" / "x.part").write_bytes(b"half")
    (out / ".results.jsonl.12.new").write_bytes(b"old")
    age(out / ".results.jsonl.12.new", 40)
    (out / ".results.jsonl.34.new").write_bytes(b"young")
    (out / ".mine.new").write_bytes(b"not ours")
    age(out / ".mine.new", 40)
    (state / "rescue.jsonl").write_text("")
    (state / "thumbs" / "ab").mkdir(parents=True)
    (state / "thumbs" / "ab" / "abc.jpg").write_bytes(b"small")
    age(state / "thumbs" / "ab" / "abc.jpg", 40)
    for path in (state / "fitted").iterdir():
        age(path, 40)
    old = (datetime.now(UTC) - timedelta(days=50)).isoformat(timespec="milliseconds")
    log = state / "events.jsonl"
    torn = '{"event": "job.sto\n'
    log.write_text(f'{{"event":"run.started","at":"{old}","run_id":"old"}}\n{torn}{log.read_text()}')
    for path in (tmp_path / "cache" / "fluxbatch").iterdir():
        age(path, 40)
    return out


def test_what_can_be_done_without_goes_and_nothing_else(api: Api, folder: Path, tmp_path: Path) -> None:
    before = contents(tmp_path)
    fitted = {name for name in before if "/fitted/" in name}
    cached = {name for name in before if name.startswith("cache/")}
    assert fitted
    assert cached

    dry = run_command("gc", "jobs-out", "--dry-run", "--json", cwd=tmp_path)
    assert contents(tmp_path) == before
    ran = run_command("gc", "--json", cwd=tmp_path)

    assert ran.code == 0, ran.err
    told = json.loads(ran.out)
    assert told == {**json.loads(dry.out), "dry_run": False}
    gone = {"jobs-out/.fluxbatch/landing/x.part", "jobs-out/.results.jsonl.12.new"} | fitted | cached
    gone.add("jobs-out/.fluxbatch/thumbs/ab/abc.jpg")
    assert before - contents(tmp_path) == gone
    assert {kind["what"] for kind in told["removed"]} == {
        "half-landed images of runs that died",
        "temporary files of runs that died",
        "photos made fit for the API",
        "thumbnails of pages that were served",
        "events of old runs",
        "what was found in photos",
    }
    assert told["bytes"] > 0
    assert [event["event"] for event in events(folder)][:1] == ["run.started"]
    assert "old" not in {event["run_id"] for event in events(folder)}
    assert (folder / ".fluxbatch" / "events.jsonl").stat().st_mode & 0o777 == 0o600
    again = run_command("gc", cwd=tmp_path)
    assert "nothing to remove" in again.out
    ran_again = api.run("jobs.jsonl", "--json", cwd=tmp_path)
    assert (ran_again.code, ran_again.summary["requests"]) == (0, 0)
    assert events(folder)[-1]["event"] == "run.ended"


def test_what_is_young_stays(folder: Path, tmp_path: Path) -> None:
    before = contents(tmp_path)
    assert run_command("gc", "--keep", "90", cwd=tmp_path).code == 0
    assert before - contents(tmp_path) == {"jobs-out/.fluxbatch/landing/x.part"}


def test_a_folder_with_a_run_in_it_is_left_alone(tmp_path: Path) -> None:
    write_rows(tmp_path / "jobs.jsonl", 2)
    with serving(tmp_path / "api", latency_s=20) as api, api.running("jobs.jsonl", cwd=tmp_path) as child:
        wait_for(lambda: api.sim.in_flight == 2)
        ran = run_command("gc", cwd=tmp_path)
        assert ran.code == 75
        child.kill()


def test_where_there_is_no_folder(tmp_path: Path) -> None:
    assert "caches: nothing to remove" in run_command("gc", cwd=tmp_path).out
    (tmp_path / "photos").mkdir()
    assert run_command("gc", "photos", cwd=tmp_path).code == 2


@pytest.mark.slow
def test_what_is_owed_is_fetched_after_it(tmp_path: Path) -> None:
    """A run that died with an image paid for loses nothing to it."""
    stalls = Faults(rates={"download-stall": 1.0})
    with serving(tmp_path / "api", faults=stalls) as api:
        write_rows(tmp_path / "jobs.jsonl", 1)
        with api.running("jobs.jsonl", cwd=tmp_path) as child:
            wait_for(lambda: names_of(tmp_path / "jobs-out", "job.granted") == ["job-000"])
            child.kill()
        api.sim.faults = Faults()
        assert run_command("gc", "--keep", "0", cwd=tmp_path).code == 0
        ran = api.run("jobs.jsonl", "--json", cwd=tmp_path)
        assert (ran.code, ran.summary["requests"], ran.summary["stored"]) == (0, 0, 1)
