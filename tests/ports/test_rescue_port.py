"""Both rescues keep the promises of the ``Rescue`` port; and what the one on disk does with a hostile world."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio
import pytest

from fluxbatch.adapters.disk import FileRescue, default_places
from fluxbatch.errors import StorageError
from fluxbatch.model.job import Lease, Step
from fluxbatch.model.state import Charge, JobState
from fluxbatch.testing import MemoryRescue
from fluxbatch.testing.conformance import case_name, rescue

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

ROOT: Final = os.geteuid() == 0
NOBODY: Final = 65534


def step(job_id: str) -> Step:
    lease = Lease(f"https://delivery.example/{job_id}?sig=secret", deadline=1600.0, granted_at=1000.0)
    return Step(job_id, JobState.SUBMITTED, JobState.GENERATED, charge=Charge.CHARGED, usd=0.03, lease=lease)


async def ids(places: list[Path]) -> list[str]:
    return [step.job_id for step in await FileRescue(places).kept()]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.fixture
def places(tmp_path: Path) -> list[Path]:
    (tmp_path / "state").mkdir()
    return [tmp_path / "state" / "rescue.jsonl", tmp_path / "home" / "a" / "b" / "rescue.jsonl"]


# ----------------------------------------------------------------------------------------------------- conformance
class MemoryRig:
    def __init__(self) -> None:
        self.rescue = MemoryRescue()

    async def reopen(self) -> None:
        self.rescue = self.rescue.reopen()

    async def break_off(self) -> None:
        self.rescue.broken = True

    async def mend(self) -> None:
        self.rescue.broken = False


class FileRig:
    def __init__(self, folder: Path) -> None:
        self._folder = folder / "state"
        self._away = folder / "away"
        self._folder.mkdir()
        self.rescue = FileRescue([self._folder / name for name in ("one.jsonl", "two.jsonl")])

    async def reopen(self) -> None:
        self.rescue = FileRescue([self._folder / name for name in ("one.jsonl", "two.jsonl")])

    async def break_off(self) -> None:
        self._folder.rename(self._away)
        self._folder.touch()  # what is no folder can't be written, by root either

    async def mend(self) -> None:
        self._folder.unlink()
        self._away.rename(self._folder)


@pytest.mark.parametrize("case", rescue.CASES, ids=case_name)
async def test_memory_rescue(case: rescue.Case) -> None:
    @asynccontextmanager
    async def make() -> AsyncIterator[MemoryRig]:
        yield MemoryRig()

    await case(make)


@pytest.mark.parametrize("case", rescue.CASES, ids=case_name)
async def test_file_rescue(case: rescue.Case, tmp_path: Path) -> None:
    @asynccontextmanager
    async def make() -> AsyncIterator[FileRig]:
        yield FileRig(tmp_path)

    await case(make)


# --------------------------------------------------------------------------------------------------------- secrecy
async def test_only_its_owner_may_read_it(places: list[Path], tmp_path: Path) -> None:
    earlier = os.umask(0)
    try:
        await FileRescue(places).keep(step("a"))
        (tmp_path / "state").rename(tmp_path / "gone")
        await FileRescue(places).keep(step("b"))
    finally:
        os.umask(earlier)
    assert mode(tmp_path / "gone" / "rescue.jsonl") == 0o600
    assert mode(places[1]) == 0o600
    assert {mode(tmp_path / folder) for folder in ("home", "home/a", "home/a/b")} == {0o700}


async def test_forgetting_leaves_no_url_behind(places: list[Path], tmp_path: Path) -> None:
    await FileRescue(places).keep(step("a"))
    places[0].write_bytes(b'{"n": 1, "step": {"lease": "torn')
    found = FileRescue(places)
    assert await found.kept() == []
    await found.clear()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_the_places_of_a_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = tmp_path / "out" / ".fluxbatch" / "ledger.sqlite"
    beside, home, temporary = default_places(ledger)
    assert beside == ledger.parent / "rescue.jsonl"
    assert home.parent == Path.home() / ".local" / "state" / "fluxbatch"
    assert temporary.parent == Path(tempfile.gettempdir()) / f"fluxbatch-{os.geteuid()}"
    assert home.name == temporary.name
    digest = home.stem.removeprefix("rescue-")
    assert len(digest) == 16
    assert int(digest, 16) >= 0
    # one ledger has one name, however it is spelt, and another has another
    (tmp_path / "link").symlink_to(tmp_path)
    assert default_places(tmp_path / "link" / "x" / ".." / "out" / ".fluxbatch" / "ledger.sqlite")[1:] == [
        home,
        temporary,
    ]
    assert default_places(tmp_path / "ledger.sqlite")[1].name != home.name
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
    assert default_places(ledger)[1].parent == tmp_path / "xdg" / "fluxbatch"
    monkeypatch.setenv("XDG_STATE_HOME", "not/absolute")
    assert default_places(ledger)[1] == home


# ------------------------------------------------------------------------------------------- places that don't serve
async def test_the_next_place_serves(places: list[Path], tmp_path: Path) -> None:
    keeper = FileRescue([tmp_path / "a file" / "x.jsonl", *places])
    (tmp_path / "a file").touch()
    await keeper.keep(step("a"))
    assert keeper.where() == str(places[0]) or keeper.where() == str(places[1])
    assert await ids(places) == ["a"]


async def test_the_folder_of_the_first_is_not_made(places: list[Path], tmp_path: Path) -> None:
    """It may be on a disk that is gone: what is written below its mount point is out of sight once it is back."""
    (tmp_path / "state").rmdir()
    keeper = FileRescue(places)
    await keeper.keep(step("a"))
    assert keeper.where() == str(places[1])
    assert not (tmp_path / "state").exists()
    with pytest.raises(StorageError, match="state") as caught:
        await FileRescue(places[:1]).keep(step("b"))
    assert caught.value.remedy


async def test_order_holds_over_places_and_processes(places: list[Path], tmp_path: Path) -> None:
    state, away = tmp_path / "state", tmp_path / "away"
    keeper = FileRescue(places)
    await keeper.keep(step("a"))
    state.rename(away)
    await keeper.keep(step("b"))
    away.rename(state)
    await keeper.keep(step("c"))
    again = FileRescue(places)
    await again.keep(step("d"))
    assert again.where() == ", ".join(map(str, places))
    assert await ids(places) == ["a", "b", "c", "d"]
    await again.clear()
    assert await ids(places) == []


async def test_what_was_out_of_sight_is_not_forgotten(places: list[Path], tmp_path: Path) -> None:
    state, away = tmp_path / "state", tmp_path / "away"
    await FileRescue(places).keep(step("a"))
    state.rename(away)
    later = FileRescue(places)
    await later.keep(step("b"))
    away.rename(state)
    await later.clear()
    assert await ids(places) == ["a"]


async def test_a_line_in_two_places_is_one_step(places: list[Path], tmp_path: Path) -> None:
    await FileRescue(places).keep(step("a"))
    places[1].parent.mkdir(parents=True)
    places[1].write_bytes(places[0].read_bytes())
    places[1].chmod(0o600)
    assert await ids(places) == ["a"]


async def test_files_that_can_not_be_removed_are_named(places: list[Path], tmp_path: Path) -> None:
    keeper = FileRescue(places)
    await keeper.keep(step("a"))
    places[0].unlink()
    places[0].mkdir()
    with pytest.raises(StorageError, match=r"rescue\.jsonl"):
        await keeper.clear()
    assert keeper.where() == str(places[0])
    places[0].rmdir()
    await keeper.clear()
    assert keeper.where() == ""


@pytest.mark.skipif(ROOT, reason="root may do anything")
async def test_a_folder_that_may_not_be_written(places: list[Path], tmp_path: Path) -> None:
    (tmp_path / "state").chmod(0o500)
    await FileRescue(places).keep(step("a"))
    assert places[1].is_file()


# ------------------------------------------------------------------------------------------------ what others lay out
def put_link(place: Path, victim: Path) -> None:
    victim.write_text("victim\n")
    victim.chmod(0o600)
    place.symlink_to(victim)


def put_dangling_link(place: Path, victim: Path) -> None:
    place.symlink_to(victim)


def put_pipe(place: Path, victim: Path) -> None:
    os.mkfifo(place, 0o600)


def put_folder(place: Path, victim: Path) -> None:
    place.mkdir()


def put_readable(place: Path, victim: Path) -> None:
    place.touch(0o644)


def put_device(place: Path, victim: Path) -> None:
    place.symlink_to("/dev/full")


@pytest.mark.parametrize("put", [put_link, put_dangling_link, put_pipe, put_folder, put_readable, put_device])
async def test_nothing_foreign_is_written_to(
    places: list[Path], tmp_path: Path, put: Callable[[Path, Path], None]
) -> None:
    victim = tmp_path / "victim"
    put(places[0], victim)
    before = victim.read_bytes() if victim.exists() else None
    with anyio.fail_after(10):
        await FileRescue(places).keep(step("a"))
        assert await ids(places) == ["a"]
    assert (victim.read_bytes() if victim.exists() else None) == before
    assert b"secret" in places[1].read_bytes()


async def test_what_others_could_have_written_is_not_believed(places: list[Path]) -> None:
    await FileRescue(places).keep(step("forged"))
    for bad in (0o620, 0o602):
        places[0].chmod(bad)
        assert await ids(places) == []
    places[0].chmod(0o644)  # a backup may have opened it; it is still our word
    assert await ids(places) == ["forged"]
    places[0].rename(places[0].with_name("elsewhere"))
    places[0].symlink_to("elsewhere")
    assert await ids(places) == []


@pytest.mark.skipif(not ROOT, reason="only root can give files away")
async def test_the_files_of_others_are_left_alone(places: list[Path], tmp_path: Path) -> None:
    await FileRescue(places).keep(step("forged"))
    os.chown(places[0], NOBODY, NOBODY)
    before = places[0].read_bytes()
    keeper = FileRescue(places)
    assert await keeper.kept() == []
    await keeper.keep(step("a"))
    assert keeper.where() == str(places[1])
    await keeper.clear()
    assert places[0].read_bytes() == before


@pytest.mark.skipif(not ROOT, reason="only root can give folders away")
async def test_a_folder_that_others_made_among_temporary_files_is_none_of_ours(tmp_path: Path) -> None:
    shared, good = tmp_path / "tmp", tmp_path / "good"
    theirs = shared / "fluxbatch-0"
    theirs.mkdir(parents=True)
    good.mkdir()
    shared.chmod(0o1777)
    os.chown(theirs, NOBODY, NOBODY)
    (shared / "link").symlink_to(good)
    keeper = FileRescue([theirs / "x.jsonl", shared / "link" / "x.jsonl", good / "y.jsonl"])
    await keeper.keep(step("a"))
    assert keeper.where() == str(good / "y.jsonl")
    assert list(theirs.iterdir()) == []


# ----------------------------------------------------------------------------------------------------- broken lines
@pytest.mark.parametrize(
    "torn", [b'{"n": 7, "st', b"\x00\x00\x00", b"[]", b"{}", b'{"n": 1, "step": {"job_id": "x"}}', b"null\n\n\xff\n"]
)
async def test_a_torn_line_spoils_nothing(places: list[Path], torn: bytes) -> None:
    await FileRescue(places).keep(step("a"))
    with places[0].open("ab") as file:
        file.write(torn)
    keeper = FileRescue(places)
    await keeper.keep(step("b"))
    await keeper.keep(step("c"))
    assert await ids(places) == ["a", "b", "c"]


async def test_a_step_of_an_unknown_form_is_left_out(places: list[Path]) -> None:
    await FileRescue(places).keep(step("a"))
    facts = json.loads(places[0].read_bytes())
    facts["step"] |= {"job_id": "b", "color": "red"}
    with places[0].open("a") as file:
        file.write(json.dumps(facts) + "\n")
    assert await ids(places) == ["a"]


async def test_whoever_is_cancelled_has_kept(places: list[Path]) -> None:
    keeper = FileRescue(places)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await keeper.keep(step("a"))
        await anyio.lowlevel.checkpoint()
    assert scope.cancelled_caught
    assert await ids(places) == ["a"]


# ----------------------------------------------------------------------------------------------------- a full disk
FULL: Final = """
import sys, pathlib, resource, signal, anyio
from fluxbatch.adapters.disk import FileRescue
from fluxbatch.errors import StorageError
from fluxbatch.model.job import Step
from fluxbatch.model.state import JobState

