"""Whole runs into an object store: killed, taken up, and known again by a machine that has nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.app.stage import Api, Ran, serving, sha256, wait_for, write_rows
from tests.stores.s3server import SECRET, S3Server, s3_serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PLACE = "s3://pictures/shop/night"


@pytest.fixture
def server() -> Iterator[S3Server]:
    with s3_serving() as server:
        yield server


@pytest.fixture
def api(tmp_path: Path, server: S3Server) -> Iterator[Api]:
    with serving(tmp_path / "sim") as api:
        api.env |= server.environment
        yield api


def run(api: Api, manifest: Path, state: str = "state", *more: object, out: str = PLACE) -> Ran:
    return api.run(manifest, "-o", out, "--state", state, "--json", "--yes", *more, cwd=manifest.parent)


def published(server: S3Server) -> list[dict[str, Any]]:
    return [json.loads(line) for line in server.objects["shop/night/results.jsonl"].data.splitlines()]


def check_objects(server: S3Server, lines: list[dict[str, Any]]) -> None:
    """Each stored image is there as the results say, and tells what it is."""
    for line in lines:
        kept = server.objects[f"shop/night/{line['file']}"]
        assert sha256(kept.data) == line["sha256"] == kept.headers["x-amz-meta-sha256"]
        assert kept.headers["x-amz-meta-fingerprint"] == line["fingerprint"]
        assert len(kept.data) == line["bytes"]
    assert not [key for key in server.objects if "probe" in key]


def test_images_land_in_a_store(api: Api, server: S3Server, tmp_path: Path) -> None:
    manifest = write_rows(tmp_path / "jobs.jsonl", 12)
    first = run(api, manifest)
    assert (first.code, first.summary["stored"], first.summary["charged"]) == (0, 12, 12), first.err
    assert PLACE in first.err
    check_objects(server, published(server))
    again = run(api, manifest)
    assert (again.code, again.summary["cached"], again.summary["requests"]) == (0, 12, 0)
    assert SECRET not in first.err + again.err


def test_an_empty_machine_pays_nothing_again(api: Api, server: S3Server, tmp_path: Path) -> None:
    manifest = write_rows(tmp_path / "jobs.jsonl", 8)
    run(api, manifest)
    found = run(api, manifest, "another-state")
    assert (found.code, found.summary["cached"], found.summary["requests"]) == (0, 8, 0), found.err
    lines = published(server)
    assert [line["status"] for line in lines] == ["stored"] * 8
    check_objects(server, lines)


def test_an_empty_machine_makes_what_changed(api: Api, server: S3Server, tmp_path: Path) -> None:
    manifest = write_rows(tmp_path / "jobs.jsonl", 6)
    run(api, manifest)
    before = server.objects["shop/night/job-003.jpg"].etag
    manifest.write_text(manifest.read_text().replace("Number 3", "Number three"))
    found = run(api, manifest, "another-state")
    assert (found.code, found.summary["cached"], found.summary["requests"]) == (0, 5, 1), found.err
    assert server.objects["shop/night/job-003.jpg"].etag != before
    [redone] = [one for one in server.asked if one.method == "PUT" and "if-match" in one.headers and "job" in one.key]
    assert (redone.key, redone.headers["if-match"]) == ("shop/night/job-003.jpg", before)


def test_killed_and_taken_up(api: Api, server: S3Server, tmp_path: Path) -> None:
    manifest = write_rows(tmp_path / "jobs.jsonl", 40)
    with api.running(manifest, "-o", PLACE, "--state", "state", "--yes", cwd=tmp_path) as child:
        wait_for(lambda: server.count("PUT", "shop/night/job") >= 10)
        child.kill()
    api.settle()
    done = run(api, manifest)
    assert (done.code, done.summary["stored"]) == (0, 40), done.err
    lines = published(server)
    check_objects(server, lines)
    billed = api.billed()
    for line in lines:
        times = billed[sha256(line["prompt"].encode())]
        assert line["charged"] <= times <= line["charged"] + line["unknown_charges"] <= 2
    assert run(api, manifest, "another-state").summary["requests"] == 0


@pytest.mark.parametrize(
    ("env", "out", "said"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, PLACE, "refuses the credentials (SignatureDoesNotMatch)"),
        ({"AWS_ACCESS_KEY_ID": "wrong"}, PLACE, "refuses the credentials (InvalidAccessKeyId)"),
        ({}, "s3://nowhere/x", "there is no bucket 'nowhere' (NoSuchBucket)"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, PLACE, "the store can't be reached"),
    ],
    ids=["wrong secret", "wrong key", "missing bucket", "unreachable"],
)
def test_a_store_that_takes_nothing_costs_nothing(
    api: Api, server: S3Server, tmp_path: Path, env: dict[str, str], out: str, said: str
) -> None:
    api.env |= env
    done = run(api, write_rows(tmp_path / "jobs.jsonl", 3), out=out)
    assert done.code == 3
    assert said in done.err
    assert "AKTESTSTORES" not in done.err
    assert not api.sim.calls
