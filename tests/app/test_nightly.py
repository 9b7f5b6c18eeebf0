"""Runs that nobody watches: hours, a budget over many runs, and a word at the end."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any

import anyio
import pytest

import fluxbatch
from fluxbatch.cli.run import run as run_options
from fluxbatch.simulator import Faults
from tests.app.stage import KEY, REPO, names_of, photos_into, run_command, serving, wait_for, write_rows

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.app.stage import Api, Ran

SECRET = "s3cr3t-part-of-the-address"


def hours(begin: float, end: float) -> tuple[str, ...]:
    """A window by hours from now."""
    now = datetime.now(UTC)
    text = "-".join(f"{now + timedelta(hours=hour):%H:%M}" for hour in (begin, end))
    return "--window", text, "--tz", "UTC"


# --------------------------------------------------------------------------------------------------------------- hours
def test_outside_the_window_nothing_is_sent(api: Api, tmp_path: Path) -> None:
    write_rows(tmp_path / "jobs.jsonl", 3)
    ran = api.run("jobs.jsonl", *hours(2, 3), "--json", cwd=tmp_path)
    assert (ran.code, ran.summary["stop_reason"], ran.summary["pending"]) == (3, "window", 3)
    assert "which opens at" in ran.err
    assert api.sim.requests == 0
    let_pass = api.run("jobs.jsonl", *hours(2, 3), "--ok-if", "window,budget", cwd=tmp_path)
    assert let_pass.code == 0
    inside = api.run("jobs.jsonl", *hours(-1, 1), "--json", cwd=tmp_path)
    assert (inside.code, inside.summary["stored"], inside.summary["stop_reason"]) == (0, 3, "")
    assert api.run("jobs.jsonl", *hours(2, 3), "--json", cwd=tmp_path).code == 0, "nothing to send, nothing to stop"


def test_outside_the_window_what_is_paid_for_is_fetched(tmp_path: Path) -> None:
    stalls = Faults(rates={"download-stall": 1.0})
    with serving(tmp_path / "api", faults=stalls) as api:
        write_rows(tmp_path / "jobs.jsonl", 2)
        with api.running("jobs.jsonl", "--limit", "1", cwd=tmp_path) as child:
            wait_for(lambda: names_of(tmp_path / "jobs-out", "job.granted") == ["job-000"])
            child.kill()
        api.sim.faults = Faults()
        ran = api.run("jobs.jsonl", *hours(2, 3), "--json", cwd=tmp_path)
        assert (ran.summary["stored"], ran.summary["requests"], ran.code) == (1, 0, 3)


def test_who_waits_fetches_first_what_is_paid_for(tmp_path: Path) -> None:
    """A run that was killed at the end of its hours is begun anew at once, and URLs don't live until the next night."""
    stalls = Faults(rates={"download-stall": 1.0})
    out = tmp_path / "jobs-out"
    with serving(tmp_path / "api", faults=stalls) as api:
        write_rows(tmp_path / "jobs.jsonl", 2)
        with api.running("jobs.jsonl", "--limit", "1", cwd=tmp_path) as child:
            wait_for(lambda: names_of(out, "job.granted") == ["job-000"])
            child.kill()
        api.sim.faults = Faults()
        with api.running("jobs.jsonl", *hours(2, 3), "--wait", cwd=tmp_path) as child:
            wait_for(lambda: "waiting for --window" in child.said)
            assert names_of(out, "job.stored") == ["job-000"]
            manual = api.run("jobs.jsonl", "--limit", "0", "--json", cwd=tmp_path)
            assert (manual.code, manual.summary["stored"], manual.summary["requests"]) == (0, 1, 0), "it is free again"
            child.process.send_signal(signal.SIGTERM)
            assert child.finish().code == 143
        assert api.sim.requests == 1


async def test_jobs_that_can_be_read_once_are_read_after_the_wait(api: Api, tmp_path: Path) -> None:
    asked = []

    def jobs() -> Iterator[fluxbatch.Job]:
        asked.append("a")
        yield fluxbatch.Job(id="a", prompt="A cup")

    options: dict[str, Any] = {"window": hours(2, 3)[1], "timezone": "UTC", "wait": True}
    with anyio.move_on_after(1.5) as scope:
        await fluxbatch.arun(jobs(), out=tmp_path / "out", base_url=api.sim.base_url, api_key=KEY, **options)
    assert scope.cancelled_caught
    assert not asked


