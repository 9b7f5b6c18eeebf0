"""Both sinks keep the promises of the ``Sink`` port."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fluxbatch.adapters.disk import FolderSink
from fluxbatch.testing import MemorySink
from fluxbatch.testing.conformance import case_name, sink

if TYPE_CHECKING:
    from collections.abc import Iterator

    from blockbuster import BlockBuster


def _spool(folder: Path, data: bytes) -> Path:
    path = folder / "spooled.image"
    path.write_bytes(data)
    return path


class MemoryRig:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.sink = MemorySink()
        self.read = self.sink.read
        self.alter = self.sink.alter
        self.remove = self.sink.lose

    def leftovers(self) -> int:
        return len(self.sink.landings)

    def spool(self, data: bytes) -> Path:
        return _spool(self._folder, data)

    @contextmanager
    def full(self) -> Iterator[None]:
        self.sink.capacity = 0
        yield
        self.sink.capacity = None


class FolderRig:
    def __init__(self, root: Path) -> None:
        self._root, self._scratch = root, root / ".fluxbatch" / "landing"
        self._scratch.parent.mkdir(parents=True)
        self.sink = FolderSink(root, self._scratch)
        self.sink.sweep()

    def read(self, file: str) -> bytes | None:
        path = self._root / file
        return path.read_bytes() if path.exists() else None

    def alter(self, file: str, data: bytes) -> None:
        path = self._root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        before = path.stat().st_mtime_ns if path.exists() else 0
        path.write_bytes(data)
        os.utime(path, ns=(before + 5_000_000, before + 5_000_000))

    def remove(self, file: str) -> None:
        path = self._root / file
        path.unlink()
        for folder in path.parents[: len(Path(file).parts) - 1]:
            if not any(folder.iterdir()):
                folder.rmdir()

    def leftovers(self) -> int:
        return len(list(self._scratch.iterdir()))

    def spool(self, data: bytes) -> Path:
        return _spool(self._scratch.parent, data)

    @contextmanager
    def full(self) -> Iterator[None]:
        away = self._root.with_name("away")
        self._root.rename(away)  # any path that can't be written will do: a full disk takes a mount of its own
        yield
        away.rename(self._root)


@pytest.mark.parametrize("case", sink.CASES, ids=case_name)
async def test_memory_sink(case: sink.Case, tmp_path: Path) -> None:
    @contextmanager
    def make() -> Iterator[MemoryRig]:
        yield MemoryRig(tmp_path)

    await case(make)


@pytest.mark.parametrize("case", sink.CASES, ids=case_name)
async def test_folder_sink(case: sink.Case, tmp_path: Path, blockbuster: BlockBuster) -> None:
    count = 0

    @contextmanager
    def make() -> Iterator[FolderRig]:
        nonlocal count
        count += 1
        blockbuster.deactivate()  # to sweep the folder, which is done before a run
        rig = FolderRig(tmp_path / f"out-{count}")
        blockbuster.activate()
        yield rig

    await case(make)
