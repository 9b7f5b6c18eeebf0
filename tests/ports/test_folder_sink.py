"""What a folder on a disk adds to the promises of the ``Sink`` port."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from anyio import to_thread

from fluxbatch.adapters.disk import FolderSink
from fluxbatch.adapters.disk import landing as module
from fluxbatch.adapters.disk.folders import FolderSyncs
from fluxbatch.errors import DeliveryError, StorageError, TargetBlocked
from fluxbatch.ports import Presence
from fluxbatch.testing import make_jpeg, make_png

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fluxbatch.adapters.disk.landing import FileLanding

PNG = make_png(3)
LARGE = make_jpeg(3, width=20_000, height=20_000)
"""1.6 MB: more than waits in memory"""
MEDIUM = make_jpeg(3, width=8000, height=8000)
"""a quarter of a megabyte"""


@pytest.fixture
def sink(tmp_path: Path) -> FolderSink:
    sink = FolderSink(tmp_path, tmp_path / ".fluxbatch" / "landing")
    sink.sweep()
    return sink


def test_leftovers_are_swept(tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    (scratch / "deep").mkdir(parents=True)
    (scratch / "deep" / "x.part").write_bytes(b"half")
    (scratch / "y.part").write_bytes(b"half")
    FolderSink(tmp_path, scratch).sweep()
    assert list(scratch.iterdir()) == []


def test_a_scratch_folder_that_can_not_be_made_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="file"):
        FolderSink(tmp_path, tmp_path / "file" / "scratch").sweep()


async def test_a_landing_is_given_up_whatever_the_disk_says(sink: FolderSink, tmp_path: Path) -> None:
    """A run ends for the trouble that it met, not for the rest of it."""
    landing = await sink.land()
    landing.write(LARGE)
    shutil.rmtree(tmp_path / ".fluxbatch" / "landing")
    (tmp_path / ".fluxbatch" / "landing").write_text("in the way")
    await landing.discard()


async def test_a_folder_that_is_gone_is_a_storage_error(sink: FolderSink, tmp_path: Path) -> None:
    small, large = await sink.land(), await sink.land()
    shutil.rmtree(tmp_path / ".fluxbatch")
    small.write(PNG)
    with pytest.raises(StorageError):
        large.write(LARGE)
    with pytest.raises(StorageError):
        await small.commit("cat")
    await to_thread.run_sync(sink.sweep)
    assert (await small.commit("cat")).file == "cat.png"
    await large.discard()
    assert outputs(tmp_path) == ["cat.png"]


async def test_what_can_not_be_looked_at_is_not_taken_for_missing(sink: FolderSink, tmp_path: Path) -> None:
    landing = await sink.land()
    landing.write(PNG)
    stored = await landing.commit("folder/cat")
    shutil.rmtree(tmp_path / "folder")
    assert await sink.check([stored]) == [Presence.MISSING]
    (tmp_path / "folder").write_text("a file where the folder was: the output is gone")
    assert await sink.check([stored]) == [Presence.MISSING]
    (tmp_path / "folder").unlink()
    (tmp_path / "folder").symlink_to("folder")  # can't be followed, whoever asks: it stands for any other I/O error
    with pytest.raises(StorageError, match=r"cat\.png"):
        await sink.check([stored])


async def test_outputs_are_as_readable_as_any_new_file(sink: FolderSink, tmp_path: Path) -> None:
    landing = await sink.land()
    landing.write(PNG)
    await landing.commit("cat")
    umask = os.umask(0o022)
    os.umask(umask)
    assert (tmp_path / "cat.png").stat().st_mode & 0o777 == 0o644 & ~umask


async def test_no_file_stays_open(sink: FolderSink) -> None:
    before = len(list(Path("/dev/fd").iterdir()))
    for number in range(5):
        landing = await sink.land()
        landing.write(PNG)
        await (landing.discard() if number % 2 else landing.commit(f"cat-{number}"))
    assert len(list(Path("/dev/fd").iterdir())) == before


async def test_a_broken_link_for_a_folder_blocks_one_job(sink: FolderSink, tmp_path: Path) -> None:
    (tmp_path / "way").symlink_to("nowhere")
    landing = await sink.land()
    landing.write(PNG)
    with pytest.raises(TargetBlocked, match="way is a broken link"):
        await landing.commit("way/cat")
    (tmp_path / "nowhere").mkdir()
    assert (await landing.commit("way/cat")).file == "way/cat.png"


async def test_a_root_that_is_no_folder_any_more_is_a_matter_of_the_disk(sink: FolderSink, tmp_path: Path) -> None:
    root = sink.root = tmp_path / "out"
    root.mkdir()
    landing = await sink.land()
    landing.write(PNG)
    root.rmdir()
    root.write_text("a file")
    with pytest.raises(StorageError) as caught:
        await landing.commit("deep/cat")
    assert type(caught.value) is StorageError
    await landing.discard()


async def test_what_is_known_of_folders_is_bounded(sink: FolderSink, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_DURABLE", 5)
    for number in range(12):
        landing = await sink.land()
        landing.write(PNG)
        await landing.commit(f"{number}/deep/cat")
        assert len(sink.durable) <= 5


# --------------------------------------------------------------------------------------------------------- full disks
@contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    """A small filesystem of its own."""
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("only root may mount a small filesystem")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def sink_in(folder: Path) -> FolderSink:
    sink = FolderSink(folder, folder / ".fluxbatch" / "landing")
    sink.sweep()
    return sink


@pytest.fixture
def small_sink(tmp_path: Path) -> Iterator[FolderSink]:
    """On a filesystem with 2.5 MB in all."""
    with mounted(tmp_path / "small", "size=2560k") as folder:
        yield sink_in(folder)


@pytest.fixture
def crowded_sink(tmp_path: Path) -> Iterator[FolderSink]:
    """On a filesystem for eight files and folders."""
    with mounted(tmp_path / "crowded", "size=8m,nr_inodes=8") as folder:
        yield sink_in(folder)


def outputs(folder: Path) -> list[str]:
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(str(path) for path in found if path.parts[0] != ".fluxbatch")


def write_in_pieces(landing: FileLanding) -> None:
    for at in range(0, len(LARGE), 50_001):
        landing.write(LARGE[at : at + 50_001])


async def test_a_disk_that_fills_up_while_writing_keeps_what_came(small_sink: FolderSink) -> None:
    small = small_sink.root
    (small / "ballast").write_bytes(b"x" * (1200 << 10))
    landing = await small_sink.land()
    with pytest.raises(StorageError, match="No space left"):
        write_in_pieces(landing)
    assert 1_200_000 < landing.size < len(LARGE)
    with pytest.raises(DeliveryError):
        await landing.commit("cat")
    assert outputs(small) == ["ballast"]
    (small / "ballast").unlink()
    landing.restart()
    landing.write(LARGE[:1000])
    landing.write(LARGE[landing.size :])
    await landing.commit("cat")
    assert (small / "cat.jpg").read_bytes() == LARGE


async def test_a_disk_that_fills_up_while_writing_can_be_resumed(small_sink: FolderSink) -> None:
    """The size is what is there, also of a piece that only half fitted."""
    small = small_sink.root
    (small / "ballast").write_bytes(b"x" * (1200 << 10))
    landing = await small_sink.land()
    with pytest.raises(StorageError):
        landing.write(LARGE)
    assert 0 < landing.size < len(LARGE)
    (small / "ballast").unlink()
    landing.write(LARGE[landing.size :])
    await landing.commit("cat")
    assert (small / "cat.jpg").read_bytes() == LARGE


async def test_what_waits_in_memory_stays_there_as_long_as_there_is_no_room_for_it(small_sink: FolderSink) -> None:
    small = small_sink.root
    (small / "ballast").write_bytes(b"x" * (2400 << 10))
    landing = await small_sink.land()
    landing.write(MEDIUM)
    for _ in range(2):
        with pytest.raises(StorageError, match="No space left"):
            await landing.commit("cat")
        assert landing.size == small_sink.held == len(MEDIUM)
        assert list((small / ".fluxbatch/landing").iterdir()) == []
    (small / "ballast").unlink()
    await landing.commit("cat")
    assert (small / "cat.jpg").read_bytes() == MEDIUM
    assert small_sink.held == 0


async def test_what_waits_in_memory_is_bounded(sink: FolderSink) -> None:
    """Of all landings together, however they end."""
    landings = [await sink.land() for _ in range(12)]
    for landing in landings:
        landing.write(LARGE[:900_000])
        assert sink.held <= 8 << 20
    assert sink.held > 7 << 20
    for number, landing in enumerate(landings):
        if number % 3 == 0:
            landing.restart()
            landing.write(LARGE)
        elif number % 3 == 1:
            landing.write(LARGE[900_000:])
        if number % 3 < 2:
            await landing.commit(f"cat-{number}")
        await landing.discard()
    assert sink.held == 0
    assert outputs(sink.root) == sorted(f"cat-{number}.jpg" for number in range(12) if number % 3 < 2)


async def test_a_disk_without_room_for_a_folder_keeps_the_landing(crowded_sink: FolderSink) -> None:
    crowded = crowded_sink.root
    landing = await crowded_sink.land()
    landing.write(PNG)
    ballast = 0
    while True:
        try:
            (crowded / f"ballast-{ballast}").touch()
        except OSError:
            break
        ballast += 1
    for _ in range(2):
        with pytest.raises(StorageError, match="No space left") as caught:
            await landing.commit("one/two/cat")
        assert type(caught.value) is StorageError
        assert landing.size == len(PNG)
    for number in range(3):
        (crowded / f"ballast-{number}").unlink()
    await landing.commit("one/two/cat")
    assert (crowded / "one/two/cat.png").read_bytes() == PNG


# The disk's answers are put in place of the system's by strace: real calls, at any point.
FAILING_CHILD = """
import pathlib, sys, anyio
from fluxbatch.adapters.disk import FolderSink
from fluxbatch.errors import StorageError
from fluxbatch.testing import make_png

