"""At a terminal: the question with its price, and an answer; a run that is shown live, resized and interrupted."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import time
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from tests.app.stage import Api, command, serving, write_rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

# Opening the terminal in a session without one makes it the controlling one, which Ctrl-C needs.
CONTROLLED = "import os, sys; os.close(os.open(os.ttyname(0), os.O_RDWR)); os.execv(sys.argv[1], sys.argv[1:])"

# A shell of one command: it gets the terminal back while that sleeps, and continues it after a line is typed.
SHELL = """
import os, signal, sys
os.close(os.open(os.ttyname(0), os.O_RDWR))
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
pid = os.fork()
if not pid:
    os.setpgid(0, 0)
    os.tcsetpgrp(0, os.getpid())
    signal.signal(signal.SIGTTOU, signal.SIG_DFL)
    os.execv(sys.argv[1], sys.argv[1:])
if os.WIFSTOPPED(os.waitpid(pid, os.WUNTRACED)[1]):
    os.tcsetpgrp(0, os.getpgrp())
    print("ASLEEP", flush=True)
    sys.stdin.readline()
    os.tcsetpgrp(0, pid)
    os.killpg(pid, signal.SIGCONT)
    status = os.waitpid(pid, 0)[1]
    os.tcsetpgrp(0, os.getpgrp())
    sys.exit(os.waitstatus_to_exitcode(status))
"""


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serving(tmp_path_factory.mktemp("simulator"), latency_s=1.0, concurrency=4) as running:
        yield running


def at_a_terminal(api: Api, cwd: Path, *args: str, typed: bytes) -> tuple[int, str]:
    """Run with a terminal as stdin and stderr, type something once the question is there, return code and screen."""
    mine, theirs = pty.openpty()
    environment = {**os.environ, **api.environment, "NO_COLOR": "1", "TERM": "xterm", "CI": ""}
    process = subprocess.Popen(
        [sys.executable, "-c", CONTROLLED, *command("run", *args)],
        cwd=cwd,
        env=environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    screen, answered, end = b"", False, time.monotonic() + 30
    while time.monotonic() < end:
        try:
            piece = os.read(mine, 4096)
        except OSError:  # the other side is closed
            break
        if not piece:
            break
        screen += piece
        if b"[y/N]" in screen and not answered:
            answered = True
            os.write(mine, typed)
    os.close(mine)
    return process.wait(timeout=10), screen.decode()


def test_yes_goes_ahead(api: Api, tmp_path: Path) -> None:
    write_rows(tmp_path / "jobs.jsonl", 3)
    code, screen = at_a_terminal(api, tmp_path, "jobs.jsonl", typed=b"y\n")
    assert code == 0
    assert "3 images, about $0.03. Go ahead? [y/N]" in screen
    assert "3 images: 3 made" in screen


@pytest.mark.parametrize(("typed", "code"), [(b"n\n", 2), (b"\n", 2), (b"\x03", 130)])
def test_anything_else_sends_nothing(api: Api, tmp_path: Path, typed: bytes, code: int) -> None:
    write_rows(tmp_path / "jobs.jsonl", 3)
    before = api.sim.requests
    ended, screen = at_a_terminal(api, tmp_path, "jobs.jsonl", typed=typed)
    assert ended == code
    assert "nothing was sent" in screen
    assert "Traceback" not in screen
    assert api.sim.requests == before


@pytest.mark.parametrize("args", [("--yes",), ("--limit", "0")])
def test_no_question_where_it_is_answered_or_free(api: Api, tmp_path: Path, args: tuple[str, ...]) -> None:
    write_rows(tmp_path / "jobs.jsonl", 2)
    code, screen = at_a_terminal(api, tmp_path, "jobs.jsonl", *args, typed=b"")
    assert code == 0
    assert "[y/N]" not in screen


def test_a_run_is_shown_live(api: Api, tmp_path: Path) -> None:
    write_rows(tmp_path / "jobs.jsonl", 60)
    code, screen = at_a_terminal(api, tmp_path, "jobs.jsonl", "--yes", "--rpm", "1500", typed=b"")
    assert code == 0
    assert "waiting for delivery" in screen
    assert screen.rindex("\x1b[?25h") < screen.index("60 images: 60 made")


def test_hours_and_budget_are_shown_live(api: Api, tmp_path: Path) -> None:
    write_rows(tmp_path / "jobs.jsonl", 60)
    ends = datetime.now(UTC) + timedelta(hours=2)
    hours = ("--window", f"{ends - timedelta(hours=4):%H:%M}-{ends:%H:%M}", "--tz", "UTC", "--budget", "900/month")
    code, screen = at_a_terminal(api, tmp_path, "jobs.jsonl", "--yes", "--rpm", "1500", *hours, typed=b"")
    assert code == 0
    assert "of the $900.00 of this month" in screen
    assert f"sends until {ends:%Y-%m-%d %H:%M} (UTC), " in screen


def _without_size(environment: Mapping[str, str]) -> dict[str, str]:
    """A test's process may say how large its own terminal is."""
    return {name: value for name, value in environment.items() if name not in {"COLUMNS", "LINES"}}


