"""``run --serve`` as a process: its page tells of the run, can stop it, and never holds it up."""

from __future__ import annotations

import json
import re
import signal
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from fluxbatch.simulator import Faults
from tests.app.stage import Api, Child, photos_into, results, serving, wait_for, write_rows
from tests.web.visitor import Visitor, read_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ID = "job/ü <b>'1'"


@pytest.fixture(scope="module")
def slow_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serving(tmp_path_factory.mktemp("slow"), latency_s=0.25) as running:
        yield running


@contextmanager
def watched(api: Api, folder: Path, *args: str) -> Iterator[tuple[Child, Visitor]]:
    """A run, and a visitor who has come in."""
    with api.running("jobs.jsonl", "--yes", "-o", "out", *args, "--serve", cwd=folder) as child:
        wait_for(lambda: "token=" in child.said or child.ended)
        found = re.search(r"http://\S+token=[\w-]+", child.said)
        assert found, child.said
        visitor = Visitor(found[0].rstrip('"'))
        assert visitor.enter().status == 200
        yield child, visitor


def told(seen: bytes, name: str) -> list[Any]:
    """What was told under a name, in order; the last piece may be torn."""
    found = []
    for block in seen.decode(errors="replace").split("\n\n"):
        lines = block.splitlines()
        if f"event: {name}" in lines and lines[-1].startswith("data: "):
            found.append(json.loads(lines[-1][6:]))
    return found


