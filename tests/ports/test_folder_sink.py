"""What a folder on a disk adds to the promises of the ``Sink`` port."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fluxbatch.adapters.disk import FolderSink
from fluxbatch.errors import StorageError
from fluxbatch.ports import Presence
from fluxbatch.testing import make_png

PNG = make_png(3)


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


async def test_a_folder_that_is_gone_is_a_storage_error(sink: FolderSink, tmp_path: Path) -> None:
    landing = await sink.land()
    shutil.rmtree(tmp_path / ".fluxbatch")
    with pytest.raises(StorageError):
        await sink.land()
    landing.write(PNG)
    with pytest.raises(StorageError):
        await landing.commit("cat")
    await landing.discard()
    assert not (tmp_path / "cat.png").exists()


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


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace, which .ci/run installs")
def test_order_of_write_fsync_rename_and_fsync_of_the_folders(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    root = tmp_path / "out"
    root.mkdir()
    calls = "trace=write,fsync,fdatasync,rename,renameat,renameat2,mkdir,mkdirat"
    command = ["strace", "-f", "-y", "-e", calls, "-o", str(trace), sys.executable, "-c", CHILD, str(root)]
    subprocess.run(command, check=True, capture_output=True, timeout=50)
    steps = []
    for line in trace.read_text().splitlines():
        name = re.search(r"\b(write|f(?:data)?sync|rename\w*|mkdir\w*)\(", line)
        if name is None or ("stored" not in line and str(root) not in line):
            continue
        paths = [path.removeprefix(str(root)) for path in re.findall(rf"{re.escape(str(root))}[^>\"]*", line)]
        paths = [re.sub(r"/scratch/\w+\.part", "/PART", path) for path in paths]
        steps.append((name[1].removesuffix("at2").removesuffix("at"), *(paths or ["stdout"])))
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