class Live:
    """A run at a terminal of 80 columns, watched while it goes."""

    def __init__(self, script: str, api: Api, cwd: Path, *args: str) -> None:
        self.screen = b""
        self._mine, theirs = pty.openpty()
        self.resize(80)
        self._process = subprocess.Popen(
            [sys.executable, "-c", script, *command("run", "jobs.jsonl", "--yes", *args)],
            cwd=cwd,
            env=_without_size(os.environ) | api.environment | {"TERM": "xterm", "CI": ""},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)

    def resize(self, columns: int) -> None:
        fcntl.ioctl(self._mine, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))

    def type(self, keys: bytes) -> None:
        os.write(self._mine, keys)

    def until(self, words: bytes) -> bytes:
        """What is written from now on, up to these words and with them."""
        since = len(self.screen)
        while words not in self.screen[since:]:
            try:
                self.screen += os.read(self._mine, 4096)
            except OSError:  # the other side is closed
                raise AssertionError(f"never {words!r} in {self.screen[since:].decode(errors='replace')}") from None
        return self.screen[since:]

    def end(self) -> int:
        """Read what is left; the exit code."""
        with suppress(OSError):  # the other side is closed
            while piece := os.read(self._mine, 4096):
                self.screen += piece
        return self._process.wait(timeout=10)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._mine)


@contextmanager
def live(api: Api, cwd: Path, *args: str, script: str = CONTROLLED) -> Iterator[Live]:
    shown = Live(script, api, cwd, *args)
    try:
        yield shown
    finally:
        shown.close()


def test_ctrl_c_shows_what_is_waited_for(slow: Api, tmp_path: Path) -> None:
    write_rows(tmp_path / "jobs.jsonl", 60)
    with live(slow, tmp_path) as run:
        run.until(b"4 in flight")
        run.type(b"\x03")
        waited = run.until(b"to be fetched, ")
        assert re.search(rb"stopping: waiting for \d answers? and \d images? to be fetched", waited)
        assert run.end() == 130
    assert b"Traceback" not in run.screen
    assert run.screen.rindex(b"\x1b[?25h") < run.screen.index(b"still to make"), "the cursor is back before the summary"


def test_a_terminal_made_narrower_is_drawn_narrower(slow: Api, tmp_path: Path) -> None:
    write_rows(tmp_path / "jobs.jsonl", 60)
    with live(slow, tmp_path) as run:
        run.until(b"4 in flight")
        run.resize(40)
        run.until("…".encode())
        frames = [run.until("…".encode()) for _ in range(6)]
        run.type(b"\x03")
        assert run.end() == 130
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "\r", b"".join(frames).decode())
    lines = [line for line in re.split(r"[\r\n]+", text) if line]
    assert any("% of 60" in line for line in lines)
    assert max(map(len, lines)) <= 38, lines


@pytest.mark.slow
def test_ctrl_z_leaves_the_terminal_clean_and_fg_goes_on_below(slow: Api, tmp_path: Path) -> None:
    write_rows(tmp_path / "jobs.jsonl", 12)
    with live(slow, tmp_path, script=SHELL) as run:
        run.until(b"4 in flight")
        run.type(b"\x1a")
        before = run.until(b"ASLEEP")
        left = before[before.rindex(b"no cap") :]  # the end of the last row that was drawn
        assert b"\x1b[?25h" in left
        assert left.count(b"\x1b[2K") == 5, "all rows are erased"
        run.type(b"\n")
        after = run.until(b"at a time")
        assert b"\x1b[1A" not in after, "what the shell wrote is written over"
        assert run.end() == 0
    assert b"12 images: 12 made" in run.screen


def test_a_pipe_gets_no_escape_code(api: Api, tmp_path: Path) -> None:
    write_rows(tmp_path / "jobs.jsonl", 3)
    ran = api.run("jobs.jsonl", "--yes", cwd=tmp_path)
    assert ran.code == 0
    assert "\x1b" not in ran.out + ran.err


@pytest.mark.slow
def test_a_terminal_that_is_held_holds_up_nothing(api: Api, tmp_path: Path) -> None:
    write_rows(tmp_path / "jobs.jsonl", 40)
    mine, theirs = pty.openpty()
    environment = {**os.environ, **api.environment, "TERM": "xterm", "CI": ""}
    words = command("run", "jobs.jsonl", "--yes", "-v", "--rpm", "1200")
    process = subprocess.Popen(
        [sys.executable, "-c", CONTROLLED, *words], cwd=tmp_path, env=environment, stdin=theirs, stderr=theirs
    )
    os.close(theirs)
    try:
        screen = b""
        while b"waiting for delivery" not in screen:
            screen += os.read(mine, 4096)
        os.write(mine, b"\x13")  # Ctrl-S: nothing is written to it any more
        assert process.wait(30) == 0
        lines = (tmp_path / "jobs-out" / "results.jsonl").read_text().splitlines()
        assert len(lines) == 40
    finally:
        process.kill()
        process.wait()
        os.close(mine)
