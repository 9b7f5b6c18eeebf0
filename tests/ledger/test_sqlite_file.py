"""The ledger's file: who may read it, what it forgets, what survives, and what it says when it can't go on."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio
import pytest

from fluxbatch.adapters.ledger import SqliteLedger
from fluxbatch.adapters.ledger.thread import CommitThread
from fluxbatch.errors import StepRefused, StorageError, UsageError
from fluxbatch.model.job import Lease, Step, Stored
from fluxbatch.model.state import Charge, JobState
from fluxbatch.ports import Disposition, Enlisted, RunRow
from fluxbatch.testing import make_job

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fluxbatch.model.job import PlannedJob

SECRET = "https://delivery.example/secret-path?sig=very-secret"
LEASE = Lease(SECRET, deadline=1600.0, granted_at=1000.0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / "out" / ".fluxbatch"
    folder.mkdir(parents=True)
    return folder / "ledger.sqlite"


@pytest.fixture
async def ledger(path: Path) -> AsyncIterator[SqliteLedger]:
    ledger = await SqliteLedger(path, kind="live").open()
    yield ledger
    await ledger.close()


async def plan(ledger: SqliteLedger, *jobs: PlannedJob) -> None:
    await ledger.enlist("run", [Enlisted(job, Disposition.MAKE) for job in jobs])


async def grant(ledger: SqliteLedger, job: PlannedJob) -> None:
    await ledger.advance(Step(job.id, JobState.PENDING, JobState.SUBMITTED))
    step = Step(job.id, JobState.SUBMITTED, JobState.GENERATED, charge=Charge.CHARGED, usd=0.03, lease=LEASE)
    await ledger.advance(step)


def files(path: Path) -> list[Path]:
    return sorted(path.parent.iterdir())


# --------------------------------------------------------------------------------------------------------- secrecy
async def test_only_its_owner_may_read_it(ledger: SqliteLedger, path: Path) -> None:
    await plan(ledger, make_job())
    modes = {file.name: oct(file.stat().st_mode & 0o777) for file in files(path)}
    assert set(modes) == {"ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm"}
    assert set(modes.values()) == {"0o600"}


async def test_a_stored_image_leaves_no_url_in_the_files(ledger: SqliteLedger, path: Path) -> None:
    jobs = [make_job(n) for n in range(50)]
    await plan(ledger, *jobs)
    for job in jobs:
        await grant(ledger, job)
    assert any(b"very-secret" in file.read_bytes() for file in files(path))
    for job in jobs:
        stored = Stored(f"{job.id}.png", "00", 1, 8, 8)
        await ledger.advance(Step(job.id, JobState.GENERATED, JobState.STORED, stored=stored))
    await ledger.close()
    assert [file.name for file in files(path)] == ["ledger.sqlite"]
    assert b"very-secret" not in path.read_bytes()


# --------------------------------------------------------------------------------------------------- group commits
async def test_calls_at_a_time_share_commits(path: Path) -> None:
    said: list[str] = []

    def connect() -> sqlite3.Connection:
        db = sqlite3.connect(path, isolation_level=None)
        db.execute("CREATE TABLE t (n)")
        db.set_trace_callback(said.append)
        return db

    thread = CommitThread(connect)

    async def insert(number: int) -> None:
        await thread.call(lambda db: db.execute("INSERT INTO t VALUES (?)", (number,)).close())

    async with anyio.create_task_group() as tasks:
        for number in range(500):
            tasks.start_soon(insert, number)
    rows = await thread.call(lambda db: db.execute("SELECT COUNT(*) FROM t").fetchone()[0])
    await anyio.to_thread.run_sync(thread.close)
    assert rows == 500
    assert said.count("COMMIT") <= 20


async def test_a_refused_step_does_not_undo_its_company(ledger: SqliteLedger) -> None:
    jobs = [make_job(n) for n in range(40)]
    await plan(ledger, *jobs)
    refused: list[str] = []

    async def take(job: PlannedJob, frm: JobState) -> None:
        to = JobState.SUBMITTED if frm is JobState.PENDING else JobState.STORED
        try:
            await ledger.advance(Step(job.id, frm, to))
        except StepRefused:
            refused.append(job.id)

    async with anyio.create_task_group() as tasks:
        for job in jobs:
            frm = JobState.PENDING if job.position % 2 else JobState.GENERATED
            tasks.start_soon(take, job, frm)
    found = await ledger.recall([job.id for job in jobs])
    assert len(refused) == 20
    assert {job.position % 2: found[job.id].state for job in jobs} == {0: JobState.PENDING, 1: JobState.SUBMITTED}


async def test_an_error_that_nobody_thought_of_ends_no_thread(ledger: SqliteLedger) -> None:
    with anyio.fail_after(5):
        with pytest.raises(UnicodeEncodeError):
            await ledger.recall(["no \ud800 text"])
        with pytest.raises(UnicodeEncodeError):
            await ledger.claim("no \ud800 text", "run")
        await plan(ledger, make_job())
        assert await ledger.pending_models("run") == {"flux-2-pro": 1}


async def test_whoever_leaves_early_has_written(ledger: SqliteLedger) -> None:
    job = make_job()
    await plan(ledger, job)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await ledger.advance(Step(job.id, JobState.PENDING, JobState.SUBMITTED))
    assert scope.cancelled_caught
    assert (await ledger.recall([job.id]))[job.id].state is JobState.SUBMITTED


# ------------------------------------------------------------------------------------------------------ durability
WRITER = """
import sys, pathlib, anyio
from fluxbatch.adapters.ledger import SqliteLedger
from fluxbatch.model.job import Step
from fluxbatch.model.state import JobState
from fluxbatch.ports import Disposition, Enlisted
from fluxbatch.testing import make_job