def test_it_tells_of_the_run_to_its_end(slow_api: Api, tmp_path: Path) -> None:
    photos_into(tmp_path, "cup.png")
    rows: list[dict[str, Any]] = [{"id": f"n-{n}", "prompt": f"Number {n}"} for n in range(12)]
    rows.append({"id": ID, "prompt": "</script>", "images": ["cup.png"], "meta": {"a": "<i>"}})
    (tmp_path / "jobs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with watched(slow_api, tmp_path, "--concurrency", "2") as (child, visitor):
        with visitor.listen() as stream:
            seen = read_until(stream, b"event: jobs")
            listed = {job["id"]: job for job in visitor.jobs()}
            assert set(listed) == {row["id"] for row in rows}
            assert visitor.get("/about").json()["out"] == "out"
            first = visitor.get("/" + listed[ID]["inputs"][0]["thumb"].replace(" ", "%20"))
            assert (first.status, first.headers["content-type"]) == (200, "image/jpeg")
            whole = visitor.get("/" + listed[ID]["inputs"][0]["href"])
            assert whole.body == (tmp_path / "cup.png").read_bytes()
            seen += read_until(stream, b'"ended"')
        assert child.finish().code == 0
    progress = told(seen, "progress")[-1]
    assert (progress["make"], progress["made"], progress["failed"], progress["in_flight"]) == (13, 13, 0, 0)
    changed = [job for entries in told(seen, "jobs") for job in entries]
    assert {job["status"] for job in changed} == {"stored"}
    assert not any("prompt" in job for job in changed)
    assert told(seen, "run")[-1] == {"phase": "ended", "exit_code": 0, "stop_reason": ""}


@pytest.mark.slow
def test_failures_come_with_their_remedy(tmp_path: Path) -> None:
    write_rows(tmp_path / "jobs.jsonl", 12)
    faults = Faults.from_specs(["moderation@2"])
    with (
        serving(tmp_path / "simulator", latency_s=0.25, faults=faults) as api,
        watched(api, tmp_path, "--concurrency", "1") as (child, visitor),
    ):
        with visitor.listen() as stream:
            seen = read_until(stream, b'"ended"')
        assert child.finish().code == 1
    job_id, message, remedy = told(seen, "progress")[-1]["recent"][-1]
    assert job_id.startswith("job-")
    assert message
    assert remedy


def test_the_button_does_what_ctrl_c_does(slow_api: Api, tmp_path: Path) -> None:
    write_rows(tmp_path / "jobs.jsonl", 40)
    with watched(slow_api, tmp_path, "--concurrency", "2", "--json") as (child, visitor):
        with visitor.listen() as stream:
            read_until(stream, b'"status":"stored"')
            assert visitor.post("/stop", {}, Origin="http://evil.example").status == 403
            assert visitor.post("/stop", {}).json() == {"stopping": True}
            seen = read_until(stream, b'"ended"')
            assert told(seen, "run")[-1]["stop_reason"] == "interrupted"
        ran = child.finish()
    assert ran.code == 130
    assert ran.summary["stop_reason"] == "interrupted"
    assert ran.summary["unknown_charges"] == ran.summary["lost"] == 0
    assert 0 < ran.summary["stored"] == ran.summary["charged"] < 40
    again = slow_api.run("jobs.jsonl", "--yes", "-o", "out", "--json", "--limit", "1", cwd=tmp_path)
    assert again.summary["stored"] >= ran.summary["stored"]


@pytest.mark.slow
def test_pressed_again_it_doesnt_end_what_is_in_flight(tmp_path: Path) -> None:
    write_rows(tmp_path / "jobs.jsonl", 20)
    with (
        serving(tmp_path / "simulator", latency_s=1) as api,
        watched(api, tmp_path, "--concurrency", "2", "--json") as (child, visitor),
    ):
        wait_for(lambda: api.sim.in_flight > 0)
        for _ in range(3):
            assert visitor.post("/stop", {}).status == 200
        ran = child.finish()
    assert ran.code == 130
    assert ran.summary["stored"] == ran.summary["charged"] == ran.summary["requests"] > 0


@pytest.mark.slow
def test_readers_who_take_nothing_change_nothing(api: Api, tmp_path: Path) -> None:
    write_rows(tmp_path / "jobs.jsonl", 150)
    with watched(api, tmp_path, "--json") as (child, visitor):
        hung = [visitor.listen() for _ in range(4)]
        for _ in range(4):
            hung.append(socket.create_connection((hung[0].getpeername()[0], hung[0].getpeername()[1])))
            hung[-1].sendall(b"GET /jobs HTTP/1.1\r\nHost: ")
        ran = child.finish()
        for one in hung:
            one.close()
    assert ran.code == 0
    assert ran.summary["stored"] == 150


def test_a_port_in_use_is_told_before_anything_is_sent(api: Api, tmp_path: Path) -> None:
    write_rows(tmp_path / "jobs.jsonl", 3)
    before = api.sim.requests
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ran = api.run("jobs.jsonl", "--yes", "-o", "out", "--serve", port, cwd=tmp_path)
    assert ran.code == 2
    assert f"port {port}" in ran.err
    assert "in use" in ran.err
    assert api.sim.requests == before
    assert not (tmp_path / "out").exists()


def test_what_follows_serve_is_taken_for_its_address_and_told_so(api: Api, tmp_path: Path) -> None:
    write_rows(tmp_path / "jobs.jsonl", 3)
    write_rows(tmp_path / "more.jsonl", 3)
    ran = api.run("jobs.jsonl", "--serve", "more.jsonl", cwd=tmp_path)
    assert ran.code == 2
    assert "--serve more.jsonl: this is no address" in ran.err
    assert "write --serve last" in ran.err


def test_for_other_machines_only_where_asked_and_said_aloud(api: Api, tmp_path: Path) -> None:
    write_rows(tmp_path / "jobs.jsonl", 1)
    ran = api.run("jobs.jsonl", "--yes", "-o", "a", "--serve", "0.0.0.0:0", cwd=tmp_path)
    assert (ran.code, "other machines can reach it" in ran.err) == (0, True)
    ran = api.run("jobs.jsonl", "--yes", "-o", "b", "--log-format", "json", "-q", "--serve", cwd=tmp_path)
    assert ran.code == 0
    line = json.loads(ran.err.splitlines()[0])
    assert line["event"] == "page"
    assert line["url"].startswith("http://127.0.0.1:")
    assert len(results(tmp_path / "b")) == 1


def test_a_signal_ends_it_with_its_page(slow_api: Api, tmp_path: Path) -> None:
    write_rows(tmp_path / "jobs.jsonl", 40)
    with watched(slow_api, tmp_path, "--concurrency", "2") as (child, visitor):
        with visitor.listen() as stream:
            read_until(stream, b"event: jobs")
            child.process.send_signal(signal.SIGTERM)
            seen = read_until(stream, b'"ended"')
        assert child.finish().code == 143
    assert told(seen, "run")[-1]["exit_code"] == 143


@pytest.mark.slow
def test_thumbnails_are_kept_where_gc_finds_them(slow_api: Api, tmp_path: Path) -> None:
    photos_into(tmp_path, "cup.png")
    (tmp_path / "jobs.jsonl").write_text(json.dumps({"id": "a", "prompt": "x", "images": ["cup.png"]}))
    with watched(slow_api, tmp_path) as (child, visitor):
        with visitor.listen() as stream:
            read_until(stream, b"retry")
            wait_for(lambda: bool(visitor.jobs()))
            assert visitor.get("/" + visitor.jobs()[0]["inputs"][0]["thumb"]).status == 200
        assert child.finish().code == 0
    [small] = (tmp_path / "out" / ".fluxbatch" / "thumbs").glob("??/*.jpg")
    assert small.stat().st_size < (tmp_path / "cup.png").stat().st_size
