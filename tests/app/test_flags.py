"""Flags: hints in the results and the account, found at the end of a run, never failures."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from fluxbatch.app.flags import FlagFinder
from fluxbatch.app.folder import Paths
from fluxbatch.app.shelf import FolderShelf
from fluxbatch.errors import StorageError
from fluxbatch.model.flags import Flag
from fluxbatch.model.job import Record, Stored
from fluxbatch.model.state import JobState
from fluxbatch.testing import MemoryLedger, MemoryMemo, make_job
from tests.app.stage import Ran, opened, results, run_command
from tests.odd_api import noise, odd_api, plain

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

JOBS: list[dict[str, Any]] = [
    {"id": "fine", "prompt": "A cup", "aspect_ratio": "1:1"},
    {"id": "unasked", "prompt": "size 768x512"},
    {"id": "wide", "prompt": "size 512x512", "aspect_ratio": "16:9"},
    {"id": "small", "prompt": "size 512x512", "size": "1024x768", "seed": 1},
    {"id": "black", "prompt": "plain #000000"},
    {"id": "echo", "prompt": "echo", "images": ["photo.jpg"]},
    {"id": "other", "prompt": "Not an echo", "images": ["photo.jpg"]},
    {"id": "twin-1", "prompt": "twin", "seed": 1},
    {"id": "twin-2", "prompt": "twin", "seed": 2},
    {"id": "twin-3", "prompt": "twin", "seed": 3},
    {"id": "twin-fed", "prompt": "twin", "images": [{"job": "twin-1"}]},
]
FLAGS: dict[str, dict[str, Any]] = {
    "wide": {"size": {"asked": "16:9", "got": "512x512"}},
    "small": {"size": {"asked": "1024x768", "got": "512x512"}},
    "black": {"blank": {"colour": "#000000"}},
    "echo": {"same_as_input": {"image": 1, "input": "photo.jpg"}},
    "twin-1": {"same_as_output": {"job": "twin-fed"}},
    "twin-2": {"same_as_output": {"job": "twin-1"}},
    "twin-3": {"same_as_output": {"job": "twin-1"}},
    "twin-fed": {"same_as_input": {"image": 1, "input": "job:twin-1"}, "same_as_output": {"job": "twin-1"}},
}


@pytest.fixture(scope="module")
def api() -> Iterator[dict[str, str]]:
    with odd_api() as environment:
        yield environment


@pytest.fixture(scope="module")
def first(api: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of flagged images and others."""
    folder = tmp_path_factory.mktemp("flags")
    (folder / "photo.jpg").write_bytes(noise(300, 200))
    (folder / "jobs.json").write_text(json.dumps({"version": 1, "jobs": JOBS}))
    ran = run_command("run", "jobs.json", "-o", "out", "--yes", "--json", cwd=folder, env=api)
    assert ran.code == 0, ran.err
    assert ran.summary["flags"] == {"size": 2, "blank": 1, "same_as_input": 2, "same_as_output": 4}
    assert "worth a look: 2 of another size than asked for, 1 blank, 2 the same as an input" in ran.err
    return folder


