from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import requests
from click.testing import CliRunner

from fluxbatch.cli.simulate import simulate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COMMAND = [sys.executable, "-W", "error", "-c", "from fluxbatch.cli.simulate import simulate; simulate()"]


@contextmanager
def running(*arguments: str, **environment: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """A simulator on any port, and what it says when it is ready."""
    process = subprocess.Popen(
        [*COMMAND, "--port", "0", "--ready-json", "--latency", "0", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )
    with process:
        assert process.stdout
        try:
            yield process, json.loads(process.stdout.readline())
        finally:
            if process.poll() is None:
                process.kill()


def generate(ready: dict[str, Any], key: str = "sk-simulator", **body: Any) -> requests.Response:
    url = f"{ready['base_url']}/images/generations"
    fields = {"model": "flux-2-klein-4b", "prompt": "Hello", **body}
    return requests.post(url, json=fields, headers={"Authorization": f"Bearer {key}"}, timeout=10)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_a_signal_and_ends_well(number: signal.Signals) -> None:
    with running() as (process, ready):
        assert ready.keys() == {"event", "base_url", "delivery_url", "pid"}
        assert (ready["event"], ready["pid"]) == ("ready", process.pid)
        answer = generate(ready)
        assert requests.get(answer.json()["data"][0]["url"], timeout=10).status_code == 200
        process.send_signal(number)
        out, err = process.communicate(timeout=10)
    assert process.returncode == 0
    assert out == ""
    assert "sk-simulator" in err
    assert f"--base-url {ready['base_url']}" in err
    assert "flux-2-klein-4b  0 images  200" in err
    assert "Traceback" not in err


def test_it_ends_when_stdin_closes() -> None:
    with running("--until-stdin-closes") as (process, ready):
        assert generate(ready).status_code == 200
        _, err = process.communicate(timeout=10)
    assert process.returncode == 0
    assert "Traceback" not in err


def test_an_open_connection_does_not_keep_it() -> None:
    with running() as (process, ready), requests.Session() as session:
        assert session.get(ready["base_url"], timeout=10).status_code == 404
        process.terminate()
        assert process.wait(timeout=3) == 0


def test_the_key_comes_from_the_environment_and_is_not_shown() -> None:
    with running(FLUXBATCH_SIMULATOR_KEY="sk-other") as (process, ready):
        assert generate(ready).status_code == 401
        assert generate(ready, key="sk-other").status_code == 200
        process.terminate()
        out, err = process.communicate(timeout=10)
    assert "sk-other" not in out + err
    assert "$FLUXBATCH_SIMULATOR_KEY" in err


def test_settings_and_faults_reach_the_simulator(tmp_path: Path) -> None:
    options = ("--data", str(tmp_path), "--credit", "0.015", "--log-format", "json", "--fault", "429@1")
    with running(*options, "--retry-after", "3", "--url-life", "2m", "--rpm", "50") as (process, ready):
        first = generate(ready)
        assert (first.status_code, first.headers["Retry-After"]) == (429, "3")
        assert generate(ready).status_code == 200
        assert generate(ready).json()["error"]["code"] == "insufficient_user_quota"
        process.terminate()
        _, err = process.communicate(timeout=10)
    events = [json.loads(line) for line in err.splitlines() if line.startswith("{")]
    assert [event["outcome"] for event in events] == [
        "429 rate_limit_exceeded",
        "200",
        "403 insufficient_user_quota",
    ]
    assert events[0]["fault"] == "429"
    assert len((tmp_path / "calls.jsonl").read_text().splitlines()) == 1


def test_a_killed_simulator_comes_back_where_it_was(tmp_path: Path) -> None:
    with running("--data", str(tmp_path)) as (process, ready):
        url = generate(ready).json()["data"][0]["url"]
        body = requests.get(url, timeout=10).content
        process.kill()
        process.communicate()
    with running("--data", str(tmp_path)) as (process, again):
        assert again["base_url"] == ready["base_url"]
        assert requests.get(url, timeout=10).content == body
        process.terminate()
        process.communicate(timeout=10)


def run(*arguments: str) -> Any:
    return CliRunner().invoke(simulate, arguments)


def test_a_port_in_use_is_exit_2_with_a_remedy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        result = run("--port", str(other.getsockname()[1]))
    assert result.exit_code == 2
    assert "in use: choose another one with --port, or --port 0" in result.stderr


def test_a_folder_in_use_is_exit_75(tmp_path: Path) -> None:
    with running("--data", str(tmp_path)) as (process, _):
        result = run("--port", "0", "--data", str(tmp_path))
        process.terminate()
        process.communicate(timeout=10)
    assert result.exit_code == 75
    assert "--data" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--host", "0.0.0.0"], "not a loopback address"),
        (["--fault", "nonsense=1"], "unknown fault"),
        (["--fault", "429"], "neither"),
        (["--latency", "fast"], "neither a scale"),
        (["--url-life", "soon"], "no duration"),
        (["--url-life", "0"], "url_life"),
        (["--concurrency", "0"], "--concurrency"),
        (["--max-body-mb", "0"], "--max-body-mb"),
        (["--port", "8765", "--delivery-port", "8765"], "must differ"),
    ],
    ids=str,
)
def test_wrong_arguments_are_exit_2_and_said(arguments: list[str], reason: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert reason in result.stderr


def test_help_shows_examples_and_loads_no_server() -> None:
    result = run("--help")
    assert result.exit_code == 0
    assert "fluxbatch simulate --fault 429=0.1 --fault reset@3,5" in result.output
    script = (
        "import sys; from fluxbatch.cli.simulate import simulate; simulate(['--help'], standalone_mode=False); "
        "print([name for name in ('aiohttp', 'PIL', 'anyio') if name in sys.modules])"
    )
    shown = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=20
    ).stdout
    assert shown.splitlines()[-1] == "[]"


def test_the_kinds_of_faults_can_be_listed() -> None:
    result = run("--fault", "list")
    assert result.exit_code == 0
    assert "tail-stall" in result.output
    assert "download-truncated" in result.output
