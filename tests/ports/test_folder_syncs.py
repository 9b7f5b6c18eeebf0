"""One fsync of a folder for all who want it at the same time, and never one that began too early."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fluxbatch.adapters.disk.folders import FolderSyncs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

FOLDER, OTHER = Path("/one"), Path("/other")
PATIENCE_S = 10.0


class SlowDisk:
    """Syncs one folder at a time, each when it is told to; remembers which names were there when it began."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.go_on = threading.Semaphore(0)
        self.names: dict[Path, set[str]] = {FOLDER: set(), OTHER: set()}
        self.durable: set[str] = set()
        self.errors: list[OSError] = []
        self.rounds = 0

    def sync(self, folder: Path) -> None:
        names = set(self.names[folder])
        self.rounds += 1
        self.begun.release()
        assert self.go_on.acquire(timeout=PATIENCE_S)
        if self.errors:
            raise self.errors.pop()
        self.durable |= names


class Threads:
    def __init__(self, disk: SlowDisk, pool: ThreadPoolExecutor) -> None:
        self._disk = disk
        self._pool = pool
        self._syncs = FolderSyncs(disk.sync)

    def put(self, name: str, folder: Path = FOLDER) -> Future[bool]:
        """Put a name into a folder and have it synced; the result: whether it was durable then."""
        began = threading.Event()

        def work() -> bool:
            self._disk.names[folder].add(name)
            began.set()
            self._syncs.sync(folder)
            return name in self._disk.durable

        found = self._pool.submit(work)
        assert began.wait(PATIENCE_S)
        return found


@pytest.fixture
def disk() -> SlowDisk:
    return SlowDisk()


@pytest.fixture
def threads(disk: SlowDisk) -> Iterator[Threads]:
    with ThreadPoolExecutor(16) as pool:
        yield Threads(disk, pool)


def test_those_who_come_while_one_is_under_way_share_the_next(disk: SlowDisk, threads: Threads) -> None:
    first = threads.put("first")
    assert disk.begun.acquire(timeout=PATIENCE_S)
    others = [threads.put(f"other {number}") for number in range(10)]
    assert not wait([first, *others], timeout=0.05).done
    disk.go_on.release(11)
    assert first.result(PATIENCE_S)
    assert all(other.result(PATIENCE_S) for other in others)
    # a thread may have been on its way to the round that its siblings began
    assert 2 <= disk.rounds <= 4


def test_nobody_is_content_with_a_sync_that_began_before(disk: SlowDisk, threads: Threads) -> None:
    threads.put("first")
    assert disk.begun.acquire(timeout=PATIENCE_S)
    late = threads.put("late")
    disk.go_on.release()
    assert disk.begun.acquire(timeout=PATIENCE_S), "a second round"
    assert not late.done()
    disk.go_on.release()
    assert late.result(PATIENCE_S)


def test_folders_do_not_wait_for_each_other(disk: SlowDisk, threads: Threads) -> None:
    found = [threads.put("a", FOLDER), threads.put("b", OTHER)]
    for _ in found:
        assert disk.begun.acquire(timeout=PATIENCE_S), "both are under way"
    disk.go_on.release(2)
    assert all(one.result(PATIENCE_S) for one in found)


def test_all_of_a_round_hear_of_its_error_and_the_next_is_new(disk: SlowDisk, threads: Threads) -> None:
    first = threads.put("first")
    assert disk.begun.acquire(timeout=PATIENCE_S)
    disk.errors = [OSError(5, "Input/output error"), OSError(28, "No space left on device")]
    disk.go_on.release()
    with pytest.raises(OSError, match="No space left"):
        first.result(PATIENCE_S)
    second = threads.put("second")
    assert disk.begun.acquire(timeout=PATIENCE_S)
    disk.go_on.release()
    with pytest.raises(OSError, match="Input/output"):
        second.result(PATIENCE_S)
    third = threads.put("third")
    disk.go_on.release()
    assert third.result(PATIENCE_S)


def test_an_error_is_for_all_who_share_it(disk: SlowDisk, threads: Threads) -> None:
    first = threads.put("first")
    assert disk.begun.acquire(timeout=PATIENCE_S)
    others = [threads.put(f"other {number}") for number in range(4)]
    assert not wait(others, timeout=0.2).done, "they wait together"
    disk.go_on.release()
    assert first.result(PATIENCE_S)
    assert disk.begun.acquire(timeout=PATIENCE_S)
    disk.errors = [OSError(5, "Input/output error")]
    disk.go_on.release()
    assert [str(other.exception(PATIENCE_S)) for other in others] == ["[Errno 5] Input/output error"] * 4
