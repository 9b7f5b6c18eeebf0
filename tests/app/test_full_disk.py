"""Disks that fill up and folders that go away while images are being delivered."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fluxbatch.adapters.disk import EventLog
from fluxbatch.model.events import JobLost
from fluxbatch.simulator import Faults
from tests.app.stage import check_bills, check_folder, check_stored, results, serving, wait_for, write_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.app.stage import Api, Child, Ran

SIZE_MB = 100
FLOOR_MB = 64
JOBS = 80
SLOW = Faults(rates={"download-slow": 1.0}, slow_s=0.5)  # so that some image is on its way at any moment


@dataclass
class SmallDisk:
    """A filesystem of its own that a test can fill without harm to the machine.

    It is mounted in the namespace of a process that holds it: with that process, or this one, it is gone.
    """

    path: Path
    """as the test sees it"""
    inside: Path
    """as commands see it that are started by ``via``"""
    via: tuple[str, ...]

    @property
    def ballast(self) -> Path:
        return self.path / "ballast"

    def take(self, megabytes: int) -> None:
        self.ballast.write_bytes(bytes(megabytes << 20))

    def take_all(self) -> None:
        """Write until not one page is free."""
        fd = os.open(self.ballast, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            for size in (1 << 20, 4096):
                with suppress(OSError):
                    while os.write(fd, bytes(size)) == size:
                        pass
        finally:
            os.close(fd)
        facts = os.statvfs(self.path)
        assert facts.f_bavail == 0, facts

    def relieve(self) -> None:
        self.ballast.unlink()


@pytest.fixture
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallDisk]:
    if shutil.which("unshare") is None or shutil.which("nsenter") is None:
        pytest.skip("no unshare: only Linux has filesystems that one may mount for oneself")
    point = tmp_path_factory.mktemp("disk")
    mount = f'mount -t tmpfs -o size={SIZE_MB}m tmpfs "$0" && echo mounted && exec cat'
    root = os.geteuid() == 0
    options = ["--mount", "--propagation", "private", *([] if root else ["--map-root-user"])]
    with subprocess.Popen(
        ["unshare", *options, "sh", "-c", mount, str(point)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as holder:
        assert holder.stdout is not None
        said = holder.stdout.readline().decode().strip()
        if said != "mounted":
            holder.communicate()
            pytest.skip(f"this machine lets nobody mount a tmpfs: {said}")
        enter = ["nsenter", "-t", str(holder.pid), "-m", *([] if root else ["-U", "--preserve-credentials"])]
        # a namespace is entered at its root
        via = (*enter, "sh", "-c", 'cd "$0" && exec "$@"', str(tmp_path_factory.getbasetemp()))
        yield SmallDisk(Path(f"/proc/{holder.pid}/root{point}"), point, via)
        holder.communicate()


@contextmanager
def at_work(api: Api, folder: Path, out: Path, *options: object) -> Iterator[Child]:
    """A run that has stored images in ``out``, is fetching others, and has requests in flight."""
    with api.running(folder / "jobs.jsonl", "--concurrency", "8", "--json", *options, cwd=folder) as child:

        def busy() -> bool:
            assert not child.ended, child.said
            return len(images(out)) >= 4 and api.sim.in_flight >= 4

        wait_for(busy)
        yield child


def images(out: Path) -> list[Path]:
    return [path for path in out.iterdir() if path.suffix in {".jpg", ".png"}] if out.is_dir() else []


def wait_until_it_stops(api: Api, child: Child) -> int:
    """Until it says that it stops, and all answers are in. Returns how many requests it had sent by then."""
    wait_for(lambda: "run.stopping" in child.said)
    wait_for(lambda: api.sim.in_flight == 0)
    assert not child.ended, child.said
    return api.sim.requests


def leave(child: Child) -> Ran:
    """Two signals: the second one once the first was understood."""
    child.process.send_signal(signal.SIGTERM)
    wait_for(lambda: "once more to leave at once" in child.said)
    child.process.send_signal(signal.SIGTERM)
    return child.finish(seconds=10)


def check_stopped(api: Api, child: Child, *, sent: int) -> None:
    """It stopped in order: exit 3, a remedy, nothing sent any more, and all that was paid for is there."""
    ran = child.finish()
    assert ran.code == 3, ran.err
    assert "Traceback" not in ran.err
    assert "then run the same command again" in ran.err
    assert api.sim.requests == sent
    summary = ran.summary
    assert summary["stop_reason"] == "storage"
    assert summary["stored"] == summary["charged"] == summary["requests"] == len(api.sim.calls)
    assert summary["unknown_charges"] == summary["lost"] == summary["failed"] == 0
    assert summary["pending"] == JOBS - summary["stored"] > 0


def check_rest(api: Api, folder: Path, out: Path, *options: object) -> None:
    """The same command makes the rest; every image was paid for once."""
    ran = api.run(folder / "jobs.jsonl", *options, "--json", cwd=folder)
    assert (ran.code, ran.summary["stored"]) == (0, JOBS), ran.err
    lines = results(out)
    assert set(api.billed().values()) == {1}
    check_bills(api, lines)
    check_stored(api, out, lines)
    check_folder(out)
    assert kept_elsewhere() == []


def kept_elsewhere() -> list[Path]:
    """Files outside of the folder that hold URLs, noted there while the ledger had no room."""
    return [path for path in Path.home().rglob("*") if path.is_file() and b"sig=" in path.read_bytes()]


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[Api]:
    write_rows(tmp_path / "jobs.jsonl", JOBS)
    with serving(tmp_path / "simulator", latency_s=0.4, faults=SLOW) as api:
        yield api


@pytest.mark.slow
def test_below_the_floor_nothing_is_sent_and_what_is_paid_for_lands(slow: Api, disk: SmallDisk, tmp_path: Path) -> None:
    slow.via, out, where = disk.via, disk.path / "out", ("-o", disk.inside / "out")
    with at_work(slow, tmp_path, out, *where) as child:
        disk.take(SIZE_MB - FLOOR_MB + 10)
        sent = wait_until_it_stops(slow, child)
        check_stopped(slow, child, sent=sent)
        assert f"{FLOOR_MB} MB is the least" in child.said
        assert "free some space" in child.said
    disk.relieve()
    check_rest(slow, tmp_path, out, *where)


@pytest.mark.slow
def test_a_full_disk_keeps_what_is_paid_for_until_there_is_room(slow: Api, disk: SmallDisk, tmp_path: Path) -> None:
    slow.via, out, where = disk.via, disk.path / "out", ("-o", disk.inside / "out")
    with at_work(slow, tmp_path, out, *where) as child:
        disk.take_all()
        sent = wait_until_it_stops(slow, child)
        assert len(images(out)) < len(slow.sim.calls)
        disk.relieve()
        check_stopped(slow, child, sent=sent)
    check_rest(slow, tmp_path, out, *where)


def test_a_full_disk_tears_no_line_of_the_events(disk: SmallDisk) -> None:
    path = disk.path / "events.jsonl"
    log = EventLog(path, "run")
    try:
        noted = JobLost(at=0.0, job_id="job", message="x" * 100, again=False)
        log.note(noted)
        disk.take_all()
        for _ in range(100):
            log.note(noted)
        disk.relieve()
        log.note(noted)
    finally:
        log.close()

    lines = path.read_bytes().splitlines(keepends=True)
    assert len(lines) > 2
    assert len(set(lines)) == 1


@pytest.mark.slow
def test_who_leaves_a_full_disk_finds_everything_again(slow: Api, disk: SmallDisk, tmp_path: Path) -> None:
    slow.via, out, where = disk.via, disk.path / "out", ("-o", disk.inside / "out")
    with at_work(slow, tmp_path, out, *where) as child:
        disk.take_all()
        wait_until_it_stops(slow, child)
        ran = leave(child)
    assert ran.code == 143, ran.err
    assert "Traceback" not in ran.err
    assert kept_elsewhere()
    disk.relieve()

    rest = slow.run(tmp_path / "jobs.jsonl", *where, "--json", cwd=tmp_path)

    assert (rest.code, rest.summary["stored"]) == (0, JOBS), rest.err
    lines = results(out)
    check_bills(slow, lines)
    check_stored(slow, out, lines)
    check_folder(out)
    assert kept_elsewhere() == []
    assert set(slow.billed().values()) == {1}


@contextmanager
def unwritable(folder: Path) -> Iterator[None]:
    """Nothing can be made, renamed or removed in this folder, whoever asks; root is held to that by a file flag."""

    def flag(change: str) -> None:
        done = subprocess.run(["chattr", change, str(folder)], check=False, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"no permissions bind root, and chattr {change} doesn't work here: {done.stderr.strip()}")

    if os.geteuid():
        freeze: Callable[[], None] = lambda: folder.chmod(0o555)  # noqa: E731  # a pair
        thaw: Callable[[], None] = lambda: folder.chmod(0o755)  # noqa: E731
    else:
        freeze, thaw = lambda: flag("+i"), lambda: flag("-i")
    freeze()
    try:
        yield
    finally:
        thaw()


@pytest.mark.slow
def test_a_folder_that_turns_read_only(slow: Api, tmp_path: Path) -> None:
    out = tmp_path / "jobs-out"
    with at_work(slow, tmp_path, out) as child:
        with unwritable(out):
            sent = wait_until_it_stops(slow, child)
            assert len(images(out)) < len(slow.sim.calls)
        check_stopped(slow, child, sent=sent)
        assert "can't be written" in child.said
    check_rest(slow, tmp_path, out)


@pytest.mark.slow
def test_a_folder_that_is_renamed_and_put_back(slow: Api, tmp_path: Path) -> None:
    out = tmp_path / "jobs-out"
    with at_work(slow, tmp_path, out) as child:
        out.rename(tmp_path / "elsewhere")
        sent = wait_until_it_stops(slow, child)
        assert not out.exists()
        (tmp_path / "elsewhere").rename(out)
        check_stopped(slow, child, sent=sent)
    check_rest(slow, tmp_path, out)


@pytest.mark.slow
def test_a_folder_that_is_put_back_when_all_urls_are_dead(tmp_path: Path) -> None:
    """What came meanwhile has waited in memory."""
    write_rows(tmp_path / "jobs.jsonl", JOBS)
    out = tmp_path / "jobs-out"
    with serving(tmp_path / "simulator", latency_s=0.4, faults=SLOW, url_life=3) as api:
        with at_work(api, tmp_path, out) as child:
            out.rename(tmp_path / "elsewhere")
            sent = wait_until_it_stops(api, child)
            dead_at = time.monotonic() + 4
            wait_for(lambda: time.monotonic() > dead_at)
            fetched = api.sim.deliveries
            (tmp_path / "elsewhere").rename(out)
            check_stopped(api, child, sent=sent)
            assert api.sim.deliveries == fetched
        check_rest(api, tmp_path, out)


@pytest.mark.slow
@pytest.mark.parametrize("state", ["jobs-out/.fluxbatch", "state"])
def test_who_leaves_a_folder_that_was_deleted_gets_out_in_order(slow: Api, tmp_path: Path, state: str) -> None:
    out = tmp_path / "jobs-out"
    with at_work(slow, tmp_path, out, "--state", state) as child:
        shutil.rmtree(out)
        sent = wait_until_it_stops(slow, child)
        ran = leave(child)

    assert ran.code == 143, ran.err
    check_deleted(slow, ran, out, sent=sent)


def check_deleted(api: Api, ran: Ran, out: Path, *, sent: int) -> None:
    assert "Traceback" not in ran.err
    assert str(out) in ran.err
    assert "run the same command again" in ran.err
    assert api.sim.requests == sent
    assert ran.summary["charged"] == len(api.sim.calls)
    assert ran.summary["charged"] + ran.summary["unknown_charges"] <= ran.summary["requests"]
