"""The gallery of images in an object store: small ones, fetched once; nothing in it that is secret or dies."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.app.stage import Api, Ran, run_command, serving, write_rows
from tests.stores.s3server import KEY, S3Server, s3_serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PLACE = "s3://pictures/shop/night"

pytestmark = pytest.mark.slow


@pytest.fixture
def server() -> Iterator[S3Server]:
    with s3_serving() as server:
        yield server


@pytest.fixture
def api(tmp_path: Path, server: S3Server) -> Iterator[Api]:
    with serving(tmp_path / "sim") as api:
        api.env |= server.environment
        yield api


def report(api: Api, cwd: Path, *args: object) -> Ran:
    return run_command("report", *args, cwd=cwd, env=api.environment)


def entries(folder: Path) -> dict[str, dict[str, Any]]:
    """What the page knows of each job."""
    texts = [path.read_text() for path in (folder / "report").glob("data-*.js")]
    lists = [json.loads(found[1]) for text in texts if (found := re.fullmatch(r"FLUXBATCH\.add\((.*)\);\n", text))]
    return {entry["id"]: entry for page in lists for entry in page}


def test_it_shows_them_small_and_names_their_addresses(api: Api, server: S3Server, tmp_path: Path) -> None:
    manifest, state = write_rows(tmp_path / "jobs.jsonl", 3), tmp_path / "state"
    ran = api.run(manifest, "-o", PLACE, "--state", "state", "--yes", "--report", cwd=tmp_path)
    assert ran.code == 0, ran.err
    assert "report: state/report/index.html" in ran.err
    for entry in entries(state).values():
        assert (state / "report" / entry["thumb"]).read_bytes()[:2] == b"\xff\xd8"
        assert entry["href"] == entry["thumb"]
        assert entry["at"] == f"{PLACE}/{entry['file']}"
    page = b"".join(path.read_bytes() for path in (state / "report").glob("*.*") if path.is_file())
    assert not [word for word in ("X-Amz", KEY, server.endpoint) if word.encode() in page]

    server.asked.clear()
    assert report(api, tmp_path, "state").out == f"{state / 'report' / 'index.html'}\n"
    assert not [one for one in server.asked if one.method == "GET" and one.key], "none is fetched again"
    del server.objects["shop/night/job-001.jpg"]
    assert report(api, tmp_path, PLACE, "--state", "state").code == 0
    assert ["thumb" in entry for entry in entries(state).values()] == [True, False, True]
    assert api.run(manifest, "-o", PLACE, "--state", "state", "--yes", cwd=tmp_path).code == 0
    server.asked.clear()
    assert report(api, tmp_path, "state", "--portable").code == 0
    assert [one.key for one in server.asked if one.method == "GET" and one.key] == ["shop/night/job-001.jpg"]
    assert all("thumb" in entry and "at" not in entry for entry in entries(state).values())


def test_a_store_that_is_away_leaves_the_last_report(api: Api, server: S3Server, tmp_path: Path) -> None:
    manifest, state = write_rows(tmp_path / "jobs.jsonl", 1), tmp_path / "state"
    assert api.run(manifest, "-o", PLACE, "--state", "state", "--yes", "--report", cwd=tmp_path).code == 0
    before = (state / "report" / "index.html").read_bytes()
    api.env["AWS_SECRET_ACCESS_KEY"] = "wrong"
    away = report(api, tmp_path, "state")
    assert (away.code, "refuses the credentials" in away.err) == (3, True)
    assert (state / "report" / "index.html").read_bytes() == before


def test_a_store_is_known_by_its_state_folder(api: Api, tmp_path: Path) -> None:
    for command in ("report", "status", "gc"):
        alone = run_command(command, PLACE, cwd=tmp_path)
        assert alone.code == 2
        assert PLACE in alone.err
        assert "--state DIR" in alone.err
    manifest = write_rows(tmp_path / "jobs.jsonl", 1)
    api.run(manifest, "-o", PLACE, "--state", "state", "--yes", cwd=tmp_path)
    status = run_command("status", PLACE, "--state", "state", "--json", cwd=tmp_path)
    assert (status.code, json.loads(status.out)["out"]) == (0, PLACE)
    other = run_command("status", f"{PLACE}/other", "--state", "state", cwd=tmp_path)
    assert (other.code, f"but that of {PLACE}" in other.err) == (2, True)