async def main(one, two, more):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    keeper = FileRescue([one, two])
    async def keep(number, size=2000):
        await keeper.keep(Step(f"{number:04}" + "x" * size, JobState.PENDING, JobState.SUBMITTED))
        print(number, flush=True)
    for number in range(3):
        await keep(number)
    # the first file is full in the midst of a line; later both are
    resource.setrlimit(resource.RLIMIT_FSIZE, (one.stat().st_size + 1500, hard))
    try:
        for number in range(3, 20):
            await keep(number)
    except StorageError as error:
        print("storage", bool(error.remedy), str(one) in str(error), str(two) in str(error), flush=True)
    await keep(20, size=10)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    await keep(21)

anyio.run(main, *map(pathlib.Path, sys.argv[1:]), 0)
"""


async def test_a_full_disk_tears_no_line(places: list[Path]) -> None:
    told: dict[str, Any] = {"capture_output": True, "text": True, "timeout": 50}
    done = subprocess.run([sys.executable, "-c", FULL, *map(str, places)], check=False, **told)
    assert (done.returncode, done.stderr) == (0, "")
    said = done.stdout.split("\n")
    kept = [int(line) for line in said if line.isdigit()]
    assert "storage True True True" in said
    assert kept[-2:] == [20, 21]
    assert 3 < len(kept) < 20
    assert [int(name[:4]) for name in await ids(places)] == kept
    for place in places:
        lines = place.read_bytes().splitlines(keepends=True)
        assert all(json.loads(line) and line.endswith(b"\n") for line in lines)


# ------------------------------------------------------------------------------------------------------ durability
TWO_STEPS: Final = """
import sys, pathlib, anyio
from fluxbatch.adapters.disk import FileRescue
from fluxbatch.model.job import Step
from fluxbatch.model.state import JobState