def test_who_waits_while_another_run_goes_on_leaves_it_alone(tmp_path: Path) -> None:
    with serving(tmp_path / "api", latency_s=30) as api:
        write_rows(tmp_path / "jobs.jsonl", 1)
        with api.running("jobs.jsonl", cwd=tmp_path):
            wait_for(lambda: api.sim.in_flight == 1)
            with api.running("jobs.jsonl", *hours(2, 3), "--wait", cwd=tmp_path) as child:
                wait_for(lambda: "waiting for --window" in child.said)


def test_who_waits_can_be_told_to_stop(api: Api, tmp_path: Path) -> None:
    write_rows(tmp_path / "jobs.jsonl", 1)
    with api.running("jobs.jsonl", *hours(2, 3), "--wait", cwd=tmp_path) as child:
        wait_for(lambda: "waiting for --window" in child.said)
        assert not (tmp_path / "jobs-out").exists(), "the folder is free for others meanwhile"
        child.process.send_signal(signal.SIGTERM)
        assert child.finish().code == 143
    assert api.sim.requests == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--window", "1-6"), "write 01:00-06:00"),
        (("--window", "01:00-06:00", "--tz", "Asia/Shanghia"), "did you mean 'Asia/Shanghai'"),
        (("--tz", "UTC"), "--tz is for"),
        (("--wait",), "--wait is for --window"),
        (("--budget", "900"), "write 900/month"),
        (("--notify",), "FLUXBATCH_NOTIFY_URL is not set"),
        (("--notify-command", "mail 'x"), "matching quotes"),
    ],
)
def test_what_can_not_be_understood_is_told_at_once(
    api: Api, tmp_path: Path, options: tuple[str, ...], words: str
) -> None:
    write_rows(tmp_path / "jobs.jsonl", 1)
    ran = api.run("jobs.jsonl", *options, cwd=tmp_path)
    assert ran.code == 2
    assert words in ran.err
    assert api.sim.requests == 0
    assert not (tmp_path / "jobs-out").exists()


# -------------------------------------------------------------------------------------------------------------- budget
def test_a_budget_holds_over_runs_that_went_through(api: Api, tmp_path: Path) -> None:
    """Unlike a cap, which begins anew with a new order."""
    budget = ("--budget", "0.05/month", "--tz", "Asia/Shanghai", "--json")
    write_rows(tmp_path / "jobs.jsonl", 3)
    assert api.run("jobs.jsonl", *budget, cwd=tmp_path).code == 0
    write_rows(tmp_path / "jobs.jsonl", 8)

    ran = api.run("jobs.jsonl", *budget, cwd=tmp_path)

    assert (ran.code, ran.summary["stop_reason"]) == (3, "budget")
    assert (ran.summary["stored"], ran.summary["pending"]) == (5, 3)
    assert "$0.05 of the $0.05 of this month" in ran.err
    assert "Asia/Shanghai" in ran.err
    again = api.run("jobs.jsonl", *budget, "--ok-if", "budget", cwd=tmp_path)
    assert (again.code, again.summary["requests"]) == (0, 0)
    assert api.sim.spent_usd == pytest.approx(0.05)
    more = api.run("jobs.jsonl", "--budget", "0.06/month", "--tz", "Asia/Shanghai", "--json", cwd=tmp_path)
    assert more.summary["requests"] == 1


@pytest.mark.slow
def test_what_a_killed_run_spent_counts(tmp_path: Path) -> None:
    with serving(tmp_path / "api", latency_s=30) as api:
        write_rows(tmp_path / "jobs.jsonl", 6)
        with api.running("jobs.jsonl", "--concurrency", "2", cwd=tmp_path) as child:
            wait_for(lambda: api.sim.in_flight == 2)
            child.kill()
    with serving(tmp_path / "api2") as api:
        ran = api.run("jobs.jsonl", "--budget", "0.04/day", "--if-unsure", "hold", "--json", cwd=tmp_path)
        # two were maybe billed: they count as spent
        assert (ran.code, ran.summary["requests"], ran.summary["failed"]) == (3, 2, 2)