@pytest.fixture
def made(first: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return shutil.copytree(first, tmp_path, dirs_exist_ok=True)


def pictures(looked: Ran) -> set[str]:
    """Names of those that were opened."""
    return {line.rpartition("/")[2] for line in looked.err.splitlines() if line.endswith((".jpg", ".png"))}


def flags_of(out: Path) -> dict[str, Any]:
    lines = results(out)
    assert all(line["flags"] == list(line["flag_details"]) for line in lines)
    return {line["id"]: line["flag_details"] for line in lines if line["flags"]}


def test_each_kind_is_flagged_with_what_one_needs_to_know(made: Path) -> None:
    assert flags_of(made / "out") == FLAGS
    assert {line["status"] for line in results(made / "out")} == {"stored"}
    assert '"flags":{"size":2' in run_command("status", "out", "--json", cwd=made).out
    assert "1 blank" in run_command("status", "out", cwd=made).out


def test_what_was_seen_is_kept_and_not_looked_at_again(made: Path) -> None:
    out = made / "out"
    looked = opened("status", "out", "--results", cwd=made)
    assert (looked.code, pictures(looked)) == (0, set())
    assert flags_of(out) == FLAGS


def test_a_folder_of_old_gets_its_flags(made: Path) -> None:
    """Nothing of them is in the ledger: a memory that is gone is found out anew, in the few files that it takes."""
    out = made / "out"
    for path in (out / ".fluxbatch").glob("memo.sqlite*"):
        path.unlink()
    (out / "results.jsonl").unlink()
    looked = opened("status", "out", "--results", cwd=made)
    assert looked.code == 0
    assert pictures(looked) >= {"black.jpg", "echo.jpg"}
    assert pictures(looked).isdisjoint({"wide.jpg", "small.jpg", "unasked.jpg"}), "too many bytes to be blank"
    assert flags_of(out) == FLAGS


def test_an_image_that_is_gone_has_no_flag_that_needs_it(made: Path) -> None:
    out = made / "out"
    for path in (out / ".fluxbatch").glob("memo.sqlite*"):
        path.unlink()
    (out / "black.jpg").unlink()
    (out / "echo.jpg").write_bytes(b"short")
    assert run_command("status", "out", "--results", cwd=made).code == 0
    assert flags_of(out).keys() == FLAGS.keys() - {"black", "echo"}


def test_a_broken_memory_changes_nothing(made: Path) -> None:
    out = made / "out"
    for path in (out / ".fluxbatch").glob("memo.sqlite-*"):
        path.unlink()
    (out / ".fluxbatch" / "memo.sqlite").write_bytes(b"no database at all" * 100)
    assert run_command("status", "out", "--results", cwd=made).code == 0
    assert flags_of(out) == FLAGS


def test_counts_are_of_the_jobs_of_the_run(api: dict[str, str], first: Path) -> None:
    ran = run_command("run", "jobs.json", "-o", "out", "--only", "wide", "--json", cwd=first, env=api)
    assert (ran.code, ran.summary["total"], ran.summary["flags"]) == (0, 1, {"size": 1})
    assert flags_of(first / "out") == FLAGS


class NoRoom(MemoryLedger):
    """Nothing can be sorted, and nothing recalled."""

    async def twins(self, limit: int) -> dict[str, tuple[str, str]]:
        raise StorageError(f"no room for {limit} of them")


async def test_what_can_not_be_found_out_is_no_error(tmp_path: Path) -> None:
    stored = Stored("a.png", "ab" * 32, 100, 512, 512)
    record = Record(make_job(fields={"size": "1024x1024"}), JobState.STORED, stored=stored)
    memo = MemoryMemo()
    memo.put({"blank:" + stored.sha256: b"\xff\xfe"})
    for folder in (tmp_path, tmp_path / "none"):
        [found] = await FlagFinder(NoRoom(), memo, folder).find([record])
        assert found[Flag.SIZE] == {"asked": "1024x1024", "got": "512x512"}


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_nearly_blank_is_blank_and_a_dot_is_not(kind: str, tmp_path: Path) -> None:
    from PIL import Image, ImageDraw

    from fluxbatch.adapters.fitting.blank import colour_if_blank

    path = tmp_path / "picture"
    path.write_bytes(plain(1024, 768, "#F0F0E8", kind=kind))
    assert colour_if_blank(path) == "#F0F0E8"
    picture = Image.new("RGB", (1024, 768), "white")
    ImageDraw.Draw(picture).ellipse((500, 300, 540, 340), fill="black")
    picture.save(path, kind)
    assert colour_if_blank(path) == ""
    path.write_bytes(plain(64, 64, "white", kind=kind)[:100])
    assert colour_if_blank(path) is None
    assert colour_if_blank(tmp_path / "none") is None


def test_a_huge_plain_picture_is_not_decoded(tmp_path: Path) -> None:
    from fluxbatch.adapters.fitting.blank import colour_if_blank

    path = tmp_path / "bomb.png"
    path.write_bytes(plain(9000, 9000, "white", kind="PNG"))
    assert path.stat().st_size < 1 << 20
    assert colour_if_blank(path) is None


def test_the_gallery_has_them_too(made: Path) -> None:
    assert run_command("report", "out", cwd=made).code == 0
    [data] = (made / "out" / "report").glob("data-*.js")
    assert '"flags":{"size":{"asked":"16:9","got":"512x512"}}' in data.read_text()


def test_a_page_that_is_served_has_them_as_well(made: Path) -> None:
    paths = Paths.of(made / "out")

    async def look() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        shelf = FolderShelf(paths, flagged=True)
        try:
            return [entry async for page in shelf.jobs() for entry in page], await shelf.some(["black"])
        finally:
            await shelf.close()

    entries, [one] = anyio.run(look)
    assert {entry["id"]: entry["flags"] for entry in entries if "flags" in entry} == FLAGS
    assert one["flags"] == FLAGS["black"]


def test_twins_are_found_in_a_ledger_of_old(made: Path, tmp_path: Path) -> None:
    """One that is only looked at, and so stays of its version."""
    ledger = made / "out" / ".fluxbatch" / "ledger.sqlite"
    with closing(sqlite3.connect(ledger)) as db:
        for name in ("jobs_waiting", "jobs_freed", "needs_of", "jobs_of_file"):
            db.execute(f"DROP INDEX {name}")
        db.execute("DROP TABLE needs")
        db.execute("ALTER TABLE jobs DROP COLUMN wait")
        db.execute("PRAGMA user_version = 2")
        db.commit()
    shutil.rmtree(made / "out" / "report", ignore_errors=True)
    assert run_command("status", "out", "--results", cwd=made).code == 0
    assert flags_of(made / "out") == FLAGS