async def main(path):
    ledger = await SqliteLedger(path, kind="live").open()
    jobs = [make_job(n) for n in range(5000)]
    await ledger.enlist("run", [Enlisted(job, Disposition.MAKE) for job in jobs])
    async def take(job):
        await ledger.advance(Step(job.id, JobState.PENDING, JobState.SUBMITTED))
        print(job.id, flush=True)
    for start in range(0, 5000, 10):
        async with anyio.create_task_group() as tasks:
            for job in jobs[start:start + 10]:
                tasks.start_soon(take, job)

anyio.run(main, pathlib.Path(sys.argv[1]))
"""


async def test_what_was_answered_survives_sigkill(path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    said = [child.stdout.readline().strip() for _ in range(37)]
    child.send_signal(signal.SIGKILL)
    rest = child.stdout.read().splitlines()
    said += rest[:-1] if rest and len(rest[-1]) < len(said[0]) else rest
    child.stdout.close()
    child.wait()
    ledger = await SqliteLedger(path, kind="live").open()
    found = {record.job.id for record in await ledger.in_state("submitted", limit=5000)}
    await ledger.close()
    assert set(said) <= found
    assert len(found) < 5000, "the child was to be killed in the middle"


async def test_a_reader_looks_on_while_a_writer_lives(ledger: SqliteLedger, path: Path) -> None:
    await ledger.begin(RunRow("run", 1.0))
    await plan(ledger, make_job())
    await ledger.claim("jobs.yaml", "run")
    reader = await SqliteLedger(path, readonly=True).open()
    assert (await reader.tally()).by_state == {"pending": 1}
    await plan(ledger, make_job(1))
    assert (await reader.tally()).total == 2
    assert await reader.kind() == "live"
    with pytest.raises(StorageError):
        await reader.claim("other.yaml", "run")
    await reader.close()


async def test_a_reader_looks_on_afterwards(ledger: SqliteLedger, path: Path) -> None:
    await plan(ledger, make_job())
    await ledger.close()
    reader = await SqliteLedger(path, readonly=True).open()
    assert len(await reader.in_state("pending")) == 1
    await reader.close()


async def test_a_reader_makes_no_file(path: Path) -> None:
    with pytest.raises(StorageError):
        await SqliteLedger(path, readonly=True).open()
    assert not path.exists()


# ------------------------------------------------------------------------------------------------------- refusals
async def test_kinds_do_not_mix(ledger: SqliteLedger, path: Path) -> None:
    await ledger.close()
    other = SqliteLedger(path, kind="simulated")
    with pytest.raises(UsageError, match="holds live images") as caught:
        await other.open()
    await other.close()
    assert "-o" in caught.value.remedy
    again = await SqliteLedger(path, kind="live").open()
    assert await again.kind() == "live"
    await again.close()


async def test_a_newer_ledger_is_left_alone(ledger: SqliteLedger, path: Path) -> None:
    await ledger.close()
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 99")
    before = path.read_bytes()
    for readonly in (False, True):
        newer = SqliteLedger(path, kind="live", readonly=readonly)
        with pytest.raises(UsageError, match="version 99"):
            await newer.open()
        await newer.close()
    assert path.read_bytes() == before


async def test_what_is_no_database_is_a_storage_error(path: Path) -> None:
    path.write_text("not a database, and long enough to be taken for one " * 50)
    ledger = SqliteLedger(path, kind="live")
    with pytest.raises(StorageError, match="not a database"):
        await ledger.open()
    await ledger.close()


async def test_a_folder_that_is_not_there_is_a_storage_error(tmp_path: Path) -> None:
    ledger = SqliteLedger(tmp_path / "nowhere" / "ledger.sqlite", kind="live")
    with pytest.raises(StorageError):
        await ledger.open()
    await ledger.close()


CAPTURED: Final[dict[str, Any]] = {"capture_output": True, "text": True, "timeout": 50}
FULL = """
import sys, pathlib, resource, signal, anyio
from fluxbatch.adapters.ledger import SqliteLedger
from fluxbatch.errors import StorageError
from fluxbatch.ports import Disposition, Enlisted
from fluxbatch.testing import make_job

async def main(path):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    ledger = await SqliteLedger(path, kind="live").open()
    await ledger.enlist("run", [Enlisted(make_job(n), Disposition.MAKE) for n in range(10)])
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    try:
        for start in range(10, 5000, 100):
            jobs = [Enlisted(make_job(n), Disposition.MAKE) for n in range(start, start + 100)]
            await ledger.enlist("run", jobs)
            print(len(jobs), flush=True)
    except StorageError as error:
        print("storage", error.exit_code, bool(error.remedy), flush=True)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    await ledger.enlist("run", [Enlisted(make_job(9999), Disposition.MAKE)])
    await ledger.close()

anyio.run(main, pathlib.Path(sys.argv[1]))
"""


async def test_a_full_disk_is_a_storage_error_and_passes(path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FULL, str(path)], check=False, **CAPTURED)
    *pages, last = done.stdout.splitlines()
    assert (done.returncode, done.stderr, last) == (0, "", "storage 3 True")
    ledger = await SqliteLedger(path, kind="live").open()
    found = await ledger.in_state("pending", limit=9000)
    await ledger.close()
    # all of a page that was answered, nothing of the one that was not, and what came once there was room again
    assert len(found) == 10 + sum(map(int, pages)) + 1


async def test_closing_leaves_nothing_open(path: Path) -> None:
    before = len(list(Path("/dev/fd").iterdir()))
    ledger = await SqliteLedger(path, kind="live").open()
    await ledger.close()
    await ledger.close()
    assert len(list(Path("/dev/fd").iterdir())) == before