def test_a_budget_needs_prices_and_is_leave_to_spend(api: Api, tmp_path: Path) -> None:
    write_rows(tmp_path / "jobs.jsonl", 400, model="flux-2-max")
    ran = api.run("jobs.jsonl", "--budget", "0.14/day", "--json", cwd=tmp_path)
    assert (ran.code, ran.summary["requests"]) == (3, 2), "nobody has to be asked about what is capped"
    prices = tmp_path / "prices.toml"
    prices.write_text("[usd]\n")
    (tmp_path / "other.jsonl").write_text('{"prompt": "x", "model": "flux-9"}')
    refused = api.run("other.jsonl", "--budget", "1/day", "-o", "other", cwd=tmp_path)
    assert refused.code == 2


# ---------------------------------------------------------------------------------------------------------- the outlook
def test_a_plan_says_what_hours_and_budget_leave_of_it(api: Api, tmp_path: Path) -> None:
    def plan(*options: str) -> Ran:
        return run_command("plan", "jobs.jsonl", *options, cwd=tmp_path, env=api.environment)

    write_rows(tmp_path / "jobs.jsonl", 5)
    assert api.run("jobs.jsonl", "--limit", "2", cwd=tmp_path).code == 0
    bare = json.loads(plan("--json").out)
    assert (bare["sends_now"], bare["window"], bare["budget"]) == (3, None, None)

    told = json.loads(plan("--json", "--budget", "0.04/month", *hours(-1, 1)).out)
    assert (told["make"], told["sends_now"], told["window"]["open"]) == (3, 2, True)
    assert (told["budget"]["spent_usd"], told["budget"]["left_usd"]) == (0.02, 0.02)
    begins, ends = (datetime.fromisoformat(told["budget"][name]) for name in ("begins", "ends"))
    assert begins <= datetime.now(UTC) < ends
    assert begins.day == ends.day == 1

    closed = plan("--budget", "0.04/month", *hours(2, 3))
    assert "is closed: nothing is sent now; it opens at" in closed.out
    assert "$0.02 of the $0.04 of this month" in closed.out
    assert "$0.02 are left: enough for 2 of 3 images" in closed.out
    assert json.loads(plan("--json", *hours(2, 3)).out)["sends_now"] == 0
    assert "--window" in closed.out.splitlines()[-1], "what is run is what was planned"
    for options, code in ((hours(2, 3), 1), (("--limit", "0", "--budget", "0.01/day"), 0)):
        assert plan("--check", *options).code == code, "there is work, whenever it is sent"
    # and that is what comes of it
    ran = api.run("jobs.jsonl", "--budget", "0.04/month", *hours(-1, 1), "--json", cwd=tmp_path)
    assert (ran.summary["requests"], ran.summary["stop_reason"]) == (2, "budget")

    status = run_command("status", "jobs-out", "--budget", "0.04/month", "--json", cwd=tmp_path)
    assert json.loads(status.out)["budget"]["left_usd"] == 0.0
    status = run_command("status", "jobs-out", "--budget", "0.05/month", *hours(2, 3), cwd=tmp_path)
    assert "$0.04 of the $0.05 of this month" in status.out
    assert "is closed; it opens at" in status.out
    wrong = run_command("status", "jobs-out", "--budget", "much", cwd=tmp_path)
    assert (wrong.code, "write 900/month" in wrong.err) == (2, True)


def test_what_a_killed_run_may_have_spent_is_not_left(tmp_path: Path) -> None:
    with serving(tmp_path / "api", latency_s=30) as api:
        write_rows(tmp_path / "jobs.jsonl", 6)
        with api.running("jobs.jsonl", "--concurrency", "2", cwd=tmp_path) as child:
            wait_for(lambda: api.sim.in_flight == 2)
            child.kill()
    plan = run_command("plan", "jobs.jsonl", "--budget", "0.04/day", "--json", cwd=tmp_path)
    told = json.loads(plan.out)
    assert (told["budget"]["spent_usd"], told["sends_now"], told["make"]) == (0.02, 2, 6)


