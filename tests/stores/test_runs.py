"""Whole runs into an object store: killed, taken up, and known again by a machine that has nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import fluxbatch
from fluxbatch.testing import make_png
from tests.app.stage import Api, Ran, run_command, sha256, wait_for, write_rows
from tests.stores.s3server import SECRET, Asked, S3Server

pytestmark = pytest.mark.slow

PLACE = "s3://pictures/shop/night"


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


def test_upkeep(api: Api, server: S3Server, tmp_path: Path) -> None:
    """What is there is adopted, what got another id is copied, what nobody asks for is pruned."""
    manifest = write_rows(tmp_path / "jobs.jsonl", 3)
    server.put("shop/night/job-000.png", make_png(1))
    words = (manifest, "-o", PLACE, "--state", "state", "--json")
    adopted = run_command("adopt", *words, cwd=tmp_path, env=api.environment)
    assert (adopted.code, adopted.summary["adopted"]) == (0, ["job-000.png"]), adopted.err
    assert run(api, manifest).summary["requests"] == 2
    manifest.write_text(manifest.read_text().replace('"job-001"', '"another"'))
    copied = run(api, manifest)
    assert (copied.code, copied.summary["requests"]) == (0, 0), copied.err
    first, second = (server.objects[f"shop/night/{name}.jpg"] for name in ("job-001", "another"))
    assert first.data == second.data
    assert second.headers["x-amz-meta-job"] == "another"
    pruned = run_command("prune", *words, "--yes", cwd=tmp_path, env=api.environment)
    assert (pruned.code, pruned.summary["removed"]) == (0, ["job-001.jpg"]), pruned.err
    assert "shop/night/job-001.jpg" not in server.objects
    assert run(api, manifest, "an empty machine").code == 2  # adopted ones say nothing of themselves


def test_what_is_edited_while_others_are_pruned_stays(api: Api, server: S3Server, tmp_path: Path) -> None:
    """Between the listing and its turn lie a question to the user and all the images before it."""
    manifest = write_rows(tmp_path / "jobs.jsonl", 4)
    assert run(api, manifest).code == 0
    write_rows(manifest, 1)

    def edit(asked: Asked) -> None:
        if asked.method == "DELETE" and asked.key.endswith("job-001.jpg"):
            server.put("shop/night/job-002.jpg", b"edited")
            del server.objects["shop/night/job-003.jpg"]

    server.fault = edit
    words = (manifest, "-o", PLACE, "--state", "state", "--json", "--yes")
    pruned = run_command("prune", *words, cwd=tmp_path, env=api.environment)
    assert pruned.code == 0, pruned.err
    assert server.objects["shop/night/job-002.jpg"].data == b"edited"
    assert pruned.summary["kept"] == ["job-002.jpg"]
    assert pruned.summary["removed"] == ["job-001.jpg", "job-003.jpg"]
    again = run_command("prune", *words, cwd=tmp_path, env=api.environment)
    assert (again.code, again.summary["removed"]) == (0, []), again.err


ODD = [
    "a b",
    "ü猫",
    "x%41",
    "q#&=+",
    "cat 🐱",
    "it's",
    "a;b,c",
    "[x]{y}",
    "~tilde",
    "a^b`",
    "e\u0301",
    "$(x)",
    "@!",
    "ه",
]


def test_odd_names_are_what_they_are(api: Api, server: S3Server, tmp_path: Path) -> None:
    rows = [{"id": name, "prompt": f"Odd: {name}", "model": "flux-2-klein-4b"} for name in ODD]
    manifest = tmp_path / "jobs.jsonl"
    manifest.write_text("\n".join(map(json.dumps, rows)))
    done = run(api, manifest)
    assert (done.code, done.summary["stored"]) == (0, len(ODD)), done.err
    lines = published(server)
    assert [line["file"] for line in lines] == [f"{name}.jpg" for name in ODD]
    check_objects(server, lines)
    again = run(api, manifest, "an empty machine")
    assert (again.code, again.summary["requests"]) == (0, 0), again.err


def test_folders_made_in_a_console_are_in_nobodys_way(api: Api, server: S3Server, tmp_path: Path) -> None:
    """They are empty objects whose names end in a slash."""
    for folder in ("", "cats/", "cats/black/"):
        server.put(f"shop/night/{folder}", b"")
    manifest = write_rows(tmp_path / "jobs.jsonl", 2, prefix="cats/black/job")
    done = run(api, manifest)
    assert (done.code, done.summary["stored"]) == (0, 2), done.err
    assert all(f"shop/night/cats/black/job-{n:03}.jpg" in server.objects for n in range(2))
    assert run(api, manifest, "an empty machine").summary["cached"] == 2


@pytest.mark.parametrize("key", ["shop/night/cats//a.png", "shop/night/./a.png", "shop/night/a\tb.png"])
def test_a_name_that_can_not_be_listed_is_named(api: Api, server: S3Server, tmp_path: Path, key: str) -> None:
    server.put(key, b"1")
    done = run(api, write_rows(tmp_path / "jobs.jsonl", 1))
    assert (done.code, api.sim.requests) == (3, 0)
    assert f"an object there has the name '{' '.join(key.split())}'" in done.err
    assert "rename it" in done.err
    assert "network" not in done.err


def test_from_python(api: Api, server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in api.environment.items():
        monkeypatch.setenv(name, value)
    jobs = [fluxbatch.Job(id="a", prompt="One")]
    result = fluxbatch.run(jobs, out=PLACE, state=tmp_path / "state", base_url=api.sim.base_url)
    assert (result.ok, result.store) == (True, PLACE)
    [image] = result.results()
    assert (image.status, image.path) == ("stored", None)
    assert f"shop/night/{image.file}" in server.objects
    with pytest.raises(fluxbatch.UsageError, match="give it as text"):
        fluxbatch.run(jobs, out=Path(PLACE), state=tmp_path / "state", base_url=api.sim.base_url)


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
