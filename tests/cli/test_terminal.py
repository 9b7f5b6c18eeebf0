"""At a terminal: the question with its price, and an answer; Ctrl-C at the question."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tests.app.stage import Api, command, serving, write_rows

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Opening the terminal in a session without one makes it the controlling one, which Ctrl-C needs.
CONTROLLED = "import os, sys; os.close(os.open(os.ttyname(0), os.O_RDWR)); os.execv(sys.argv[1], sys.argv[1:])"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serving(tmp_path_factory.mktemp("simulator")) as running:
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


def test_a_pipe_gets_no_escape_code(api: Api, tmp_path: Path) -> None:
    write_rows(tmp_path / "jobs.jsonl", 3)
    ran = api.run("jobs.jsonl", "--yes", cwd=tmp_path)
    assert ran.code == 0
    assert "\x1b" not in ran.out + ran.err


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
