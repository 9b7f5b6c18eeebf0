"""``review --serve`` as a process: what is said is on disk before it is answered, and others hear of it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.app.stage import command, photos_into, run_command, wait_for
from tests.review.folder import digest, make_folder
from tests.web.visitor import Visitor, read_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOSTILE = "<script>broken()</script>\u202e'\" \x1b[31m " + "x" * 3000


@contextmanager
def reviewing(folder: Path, *args: str) -> Iterator[tuple[subprocess.Popen[bytes], Visitor]]:
    """The page of ``out``, and a visitor who has come in."""
    with tempfile.TemporaryFile() as said:

        def text() -> str:
            return os.pread(said.fileno(), 1 << 20, 0).decode()

        process = subprocess.Popen(
            command("review", "out", *args, "--serve"),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=said,
        )
        try:
            wait_for(lambda: "token=" in text() or process.poll() is not None)
            found = re.search(r"http://\S+token=[\w-]+", text())
            assert found, text()
            visitor = Visitor(found[0])
            assert visitor.enter().status == 200
            yield process, visitor
        finally:
            process.kill()
            process.wait()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_folder(tmp_path / "out", {"jobs": [f"n-{n}" for n in range(400)]})
    return tmp_path


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "out" / "reviews.jsonl").read_text().splitlines()]


def said(number: int, verdict: str | None, by: str = "Ann", **more: Any) -> dict[str, Any]:
    return {"id": f"n-{number}", "sha256": digest(f"n-{number}"), "verdict": verdict, "by": by, **more}


def test_what_is_answered_is_on_disk_and_others_hear_it(folder: Path) -> None:
    with reviewing(folder) as (_, ann), Visitor(ann.link, ann.cookie).listen() as ben:
        read_until(ben, b"retry")
        answer = ann.post("/review", said(3, "rejected", note=HOSTILE))
        assert answer.status == 200, answer
        [line] = lines(folder)
        assert (line["id"], line["verdict"], line["note"], line["by"]) == ("n-3", "rejected", HOSTILE, "Ann")
        assert answer.json()["job"]["review"]["standing"] == "rejected"
        heard = read_until(ben, b'"rejected"')
    assert b'"by":"Ann"' in heard


def test_the_last_one_wins_and_whoever_looks_sees_it(folder: Path) -> None:
    with reviewing(folder) as (_, visitor), visitor.listen() as stream:
        read_until(stream, b"retry")
        assert visitor.post("/review", said(1, "approved")).status == 200
        assert visitor.post("/review", said(1, "rejected", by="Ben")).status == 200
        read_until(stream, b'"Ben"')
        [job] = [job for job in visitor.jobs() if job["id"] == "n-1"]
        assert (job["review"]["standing"], job["review"]["by"]) == ("rejected", "Ben")
        stale = visitor.post("/review", said(1, None, after=lines(folder)[0]["at"]))
        assert stale.status == 409
        assert "somebody else was at it since: rejected by Ben" in stale.json()["error"]
        assert stale.json()["job"]["review"]["by"] == "Ben"
    assert len(lines(folder)) == 2


def test_an_image_that_has_changed_meanwhile_is_refused(folder: Path) -> None:
    with reviewing(folder) as (_, visitor):
        make_folder(folder / "out", {"jobs": [f"n-{n}" for n in range(400)]}, version=2)
        answer = visitor.post("/review", said(5, "approved"))
        assert answer.status == 409
        assert "the image has changed since: look at it again" in answer.json()["error"]
        assert answer.json()["job"]["sha256"] == digest("n-5", 2)
        assert "no such job" in visitor.post("/review", {**said(5, "approved"), "id": "gone"}).json()["error"]
    assert not (folder / "out" / "reviews.jsonl").exists()


WRONG: list[dict[str, Any]] = [
    *({"by": " "}, {"by": 7}, {"by": "x" * 201}, {"verdict": "fine"}, {"note": "x" * 10_001}, {"id": None}),
    {"after": 1},
]


def test_what_makes_no_sense_is_told_and_not_kept(folder: Path) -> None:
    with reviewing(folder) as (_, visitor):
        for wrong in WRONG:
            answer = visitor.post("/review", {**said(1, "approved"), **wrong})
            assert (answer.status, bool(answer.json()["error"])) == (400, True), wrong
    assert not (folder / "out" / "reviews.jsonl").exists()


def test_only_the_page_itself_may_say_something(folder: Path) -> None:
    with reviewing(folder) as (_, visitor):
        assert visitor.post("/review", said(1, "approved"), Origin="http://evil.example").status == 403
        assert visitor.post("/review", said(1, "approved"), Content_Type="text/plain").status == 403
        assert visitor.post("/review", said(1, "approved"), Host="evil.example").status == 403
        assert Visitor(visitor.link).post("/review", said(1, "approved")).status == 401
        for path in ("/picture?id=n-1&n=-1", "/picture?id=n-1&n=-99", "/picture?id=../../x&n=-1", "/../reviews.jsonl"):
            assert visitor.get(path).status == 404
    assert not (folder / "out" / "reviews.jsonl").exists()


def test_what_comes_by_another_way_is_told_as_well(folder: Path) -> None:
    (folder / "filled.csv").write_text(f"id,sha256,verdict,note\nn-7,{digest('n-7')},approved,by table\n")
    with reviewing(folder) as (_, visitor), visitor.listen() as stream:
        read_until(stream, b"retry")
        ran = run_command("review", "out", "--import", "filled.csv", "--by", "Carl", cwd=folder)
        assert ran.code == 0, ran.err
        assert b'"n-7"' in read_until(stream, b"by table")
        with (folder / "out" / "reviews.jsonl").open("a") as file:
            file.write("<<<<<<< ours\n")
        read_until(stream, b"reviews.jsonl:2")


def test_it_ends_in_order_and_refuses_what_it_cant_be(folder: Path) -> None:
    with reviewing(folder) as (process, visitor), visitor.listen() as stream:
        read_until(stream, b"retry")
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 0
    ran = run_command("review", "out", "--serve", "--export", "a.csv", cwd=folder)
    assert (ran.code, "--export and --serve" in ran.err) == (2, True)
    (folder / "empty").mkdir()
    assert run_command("review", "empty", "--serve", cwd=folder).code == 2


def test_images_in_an_object_store_are_told_to_be_elsewhere(folder: Path) -> None:
    state = folder / "out" / ".fluxbatch"
    (state / "store").write_text("s3://bucket/night\n")
    ran = run_command("review", state, "--serve", cwd=folder)
    assert ran.code == 2
    assert "these are in s3://bucket/night" in ran.err


@pytest.mark.slow
def test_images_made_again_come_with_those_that_gave_way(tmp_path: Path) -> None:
    photos_into(tmp_path, "cup.png")
    jobs = [{"id": f"n-{n}", "prompt": f"Number {n}", "images": ["cup.png"]} for n in range(3)]
    (tmp_path / "jobs.jsonl").write_text("\n".join(map(json.dumps, jobs)))
    assert run_command("run", "jobs.jsonl", "--simulate", "-o", "out", cwd=tmp_path).code == 0
    with reviewing(tmp_path) as (_, visitor), visitor.listen() as stream:
        read_until(stream, b"retry")
        first = {job["id"]: job for job in visitor.jobs()}
        before = visitor.get("/" + first["n-1"]["href"])
        facts = {"id": "n-1", "sha256": first["n-1"]["sha256"], "verdict": "rejected", "by": "Ann"}
        assert visitor.post("/review", facts).status == 200
        assert visitor.get("/job?id=n-1").json() == {"earlier": []}
        ran = run_command("run", "jobs.jsonl", "--simulate", "-o", "out", "--remake", "rejected", cwd=tmp_path)
        assert ran.code == 0, ran.err
        read_until(stream, b"event: resync")  # the run has another plan
        now = {job["id"]: job for job in visitor.jobs()}
        assert now["n-1"]["sha256"] != first["n-1"]["sha256"]
        assert now["n-1"]["review"]["standing"] == "outdated"
        assert now["n-0"]["sha256"] == first["n-0"]["sha256"]
        [earlier] = visitor.get("/job?id=n-1").json()["earlier"]
        assert visitor.get("/" + earlier["href"]).body == before.body
        assert visitor.get("/" + earlier["thumb"]).headers["content-type"] == "image/jpeg"
        assert visitor.get("/picture?id=n-1&n=-2").status == 404