# -------------------------------------------------------------------------------------------------------- notifications
@contextmanager
def hook(*statuses: int, location: str = "") -> Iterator[tuple[str, list[Any]]]:
    """Somebody else's server: the URL, and what it was sent."""
    taken: list[Any] = []
    left = list(statuses)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            taken.append((self.path, dict(self.headers), json.loads(body)))
            self.send_response(left.pop(0) if left else 200)
            if location:
                self.send_header("Location", location)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/hooks/{SECRET}?token={SECRET}", taken
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_somebody_is_told_what_it_came_to(api: Api, tmp_path: Path) -> None:
    write_rows(tmp_path / "jobs.jsonl", 2)
    with hook() as (url, taken):
        api.env["FLUXBATCH_NOTIFY_URL"] = url
        ran = api.run("jobs.jsonl", "--notify", "--json", cwd=tmp_path)
        assert ran.code == 0
        ((path, headers, told),) = taken
        assert path.endswith(f"{SECRET}?token={SECRET}")
        assert headers["Content-Type"] == "application/json"
        assert "Authorization" not in headers
        assert told == {**ran.summary, "out": str(tmp_path / "jobs-out")}
        assert SECRET not in ran.out + ran.err

        wrong = api.run("missing.jsonl", "--notify", cwd=tmp_path)
        assert wrong.code == 2
        assert taken[-1][2]["exit_code"] == 2
        assert "missing.jsonl" in json.dumps(taken[-1][2]) or taken[-1][2]["error"]
        assert KEY not in json.dumps(taken)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--api-key-file", "gone"), "--api-key-file gone"),
        (("--prices", "gone.toml"), "gone.toml"),
        (("--retry", "everything"), "there is no such reason"),
    ],
)
def test_somebody_is_told_of_a_run_that_could_not_begin(
    api: Api, tmp_path: Path, options: tuple[str, ...], words: str
) -> None:
    """A key that was not mounted: nobody looks at a night's log, and a report of the night before is no report."""
    write_rows(tmp_path / "jobs.jsonl", 1)
    (tmp_path / "junit.xml").write_text("<testsuites/>")
    api.env["GITHUB_STEP_SUMMARY"] = str(tmp_path / "page.md")
    tell = f'{sys.executable} -c \'import sys; open("told", "wb").write(sys.stdin.buffer.read())\''
    ran = api.run("jobs.jsonl", *options, "--notify-command", tell, "--junit", "junit.xml", cwd=tmp_path)
    assert (ran.code, words in ran.err) == (2, True)
    told = json.loads((tmp_path / "told").read_bytes())
    assert told["exit_code"] == 2
    assert words in told["error"]
    assert words in (tmp_path / "junit.xml").read_text()
    assert "nothing was sent" in (tmp_path / "page.md").read_text()


@pytest.mark.parametrize(
    ("statuses", "tries", "words"),
    [
        ((503, 200), 2, ""),
        ((503, 500, 200), 2, "127.0.0.1 says HTTP 500"),
        ((404, 200), 1, "127.0.0.1 says HTTP 404"),
        ((307, 200), 1, "redirect (307), which is not followed"),
    ],
)
def test_a_notification_that_is_not_taken_changes_nothing(
    api: Api, tmp_path: Path, statuses: tuple[int, ...], tries: int, words: str
) -> None:
    write_rows(tmp_path / "jobs.jsonl", 1)
    with hook() as (elsewhere, theirs), hook(*statuses, location=elsewhere) as (url, taken):
        api.env["FLUXBATCH_NOTIFY_URL"] = url
        ran = api.run("jobs.jsonl", "--notify", cwd=tmp_path)
    assert (ran.code, len(taken), theirs) == (0, tries, [])
    assert words in ran.err
    assert ("not taken" in ran.err) is bool(words)
    assert SECRET not in ran.err


def test_nobody_there_to_be_told(api: Api, tmp_path: Path) -> None:
    write_rows(tmp_path / "jobs.jsonl", 1)
    with hook() as (url, _):
        pass
    api.env["FLUXBATCH_NOTIFY_URL"] = url
    ran = api.run("jobs.jsonl", "--notify", cwd=tmp_path)
    assert ran.code == 0
    assert "not taken" in ran.err
    assert SECRET not in ran.err


