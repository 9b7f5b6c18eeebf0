"""What a run keeps beside its images: a memo that may be broken, a lock, a log of events."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from fluxbatch.adapters.disk import EventLog, FolderLock, SqliteMemo
from fluxbatch.errors import FolderInUse, StorageError
from fluxbatch.model.events import RunPaused

if TYPE_CHECKING:
    from pathlib import Path


def test_a_memo_that_is_no_database_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "memo.sqlite"
    path.write_text("not a database, and long enough to be taken for one " * 50)
    memo = SqliteMemo(path)
    memo.put({"a": b"1"})
    assert memo.get(["a"]) == {"a": b"1"}
    memo.close()
    again = SqliteMemo(path)
    assert again.get(["a"]) == {"a": b"1"}
    again.close()


def test_a_memo_that_can_not_be_made_is_silent(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "folder", tmp_path / "nowhere" / "memo.sqlite"):
        memo = SqliteMemo(path)
        memo.put({"a": b"1"})
        assert memo.get(["a"]) == {}
        memo.close()


def test_one_run_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "out" / ".fluxbatch" / "lock"
    path.parent.mkdir(parents=True)
    lock = FolderLock(path).acquire()
    with pytest.raises(FolderInUse, match="in use by another run") as caught:
        FolderLock(path).acquire()
    assert caught.value.exit_code == 75
    lock.release()
    lock.release()
    FolderLock(path).acquire().release()


def test_a_lock_goes_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    code = "import os, sys, pathlib; from fluxbatch.adapters.disk import FolderLock\n"
    code += "FolderLock(pathlib.Path(sys.argv[1])).acquire(); print('held', flush=True); os.kill(os.getpid(), 9)"
    child = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert child.stdout == "held\n"
    FolderLock(path).acquire().release()


def test_a_lock_that_can_not_be_made_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        FolderLock(tmp_path / "nowhere" / "lock").acquire()


def test_events_are_a_line_each(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    for number in range(2):
        log = EventLog(path, f"run-{number}")
        log.note(RunPaused(at=1_800_000_000.0, scope="model", seconds=2.0, message="slow\ndown"))
        log.close()
        log.close()
        log.note(RunPaused(at=1.0, scope="model", seconds=2.0, message="too late"))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["event"], line["run_id"], line["message"]) for line in lines] == [
        ("run.paused", "run-0", "slow\ndown"),
        ("run.paused", "run-1", "slow\ndown"),
    ]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_line_that_was_torn_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"event": "whole"}\n{"event": "to')
    log = EventLog(path, "run")
    log.note(RunPaused(at=1.0, scope="model", seconds=2.0, message="slow"))
    log.close()
    assert [line.startswith("{") for line in path.read_text().splitlines()] == [True, True, True]
    assert json.loads(path.read_text().splitlines()[-1])["event"] == "run.paused"
