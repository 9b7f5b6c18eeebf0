"""How a lock file is written: whole or not at all, by several runs at once, and without anything left lying about."""

from __future__ import annotations

import fcntl
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import pytest

from fluxbatch.app.locks import write_locks
from fluxbatch.errors import StorageError
from fluxbatch.model.job import Record, Stored
from fluxbatch.model.state import JobState
from fluxbatch.planning.lockfile import LOCK_NAME, read_lock
from fluxbatch.testing import make_job

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace, which .ci/run installs")

CHILD = """
import pathlib, sys, anyio
from tests.app.test_lock_writing import write
anyio.run(write, pathlib.Path(sys.argv[1]), "one.yaml", 3)
"""


async def write(folder: Path, manifest: str, count: int) -> None:
    """As a run of this manifest with so many images would."""

    async def rows() -> AsyncIterator[Record]:
        for number in range(count):
            job = make_job(number, manifest=manifest)
            stored = Stored(f"{job.id}.png", "5", 3, 64, 64, fingerprint=job.fingerprint)
            yield Record(job, JobState.STORED, stored=stored)

    await write_locks({manifest: folder / LOCK_NAME}, rows())


async def pairs(folder: Path) -> list[tuple[str, str]]:
    found = await anyio.to_thread.run_sync(lambda: [*read_lock(folder / LOCK_NAME)])
    return [(entry.manifest, entry.id) for entry in found]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def traced(folder: Path, trace: Path, *options: str) -> subprocess.CompletedProcess[str]:
    calls = ["strace", "-f", "-y", "-e", "trace=fsync,rename,renameat,renameat2", *options, "-o", str(trace)]
    return subprocess.run(
        [*calls, sys.executable, "-c", CHILD, str(folder)],
        check=False,
        capture_output=True,
        text=True,
        timeout=50,
        cwd=Path(__file__).parents[2],
    )


@needs_strace
@pytest.mark.parametrize("call", ["fsync", "rename,renameat,renameat2"])
async def test_what_a_killed_run_leaves_is_gone_with_the_next(tmp_path: Path, call: str) -> None:
    folder = tmp_path / "repo"
    folder.mkdir()
    killed = traced(folder, tmp_path / "trace", "-e", f"inject={call}:signal=KILL:when=1")
    assert killed.returncode == -signal.SIGKILL
    assert names(folder), "it died in the middle"

    await write(folder, "one.yaml", 2)

    assert names(folder) == [LOCK_NAME]
    assert await pairs(folder) == [("one.yaml", "job-00000"), ("one.yaml", "job-00001")]


@needs_strace
def test_the_folder_is_synced_once_the_file_is_in_its_place(tmp_path: Path) -> None:
    folder = tmp_path / "repo"
    folder.mkdir()

    done = traced(folder, tmp_path / "trace")

    assert done.returncode == 0, done.stderr
    lines = [line for line in (tmp_path / "trace").read_text().splitlines() if str(folder) in line]
    synced, renamed, folder_synced = lines
    assert "fsync(" in synced
    assert ".new>" in synced
    assert "rename" in renamed
    assert f"{folder}>" in folder_synced


async def test_runs_of_several_folders_keep_each_others_lines(tmp_path: Path) -> None:
    manifests = [f"{number}.yaml" for number in range(8)]

    async with anyio.create_task_group() as tasks:
        for manifest in manifests:
            tasks.start_soon(write, tmp_path, manifest, 200)

    assert await pairs(tmp_path) == [(manifest, f"job-{number:05}") for manifest in manifests for number in range(200)]
    assert names(tmp_path) == [LOCK_NAME]


async def test_a_file_that_another_run_keeps_to_itself_is_waited_for(tmp_path: Path) -> None:
    held = (tmp_path / f".{LOCK_NAME}.new").open("wb")
    fcntl.flock(held, fcntl.LOCK_EX)
    with anyio.move_on_after(0.3) as hurry:  # a run that is told to leave at once
        await write(tmp_path, "one.yaml", 1)
    assert hurry.cancelled_caught

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(write, tmp_path, "one.yaml", 1)
        await anyio.sleep(0.2)
        assert not (tmp_path / LOCK_NAME).exists()
        held.close()

    assert await pairs(tmp_path) == [("one.yaml", "job-00000")]
    assert names(tmp_path) == [LOCK_NAME]


async def test_a_link_in_its_way_is_not_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("mine")
    repo = tmp_path / "repo"
    repo.mkdir()
    (repo / f".{LOCK_NAME}.new").symlink_to(precious)

    with pytest.raises(StorageError, match=rf"can't be written: .*{LOCK_NAME}\.new"):
        await write(repo, "one.yaml", 1)

    assert precious.read_text() == "mine"


async def test_a_file_that_is_none_is_left_as_it_is_and_nothing_beside_it(tmp_path: Path) -> None:
    (tmp_path / LOCK_NAME).write_text("<<<<<<< ours")

    with pytest.raises(StorageError, match="merge conflict"):
        await write(tmp_path, "one.yaml", 1)

    assert (tmp_path / LOCK_NAME).read_text() == "<<<<<<< ours"
    assert names(tmp_path) == [LOCK_NAME]
