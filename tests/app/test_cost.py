"""What a job costs, counted, not timed: a change that makes it clearly more is seen on any machine.

The difference between a long run and a short one, so that what a run costs by itself is left out. The bounds stand a
fifth above what is counted today: a cheaper run is a reason to lower them.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.app.stage import Api, serving, write_rows

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FEW, MANY = 50, 250

COUNTED = """
import cProfile, pstats, runpy, sys
sys.argv[0] = "fluxbatch"
profile = cProfile.Profile()
try:
    profile.runcall(runpy.run_module, "fluxbatch", run_name="__main__")
except SystemExit as end:
    assert not end.code
    print(pstats.Stats(profile).total_calls)
"""
TRACED = """
import itertools, runpy, sqlite3, sys
sys.argv[0] = "fluxbatch"
said = []
connect = sqlite3.connect
def traced(*args, **options):
    db = connect(*args, **options)
    db.set_trace_callback(said.append)
    return db
sqlite3.connect = traced
try:
    runpy.run_module("fluxbatch", run_name="__main__")
except SystemExit as end:
    assert not end.code
    print(sum(one != other for one, other in itertools.pairwise(said)))  # what triggers run has the name of who ran it
"""
WAITING = {"futex", "getpid", "epoll_wait", "sched_yield"}
"""how often threads meet and the loop is asked for is chance, and next to free"""


def started(api: Api, folder: Path, jobs: int, *via: str) -> subprocess.CompletedProcess[str]:
    """A run of so many small jobs by a command of one's own."""
    folder.mkdir()
    write_rows(folder / "jobs.jsonl", jobs)
    words = [*via, "run", "jobs.jsonl", "--yes", "-q", "--concurrency", "8"]
    done = subprocess.run(
        words, cwd=folder, env={**os.environ, **api.environment}, capture_output=True, text=True, check=False
    )
    assert len((folder / "jobs-out" / "results.jsonl").read_text().splitlines()) == jobs, done.stderr
    return done


def python_calls(api: Api, folder: Path, jobs: int) -> int:
    """Calls of functions on the thread of the event loop."""
    return int(started(api, folder, jobs, sys.executable, "-c", COUNTED).stdout.splitlines()[-1])


def statements(api: Api, folder: Path, jobs: int) -> int:
    """Statements of SQL by all threads, but for those that triggers run."""
    return int(started(api, folder, jobs, sys.executable, "-c", TRACED).stdout.splitlines()[-1])


def system_calls(api: Api, folder: Path, jobs: int) -> int:
    """Calls of the system by all threads."""
    summary = folder.with_suffix(".strace")
    started(api, folder, jobs, "strace", "-f", "-c", "-o", str(summary), sys.executable, "-m", "fluxbatch")
    found = re.findall(r"^ *[0-9.]+ +[0-9.]+ +\d+ +(\d+) +(?:\d+ +)?(\w+)$", summary.read_text(), re.MULTILINE)
    return sum(int(calls) for calls, name in found if name not in WAITING | {"total"})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("count", "most"),
    [
        pytest.param(python_calls, 1900, id="calls in Python"),
        # 3.4 are counted: as many as if no two steps came together, for how many do is chance
        pytest.param(statements, 5.0, id="statements of SQL"),
        pytest.param(
            system_calls,
            48,
            id="calls of the system",
            marks=pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace, which .ci/run installs"),
        ),
    ],
)
def test_a_job_costs_no_more_than_it_did(tmp_path: Path, count: Callable[[Api, Path, int], int], most: float) -> None:
    with serving(tmp_path / "api", latency_s=0) as api:
        few, many = count(api, tmp_path / "few", FEW), count(api, tmp_path / "many", MANY)

    assert most / 3 < (many - few) / (MANY - FEW) < most