async def main(root):
    sink = FolderSink(root, root / "scratch")
    sink.sweep()
    landing = await sink.land()
    landing.write(make_png(3))
    try:
        await landing.commit("one/cat")
    except StorageError as error:
        print(type(error).__name__, landing.size, sorted(p.name for p in root.rglob("*.png")), flush=True)
    print((await landing.commit("one/cat")).file, flush=True)
    await landing.discard()

anyio.run(main, pathlib.Path(sys.argv[1]))
"""

needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace, which .ci/run installs")


def traced(child: str, root: Path, trace: Path, *options: str) -> tuple[str, list[tuple[str, ...]]]:
    """What the child said, and the calls it made on paths below ``root``, in order."""
    root.mkdir()
    calls = "trace=write,pwrite64,fsync,fdatasync,rename,renameat,renameat2,mkdir,mkdirat"
    strace = ["strace", "-f", "-y", "-e", calls, *options, "-o", str(trace)]
    done = subprocess.run(
        [*strace, sys.executable, "-c", child, str(root)], check=True, capture_output=True, text=True, timeout=50
    )
    steps = []
    for line in trace.read_text().splitlines():
        name = re.search(r"\b(p?write|f(?:data)?sync|rename|mkdir)(?:64|at2?)?\(", line)
        if name is None or ("stored" not in line and str(root) not in line):
            continue
        paths = [path.removeprefix(str(root)) for path in re.findall(rf"{re.escape(str(root))}[^>\"]*", line)]
        paths = [re.sub(r"/scratch/[\w-]+\.part", "/PART", path) for path in paths]
        verdict = ["failed"] if "INJECTED" in line else []
        steps.append((name[1], *(paths or ["stdout"]), *verdict))
    return done.stdout, steps


@needs_strace
@pytest.mark.parametrize(
    ("inject", "placed"),
    [
        ("fsync:error=ENOSPC:when=1", False),
        ("fsync:error=EIO:when=1", False),
        ("rename,renameat,renameat2:error=ENOSPC:when=1", False),
        ("fsync:error=EIO:when=2", True),
        ("fsync:error=ENOSPC:when=3", True),
    ],
    ids=["fsync, full", "fsync", "rename", "fsync of the folder", "fsync of the folder above"],
)
def test_a_commit_that_failed_at_any_point_can_be_repeated(tmp_path: Path, inject: str, *, placed: bool) -> None:
    said, steps = traced(FAILING_CHILD, tmp_path / "out", tmp_path / "trace", "-e", f"inject={inject}")
    there = ["cat.png"] if placed else []
    assert said.splitlines() == [f"StorageError {len(PNG)} {there}", "one/cat.png"]
    assert any(step[-1] == "failed" for step in steps)
    assert (tmp_path / "out/one/cat.png").read_bytes() == PNG
    assert list((tmp_path / "out/scratch").iterdir()) == []
    renamed = steps.index(("rename", "/PART", "/one/cat.png"))
    assert [step for step in steps if step[0] == "rename" and step[-1] != "failed"] == [steps[renamed]], "once"
    failed = next(number for number, step in enumerate(steps) if step[-1] == "failed")
    if failed < renamed and steps[failed][0] == "fsync":
        # the system may have taken the failed pages for written: the bytes are given to it anew before the next fsync
        assert steps[failed + 1 : renamed] == [("pwrite", "/PART"), ("fsync", "/PART")]
    synced = {step for step in steps[max(failed, renamed) :] if step[0] == "fsync"}
    assert {("fsync", ""), ("fsync", "/one")} <= synced, "a folder whose fsync failed is synced again"


async def test_bytes_that_a_failed_fsync_has_lost_are_fetched_again(
    sink: FolderSink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(fd: int) -> None:
        os.pwrite(fd, make_png(4), 0)  # what the disk has held there all the while
        raise OSError(5, "Input/output error")

    landing = await sink.land()
    landing.write(PNG)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(StorageError):
            await landing.commit("cat")
    with pytest.raises(DeliveryError) as caught:
        await landing.commit("cat")
    assert caught.value.corrupt
    assert outputs(tmp_path) == []
    landing.restart()
    landing.write(PNG)
    await landing.commit("cat")
    assert (tmp_path / "cat.png").read_bytes() == PNG


async def test_an_image_in_place_is_never_written_to(sink: FolderSink, tmp_path: Path) -> None:
    """Not even if its folder could not be synced, and it is fetched once more."""

    def fail(*_: Any) -> None:
        raise OSError(5, "Input/output error")

    sink.folders = FolderSyncs(fail)
    landing = await sink.land()
    landing.write(PNG)
    with pytest.raises(StorageError):
        await landing.commit("cat")
    assert (tmp_path / "cat.png").read_bytes() == PNG
    landing.restart()
    landing.write(LARGE[:1000])
    assert (tmp_path / "cat.png").read_bytes() == PNG
    await landing.discard()
    assert list((tmp_path / ".fluxbatch/landing").iterdir()) == []


async def test_an_output_that_is_taken_away_at_once_was_stored(sink: FolderSink, tmp_path: Path) -> None:
    """A script that moves images as they come is no storage failure."""

    def move_away(_folder: Path) -> None:
        (tmp_path / "cat.png").unlink()

    sink.folders = FolderSyncs(move_away)
    landing = await sink.land()
    landing.write(PNG)
    stored = await landing.commit("cat")
    assert stored.file == "cat.png"
    assert stored.mtime_ns > 0


# What a power cut must find: bytes before the name, the name before the word that it is stored.
CHILD = """
import sys, pathlib, anyio
from fluxbatch.adapters.disk import FolderSink
from fluxbatch.testing import make_png