async def main(*places):
    keeper = FileRescue(places)
    for name in "ab":
        await keeper.keep(Step(name, JobState.PENDING, JobState.SUBMITTED))
        print("kept", name, flush=True)

anyio.run(main, *map(pathlib.Path, sys.argv[1:]))
"""


def traced(places: list[Path], trace: Path, *options: str) -> list[tuple[str, ...]]:
    """The calls that a child makes on the way to two steps, in order."""
    root = trace.parent
    calls = "trace=write,fsync,fdatasync,ftruncate,mkdir,mkdirat"
    strace = ["strace", "-f", "-y", "-e", calls, *options, "-o", str(trace)]
    child = [sys.executable, "-c", TWO_STEPS, *map(str, places)]
    subprocess.run([*strace, *child], check=True, capture_output=True, timeout=50)
    found: list[tuple[str, ...]] = []
    for line in trace.read_text().splitlines():
        call = re.search(r"\b(write|f(?:data)?sync|ftruncate|mkdir)(?:at)?\(", line)
        paths = re.findall(rf"{re.escape(str(root))}/?([^>\"]*)", line)
        if call is not None and (paths or "kept" in line):
            found.append((call[1], *(paths or ["stdout"]), *(["failed"] if "INJECTED" in line else [])))
    return found


needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace, which .ci/run installs")
KEPT: Final = [("write", "state/rescue.jsonl"), ("fsync", "state/rescue.jsonl"), ("fsync", "state")]


@needs_strace
def test_a_step_is_durable_before_it_is_said_to_be_kept(places: list[Path], tmp_path: Path) -> None:
    assert traced(places, tmp_path / "trace") == [*KEPT, ("write", "stdout")] * 2


@needs_strace
def test_folders_are_durable_before_what_is_in_them(places: list[Path], tmp_path: Path) -> None:
    (tmp_path / "state").rmdir()
    made = [
        *[("mkdir", "home"), ("fsync", "")],
        *[("mkdir", "home/a"), ("fsync", "home")],
        *[("mkdir", "home/a/b"), ("fsync", "home/a")],
    ]
    assert traced(places, tmp_path / "trace")[: len(made)] == made


@needs_strace
@pytest.mark.parametrize("when", [1, 2])
async def test_what_may_not_last_goes_on_to_the_next_place(places: list[Path], tmp_path: Path, when: int) -> None:
    calls = traced(places, tmp_path / "trace", "-e", f"inject=fsync:error=EIO:when={when}")
    assert sum("failed" in call for call in calls) == 1
    assert ("fsync", "home/a/b/rescue.jsonl") in calls[: calls.index(("write", "stdout"))]
    assert await ids(places) == ["a", "b"]


async def test_closing_leaves_nothing_open(places: list[Path]) -> None:
    keeper = FileRescue([places[0].parent / "no" / "x", *places])
    await keeper.keep(step("a"))
    before = len(list(Path("/dev/fd").iterdir()))
    for _ in range(3):
        await keeper.keep(step("b"))
        await keeper.kept()
    await keeper.clear()
    assert len(list(Path("/dev/fd").iterdir())) == before
