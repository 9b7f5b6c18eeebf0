"""``fluxbatch status --watch``: a run in another process, from its beginning to its end."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
from contextlib import suppress
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from tests.app.stage import Api, Ran, command, names_of, run_command, serving, wait_for, write_rows

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

JOBS = 12


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serving(tmp_path_factory.mktemp("simulator"), latency_s=0.5) as running:
        yield running


def watch(*args: object, cwd: Path) -> Ran:
    return run_command("status", "out", "--watch", "--interval", 0.1, *args, cwd=cwd)


@pytest.mark.slow
def test_a_run_is_watched_to_its_end(slow: Api, tmp_path: Path) -> None:
    write_rows(tmp_path / "jobs.jsonl", JOBS)
    with slow.running("jobs.jsonl", "-o", "out", "--concurrency", 2, "--yes", cwd=tmp_path) as child:
        wait_for(lambda: bool(names_of(tmp_path / "out", "job.submitted")))
        ran = watch("--json", cwd=tmp_path)
        assert child.finish().code == 0
    seen = [json.loads(line) for line in ran.out.splitlines()]
    assert ran.code == 0
    assert [one["live"] for one in seen] == [True] * (len(seen) - 1) + [False]
    assert len(seen) > 2
    assert max(one["in_flight"] for one in seen) in {1, 2}
    assert all(before["stored"] <= after["stored"] for before, after in pairwise(seen))
    assert (seen[-1]["stored"], seen[-1]["last_run"]["exit_code"], seen[-1]["waiting"]) == (JOBS, 0, 0)
    assert seen[0]["images_per_minute"] is None
    assert seen[-1]["images_per_minute"] > 0


def test_a_run_that_has_ended_is_shown_once(slow: Api, tmp_path: Path) -> None:
    write_rows(tmp_path / "jobs.jsonl", 2)
    assert slow.run("jobs.jsonl", "-o", "out", "--yes", cwd=tmp_path).code == 0
    ran = watch(cwd=tmp_path)
    assert ran.code == 0
    assert ran.out.count("2 images: 2 made") == 1
    assert "finished" in ran.out
    assert "\x1b" not in ran.out


@pytest.mark.slow
@pytest.mark.parametrize(
    "args",
    [
        ("--watch",),
        ("--watch", "out"),
        ("out", "--watch", "2"),
        ("--watch", "0.5"),
        ("out", "--watch=0.5"),
        ("--watch", "5m"),
    ],
)
def test_the_folder_may_stand_anywhere_and_seconds_as_of_old(
    slow: Api, tmp_path: Path, args: tuple[object, ...]
) -> None:
    write_rows(tmp_path / "jobs.jsonl", 1)
    assert slow.run("jobs.jsonl", "-o", "out", "--yes", cwd=tmp_path).code == 0
    ran = run_command("status", *args, "--json", cwd=tmp_path)
    assert (ran.code, ran.summary["stored"], ran.summary["live"]) == (0, 1, False), ran.err


def test_a_folder_that_is_named_like_seconds_is_one(slow: Api, tmp_path: Path) -> None:
    write_rows(tmp_path / "jobs.jsonl", 1)
    assert slow.run("jobs.jsonl", "-o", "5", "--yes", cwd=tmp_path).code == 0
    assert slow.run("jobs.jsonl", "-o", "out", "--yes", cwd=tmp_path).code == 0
    assert run_command("status", "--watch", "5", "--json", cwd=tmp_path).summary["out"] == str(tmp_path / "5")


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (("out", "--watch", "--results"), "give one of them"),
        (("out", "--watch", "--interval", 0), "0.1 seconds or more"),
        (("out", "--watch", 0), "0.1 seconds or more"),
        (("out", "--watch=soon"), "is no duration"),
        (("out", "--watch", "soon"), "soon"),
        (("--watch", "soon"), "soon is no output folder"),
        (("out", "--interval", 5), "add --watch"),
    ],
)
def test_what_can_not_be_watched(tmp_path: Path, args: tuple[object, ...], told: str) -> None:
    ran = run_command("status", *args, cwd=tmp_path)
    assert (ran.code, ran.out) == (2, "")
    assert told in ran.err


def test_a_terminal_is_painted_anew_and_left_by_ctrl_c(slow: Api, tmp_path: Path) -> None:
    write_rows(tmp_path / "jobs.jsonl", 60)
    with slow.running("jobs.jsonl", "-o", "out", "--concurrency", 1, "--yes", cwd=tmp_path):
        wait_for(lambda: bool(names_of(tmp_path / "out", "job.submitted")))
        mine, theirs = pty.openpty()
        watching = subprocess.Popen(
            command("status", "out", "--watch", "--interval", 0.1),
            cwd=tmp_path,
            env={**os.environ, "TERM": "xterm"},
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        screen = b""
        while screen.count(b"\x1b[H\x1b[2J") < 3:
            screen += os.read(mine, 4096)
        watching.send_signal(signal.SIGINT)
        assert watching.wait(timeout=10) == 130
        with suppress(OSError):  # all is read, and the other side closed
            while piece := os.read(mine, 4096):
                screen += piece
        os.close(mine)
    assert b"running now" in screen
    assert b"Traceback" not in screen
