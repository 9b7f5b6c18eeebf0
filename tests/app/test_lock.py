"""``fluxbatch.lock``: a checkout of manifest, photos, images and lock needs no ledger and no key, and buys nothing."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from fluxbatch.testing import make_png
from tests.app.stage import opened, results, run_command, sha256

if TYPE_CHECKING:
    from pathlib import Path

    from tests.app.stage import Api, Ran

MODEL = {"model": "flux-2-klein-4b"}
JOBS: list[dict[str, Any]] = [
    {"id": "cup", "prompt": "A cup like that of image 1", "images": ["cup.png"]},
    {"id": "cup-oil", "prompt": "Image 1 in oil", "images": [{"job": "cup"}]},
    {"id": "hat", "prompt": "A hat"},
]


def write(folder: Path, *more: dict[str, Any], **prompts: str) -> None:
    jobs = [job | ({"prompt": prompts[job["id"]]} if job["id"] in prompts else {}) for job in JOBS]
    folder.mkdir(exist_ok=True)
    document = {"version": 1, "out": "images", "lock": True, "defaults": MODEL, "jobs": [*jobs, *more]}
    (folder / "shop.json").write_text(json.dumps(document))
    (folder / "cup.png").write_bytes(make_png(1, width=64, height=64))


def make(api: Api, folder: Path) -> None:
    write(folder)
    ran = api.run("shop.json", cwd=folder)
    assert ran.code == 0, ran.err


def clone(repo: Path, to: Path) -> Path:
    """As git leaves it: no ledger, and the times of the checkout."""
    shutil.copytree(repo, to, ignore=shutil.ignore_patterns(".fluxbatch", "results.jsonl"))
    for number, path in enumerate(sorted(to.rglob("*"))):
        os.utime(path, ns=(0, 10**18 + number))
    return to


def without_key(api: Api, *args: object, cwd: Path) -> Ran:
    return run_command(*args, cwd=cwd, env={"FLUXBATCH_BASE_URL": api.sim.base_url})


def to_make(api: Api, folder: Path) -> set[str]:
    ran = without_key(api, "plan", "shop.json", "--json", cwd=folder)
    assert ran.code == 0, ran.err
    return {job["id"] for job in ran.summary["jobs"] if job["action"] == "make"}


def entries(folder: Path) -> list[dict[str, Any]]:
    head, *lines = (folder / "fluxbatch.lock").read_text().splitlines()
    assert json.loads(head)["lock"] == 1
    return [json.loads(line) for line in lines]


def as_pointers(folder: Path) -> dict[str, bytes]:
    for image in (folder / "images").glob("*.jpg"):
        data = image.read_bytes()
        lines = ("version https://git-lfs.github.com/spec/v1", f"oid sha256:{sha256(data)}", f"size {len(data)}")
        image.write_text("".join(f"{line}\n" for line in lines))
    return {image.name: image.read_bytes() for image in (folder / "images").glob("*.jpg")}


def test_a_run_writes_down_what_is_there(api: Api, tmp_path: Path) -> None:
    make(api, tmp_path / "repo")
    lines = {line["id"]: line for line in results(tmp_path / "repo" / "images")}
    found = entries(tmp_path / "repo")
    assert [entry["id"] for entry in found] == sorted(lines)
    for entry in found:
        line = lines[entry["id"]]
        assert {name: entry[name] for name in entry.keys() & line.keys()} == {
            name: line[name] for name in entry.keys() & line.keys()
        }
        assert entry["manifest"] == "shop.json"
        assert sha256(tmp_path / "repo" / "images" / entry["file"]) == entry["sha256"]


def test_a_run_without_news_leaves_the_file_alone(api: Api, tmp_path: Path) -> None:
    make(api, tmp_path / "repo")
    lock = tmp_path / "repo" / "fluxbatch.lock"
    before = lock.stat().st_mtime_ns, lock.stat().st_ino, lock.read_bytes()
    assert api.run("shop.json", cwd=tmp_path / "repo").code == 0
    assert (lock.stat().st_mtime_ns, lock.stat().st_ino, lock.read_bytes()) == before
    copy = clone(tmp_path / "repo", tmp_path / "clone")
    assert without_key(api, "run", "shop.json", cwd=copy).code == 0
    assert (copy / "fluxbatch.lock").read_bytes() == before[2]


def test_a_checkout_needs_no_ledger_and_no_key(api: Api, tmp_path: Path) -> None:
    make(api, tmp_path / "repo")
    original = {line["id"]: line for line in results(tmp_path / "repo" / "images")}
    copy = clone(tmp_path / "repo", tmp_path / "clone")

    assert without_key(api, "plan", "shop.json", "--check", cwd=copy).code == 0
    assert not (copy / "images" / ".fluxbatch").exists()
    for _ in range(2):  # and then with the ledger that there is now
        ran = without_key(api, "run", "shop.json", "--json", cwd=copy)
        assert (ran.code, ran.summary["requests"], ran.summary["cached"]) == (0, 0, 3)
    assert api.sim.requests == 3
    for line in results(copy / "images"):
        assert (line["status"], line["cached"], line["charged"]) == ("stored", True, 0)
        same = ("file", "sha256", "bytes", "width", "height", "model", "seed", "fingerprint")
        assert {name: line[name] for name in same} == {name: original[line["id"]][name] for name in same}


def test_without_the_key_the_locked_file_is_no_help_where_there_is_work(api: Api, tmp_path: Path) -> None:
    make(api, tmp_path / "repo")
    copy = clone(tmp_path / "repo", tmp_path / "clone")
    write(copy, {"id": "new", "prompt": "A shoe"})
    ran = without_key(api, "run", "shop.json", cwd=copy)
    assert ran.code == 2
    assert "there is no API key" in ran.err
    assert api.sim.requests == 3


def test_pointers_of_git_lfs_stand_for_their_images(api: Api, tmp_path: Path) -> None:
    make(api, tmp_path / "repo")
    copy = clone(tmp_path / "repo", tmp_path / "clone")
    pointers = as_pointers(copy)

    assert without_key(api, "plan", "shop.json", "--check", cwd=copy).code == 0
    assert without_key(api, "run", "shop.json", cwd=copy).code == 0
    assert {image.name: image.read_bytes() for image in (copy / "images").glob("*.jpg")} == pointers
    assert (copy / "fluxbatch.lock").read_bytes() == (tmp_path / "repo" / "fluxbatch.lock").read_bytes()

    # an image is made from others only if they are really there
    write(copy, **{"cup-oil": "Image 1 in chalk"})
    ran = api.run("shop.json", "--json", cwd=copy)
    assert (ran.code, ran.summary["requests"]) == (1, 0)
    assert "git lfs pull" in json.dumps(results(copy / "images"))
    shutil.copy(tmp_path / "repo" / "images" / "cup.jpg", copy / "images" / "cup.jpg")
    pulled = api.run("shop.json", "--json", cwd=copy)
    assert (pulled.code, pulled.summary["requests"]) == (0, 1)


def test_an_image_that_is_missing_is_made_again(api: Api, tmp_path: Path) -> None:
    make(api, tmp_path / "repo")
    copy = clone(tmp_path / "repo", tmp_path / "clone")
    (copy / "images" / "hat.jpg").unlink()
    assert to_make(api, copy) == {"hat"}
    ran = api.run("shop.json", "--json", cwd=copy)
    assert (ran.code, ran.summary["requests"]) == (0, 1)
    assert sha256(copy / "images" / "hat.jpg") == next(e["sha256"] for e in entries(copy) if e["id"] == "hat")


def test_an_image_that_is_not_the_locked_one_is_not_overwritten(api: Api, tmp_path: Path) -> None:
    make(api, tmp_path / "repo")
    copy = clone(tmp_path / "repo", tmp_path / "clone")
    (copy / "images" / "hat.jpg").write_bytes(make_png(5))
    ran = api.run("shop.json", "--json", cwd=copy)
    assert (copy / "images" / "hat.jpg").read_bytes() == make_png(5)
    assert "hat.jpg" in ran.err
    assert api.sim.requests == 3


def test_images_of_what_was_changed_are_not_read_for_the_locked_file(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    repo = tmp_path / "repo"
    make(api, repo)
    write(repo, cup="A red cup like that of image 1", hat="A tall hat")

    plan = opened("plan", "shop.json", "-q", cwd=repo)

    assert (plan.code, "3 images to make" in plan.out) == (0, True)
    assert [name for name in plan.err.splitlines() if name.endswith(".jpg")] == []


def test_a_prompt_that_is_edited_in_a_checkout_makes_that_alone(api: Api, tmp_path: Path) -> None:
    make(api, tmp_path / "repo")
    copy = clone(tmp_path / "repo", tmp_path / "clone")
    write(copy, hat="A red hat")
    assert to_make(api, copy) == {"hat"}
    ran = api.run("shop.json", "--json", cwd=copy)
    assert (ran.code, ran.summary["requests"], ran.summary["cached"]) == (0, 1, 2), ran.err
    assert without_key(api, "plan", "shop.json", "--check", cwd=clone(copy, tmp_path / "third")).code == 0


@pytest.mark.parametrize("upside_down", [False, True], ids=["sorted", "upside-down"])
def test_what_two_branches_wrote_is_merged_line_by_line(api: Api, tmp_path: Path, upside_down: bool) -> None:
    make(api, tmp_path / "repo")
    ours, theirs = clone(tmp_path / "repo", tmp_path / "ours"), clone(tmp_path / "repo", tmp_path / "theirs")
    shoe = {"id": "shoe", "prompt": "A shoe"}
    write(ours, shoe)
    write(theirs, hat="A red hat")
    (theirs / "images" / "hat.jpg").unlink()
    for branch in (ours, theirs):
        ran = api.run("shop.json", "--json", cwd=branch)
        assert (ran.code, ran.summary["requests"]) == (0, 1), ran.err

    merged = clone(ours, tmp_path / "merged")
    write(merged, shoe, hat="A red hat")
    shutil.copy(theirs / "images" / "hat.jpg", merged / "images" / "hat.jpg")
    lines = {line for branch in (ours, theirs) for line in (branch / "fluxbatch.lock").read_text().splitlines()}
    text = "\n".join(sorted(lines, reverse=upside_down))
    assert text.count('"hat"') == 2
    (merged / "fluxbatch.lock").write_text(text)

    assert without_key(api, "plan", "shop.json", "--check", cwd=merged).code == 0
    assert without_key(api, "run", "shop.json", cwd=merged).code == 0
    assert api.sim.requests == 5
    assert [entry["id"] for entry in entries(merged)] == ["cup", "cup-oil", "hat", "shoe"]


def test_a_conflict_that_is_left_is_an_error_with_its_line(api: Api, tmp_path: Path) -> None:
    make(api, tmp_path / "repo")
    lock = tmp_path / "repo" / "fluxbatch.lock"
    lines = lock.read_text().splitlines()
    conflict = [*lines[:2], "<<<<<<< ours", lines[2], "=======", lines[3], ">>>>>>> theirs"]
    lock.write_text("\n".join(conflict))
    for command in ("plan", "run"):
        ran = run_command(command, "shop.json", cwd=tmp_path / "repo", env=api.environment)
        assert ran.code == 2
        assert "fluxbatch.lock:3" in ran.err
        assert "merge conflict" in ran.err
    assert lock.read_text() == "\n".join(conflict)


ENTRY = {
    "manifest": "shop.json",
    "id": "hat",
    "fingerprint": "f",
    "file": "hat.jpg",
    "sha256": "5",
    "model": "m",
    "bytes": 3,
    "width": 64,
    "height": 64,
    "seed": None,
}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"lock":2}', "version 2"),
        ("[]", "is no entry"),
        ('{"id":"hat"}', "is no entry"),
        ("\x00\x01", "is no entry"),
        (json.dumps(ENTRY | {"bytes": "3"}), "is no entry"),
        (json.dumps(ENTRY | {"id": ["hat"]}), "is no entry"),
        (json.dumps(ENTRY | {"file": "../hat.jpg"}), "is no entry"),
        (json.dumps(ENTRY | {"file": "/hat.jpg"}), "is no entry"),
    ],
    ids=["newer", "list", "incomplete", "bytes", "number", "id", "above", "absolute"],
)
def test_what_is_no_lock_file_is_an_error_with_its_line(api: Api, tmp_path: Path, line: str, words: str) -> None:
    write(tmp_path / "repo")
    (tmp_path / "repo" / "fluxbatch.lock").write_text(f'{{"lock":1}}\n{line}\n')
    ran = without_key(api, "plan", "shop.json", cwd=tmp_path / "repo")
    assert ran.code == 2, ran.err
    assert "fluxbatch.lock:2" in ran.err
    assert words in ran.err


def test_an_entry_of_something_else_is_no_error(api: Api, tmp_path: Path) -> None:
    write(tmp_path / "repo")
    (tmp_path / "repo" / "fluxbatch.lock").write_text(f'{{"lock":1}}\n\n{json.dumps(ENTRY)}')
    assert to_make(api, tmp_path / "repo") == {"cup", "cup-oil", "hat"}


def test_a_locked_file_outside_the_folder_is_not_looked_at(api: Api, tmp_path: Path) -> None:
    make(api, tmp_path / "repo")
    copy = clone(tmp_path / "repo", tmp_path / "clone")
    secret = tmp_path / "secret.jpg"
    shutil.move(copy / "images" / "hat.jpg", secret)
    lock = copy / "fluxbatch.lock"
    lock.write_text(lock.read_text().replace('"hat.jpg"', '"../../secret.jpg"'))
    ran = without_key(api, "plan", "shop.json", cwd=copy)
    assert ran.code == 2
    assert "fluxbatch.lock:4" in ran.err


def test_simulated_images_have_no_part_in_it(tmp_path: Path) -> None:
    write(tmp_path / "repo")
    lock = tmp_path / "repo" / "fluxbatch.lock"
    simulate = ("run", "shop.json", "--simulate", "--json")
    assert run_command(*simulate, cwd=tmp_path / "repo").summary["requests"] == 3
    assert not lock.exists()
    lock.write_text("<<<<<<< ours")
    assert run_command(*simulate, cwd=tmp_path / "repo").code == 0
    assert lock.read_text() == "<<<<<<< ours"


def test_without_the_key_in_the_manifest_there_is_no_lock_file(api: Api, tmp_path: Path) -> None:
    write(tmp_path / "repo")
    manifest = tmp_path / "repo" / "shop.json"
    document = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**document, "lock": False}))
    assert api.run("shop.json", cwd=tmp_path / "repo").code == 0
    assert not (tmp_path / "repo" / "fluxbatch.lock").exists()


def test_two_manifests_share_a_file_and_each_keeps_its_lines(api: Api, tmp_path: Path) -> None:
    make(api, tmp_path / "repo")
    other = {"version": 1, "out": "other", "lock": True, "defaults": MODEL, "jobs": [{"id": "hat", "prompt": "Other"}]}
    (tmp_path / "repo" / "more.json").write_text(json.dumps(other))
    assert api.run("more.json", cwd=tmp_path / "repo").code == 0
    pairs = [(entry["manifest"], entry["id"]) for entry in entries(tmp_path / "repo")]
    assert pairs == [("more.json", "hat"), *(("shop.json", name) for name in ("cup", "cup-oil", "hat"))]
    write(tmp_path / "repo", hat="A red hat")
    assert api.run("shop.json", "--json", cwd=tmp_path / "repo").summary["requests"] == 1
    copy = clone(tmp_path / "repo", tmp_path / "clone")
    for name in ("more.json", "shop.json"):
        assert without_key(api, "plan", name, "--check", cwd=copy).code == 0


def test_a_run_over_some_jobs_keeps_the_lines_of_the_others(api: Api, tmp_path: Path) -> None:
    make(api, tmp_path / "repo")
    before = (tmp_path / "repo" / "fluxbatch.lock").read_bytes()
    copy = clone(tmp_path / "repo", tmp_path / "clone")
    ran = api.run("shop.json", "--only", "hat", "--json", cwd=copy)
    assert (ran.code, ran.summary["requests"]) == (0, 0)
    assert (copy / "fluxbatch.lock").read_bytes() == before