async def main(root):
    sink = FolderSink(root, root / "scratch")
    sink.sweep()
    landing = await sink.land()
    landing.write(make_png(3))
    await landing.commit("one/two/cat")
    print("stored", flush=True)

anyio.run(main, pathlib.Path(sys.argv[1]))
"""
AGAIN = """
    import shutil
    shutil.rmtree(root / "one")
    landing = await sink.land()
    landing.write(make_png(3))
    await landing.commit("one/two/cat")
    print("stored again", flush=True)
"""


@needs_strace
def test_order_of_write_fsync_rename_and_fsync_of_the_folders(tmp_path: Path) -> None:
    _, steps = traced(CHILD, tmp_path / "out", tmp_path / "trace")
    wanted = [
        ("mkdir", "/scratch"),
        ("write", "/PART"),
        ("mkdir", "/one"),
        ("mkdir", "/one/two"),
        ("fsync", "/PART"),
        ("rename", "/PART", "/one/two/cat.png"),
        ("write", "stdout"),
    ]
    synced_folders = {step for step in steps if step[0] == "fsync"} - {("fsync", "/PART")}
    assert [step for step in steps if step not in synced_folders] == wanted
    assert synced_folders == {("fsync", ""), ("fsync", "/one"), ("fsync", "/one/two")}
    renamed, said = steps.index(wanted[-2]), steps.index(wanted[-1])
    assert all(renamed < steps.index(step) < said for step in synced_folders)


@needs_strace
def test_folders_that_someone_removed_are_synced_anew(tmp_path: Path) -> None:
    child = CHILD.replace('    print("stored", flush=True)\n', '    print("stored", flush=True)\n' + AGAIN)
    _, steps = traced(child, tmp_path / "out", tmp_path / "trace")
    first = steps.index(("write", "stdout"))
    synced = {step for step in steps[first:] if step[0] == "fsync"}
    assert synced == {("fsync", "/PART"), ("fsync", ""), ("fsync", "/one"), ("fsync", "/one/two")}