def test_a_command_is_told_without_a_shell(api: Api, tmp_path: Path) -> None:
    write_rows(tmp_path / "jobs.jsonl", 2)
    script = tmp_path / "tell me.py"
    script.write_text(
        "import json, os, sys\n"
        "facts = json.load(sys.stdin)\n"
        "keys = [name for name in os.environ if 'KEY' in name]\n"
        "print('said', facts['stored'], sys.argv[1:], keys)\n"
        "sys.exit(3)\n"
    )
    command = f"{sys.executable} '{script}' ';touch hit' $HOME"

    ran = api.run("jobs.jsonl", "--notify-command", command, "--json", cwd=tmp_path)

    assert ran.code == 0
    assert "said 2 [';touch hit', '$HOME'] []" in ran.err
    assert "--notify-command ended with 3" in ran.err
    assert ran.summary["stored"] == 2, "its words are kept out of the results"
    assert not (tmp_path / "hit").exists()


@pytest.mark.skipif(sys.platform == "darwin", reason="its file systems have no such names")
@pytest.mark.parametrize("place", ["manifest", "out", "state", "photos", "with"])
def test_a_path_that_can_not_be_written_down_is_said_before_anything_is_sent(
    api: Api, tmp_path: Path, place: str
) -> None:
    """As folders from old file servers and archives are called; the news of it are JSON."""
    odd = tmp_path / os.fsdecode(b"sch\xf6n")
    photo = photos_into(odd, "cat.webp") / "cat.webp"
    shutil.copy(photo, tmp_path)
    write_rows(tmp_path / "jobs.jsonl", 1)
    asked = {
        "manifest": (write_rows(odd / "jobs.jsonl", 1), "-o", "out"),
        "out": ("jobs.jsonl", "-o", odd / "out"),
        "state": ("jobs.jsonl", "--state", odd),
        "photos": (odd, "-p", "A cat", "-o", "out"),
        "with": ("cat.webp", "-p", "A cat", "--with", photo),
    }[place]
    tell = f'{sys.executable} -c \'import sys; open("told", "wb").write(sys.stdin.buffer.read())\''

    for more in (("--log-format", "json"), ("--junit", "junit.xml")):
        ran = api.run(*asked, "--yes", "--notify-command", tell, *more, cwd=tmp_path)
        assert ran.code == 2, ran.err
        assert "sch\\xf6n" in ran.err.replace("\\\\", "\\")
        assert "is no UTF-8" in ran.err
        assert json.loads((tmp_path / "told").read_bytes())["exit_code"] == 2
    assert "is no UTF-8" in (tmp_path / "junit.xml").read_text()
    assert run_command("plan", *asked, "--json", cwd=tmp_path).code == 2
    assert api.sim.requests == 0


def test_an_error_that_quotes_what_is_no_text_is_told(tmp_path: Path) -> None:
    for more in ((), ("--log-format", "json")):
        ran = run_command("run", os.fsdecode(b"\xff.gif"), "--simulate", *more, cwd=tmp_path)
        assert (ran.code, "is no manifest" in ran.err) == (2, True), ran.err


def test_a_manifest_can_not_have_anything_run_or_told(tmp_path: Path) -> None:
    for field in ("notify", "notify_command", "window", "budget"):
        (tmp_path / "jobs.yaml").write_text(f"version: 1\n{field}: x\njobs: [{{prompt: x}}]\n")
        ran = run_command("run", "jobs.yaml", "--simulate", cwd=tmp_path)
        assert ran.code == 2
        assert field in ran.err


# ------------------------------------------------------------------------------------------------------------ examples
def test_the_examples_leave_time_to_drain() -> None:
    nightly = REPO / "jobs" / "nightly"
    service = (nightly / "fluxbatch.service").read_text()
    cronjob = (nightly / "cronjob.yml").read_text()
    assert "TimeoutStopSec=20min" in service
    assert "terminationGracePeriodSeconds: 1200" in cronjob
    assert "concurrencyPolicy: Forbid" in cronjob
    known = {name for option in run_options.params for name in option.opts}
    for example in nightly.iterdir():
        used = set(re.findall(r"(?<!\S)(?:\[run, )?[\"']?(--[a-z-]+)", example.read_text()))
        assert used <= known | {"--from-literal", "--now"}, example
