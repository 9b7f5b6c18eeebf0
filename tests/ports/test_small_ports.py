"""Photos, memo, limiter and clock: fakes and real ones keep the promises of their ports."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fluxbatch.adapters.clock import SystemClock
from fluxbatch.adapters.disk import FileSource, SqliteMemo
from fluxbatch.model.job import Photo
from fluxbatch.policy.limits import AdaptiveLimiter
from fluxbatch.testing import FixedLimiter, MemoryMemo, MemorySource, VirtualClock
from fluxbatch.testing.conformance import case_name, clock, limiter, memo, source

if TYPE_CHECKING:
    from collections.abc import Iterator

    from blockbuster import BlockBuster

    from fluxbatch.ports import Memo


class MemoryRig:
    def __init__(self) -> None:
        self.source = MemorySource()
        self.add = self.source.add
        self.overwrite = self.source.overwrite
        self.cut = self.source.cut
        self.remove = self.source.remove
        self.forbid = self.source.forbid

    def open_files(self) -> int:
        return self.source.open_readers


class FileRig:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.source = FileSource()

    def add(self, ref: str, data: bytes) -> Photo:
        path = self._folder / ref
        path.write_bytes(data)
        facts = path.stat()
        return Photo(ref, str(path), "image/png", len(data), facts.st_mtime_ns, facts.st_ino, 8, 8, "digest")

    def overwrite(self, ref: str, data: bytes) -> None:
        path = self._folder / ref
        before = path.stat().st_mtime_ns
        path.write_bytes(data)
        os.utime(path, ns=(before + 5_000_000, before + 5_000_000))

    def cut(self, ref: str, size: int) -> None:
        os.truncate(self._folder / ref, size)

    def remove(self, ref: str) -> None:
        (self._folder / ref).unlink()

    def forbid(self, ref: str) -> None:
        # a link to itself can't be opened by anybody, root included
        (self._folder / ref).unlink()
        (self._folder / ref).symlink_to(ref)

    def open_files(self) -> int:
        links = [link for link in Path("/dev/fd").iterdir() if link.is_symlink()]
        return sum(str(self._folder) in str(link.readlink()) for link in links)


@pytest.mark.parametrize("case", source.CASES, ids=case_name)
async def test_memory_source(case: source.Case) -> None:
    @contextmanager
    def make() -> Iterator[MemoryRig]:
        yield MemoryRig()

    await case(make)


@pytest.mark.parametrize("case", source.CASES, ids=case_name)
async def test_file_source(case: source.Case, tmp_path: Path) -> None:
    @contextmanager
    def make() -> Iterator[FileRig]:
        yield FileRig(tmp_path)

    await case(make)


@pytest.mark.parametrize("real", [False, True], ids=["memory", "sqlite"])
@pytest.mark.parametrize("case", memo.CASES, ids=case_name)
async def test_memo(case: memo.Case, tmp_path: Path, blockbuster: BlockBuster, *, real: bool) -> None:
    blockbuster.deactivate()  # a memo is asked in threads; whether it is asked on the loop is not its own affair

    def make() -> Memo:
        return SqliteMemo(tmp_path / "memo.sqlite") if real else MemoryMemo()

    await case(make)


@pytest.mark.parametrize("case", limiter.CASES, ids=case_name)
@pytest.mark.parametrize("make", [FixedLimiter, AdaptiveLimiter])
async def test_limiter(case: limiter.Case, make: limiter.Factory) -> None:
    await case(make)


@pytest.mark.parametrize("case", clock.CASES, ids=case_name)
@pytest.mark.parametrize("make", [SystemClock, VirtualClock])
async def test_clock(case: clock.Case, make: clock.Factory) -> None:
    await case(make)
