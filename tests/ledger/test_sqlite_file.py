"""The ledger's file: who may read it, what it forgets, what survives, and what it says when it can't go on."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio
import orjson
import pytest

from fluxbatch.adapters.ledger import SqliteLedger, schema, writes
from fluxbatch.adapters.ledger.thread import CommitThread, Together
from fluxbatch.errors import StepRefused, StorageError, UsageError
from fluxbatch.model.job import JobOutput, Lease, Photo, Step, Stored
from fluxbatch.model.state import Charge, JobState
from fluxbatch.ports import Disposition, Enlisted, RunRow
from fluxbatch.testing import make_job

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

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


async def test_values_at_a_time_share_statements(path: Path) -> None:
    said: list[str] = []

    def connect() -> sqlite3.Connection:
        db = sqlite3.connect(path, isolation_level=None)
        db.execute("CREATE TABLE t (n PRIMARY KEY)")
        db.set_trace_callback(said.append)
        return db

    def write(db: sqlite3.Connection, numbers: Sequence[int]) -> None:
        try:
            db.execute(f"INSERT INTO t VALUES {', '.join(['(?)'] * len(numbers))}", numbers).close()
        except sqlite3.IntegrityError as error:
            raise StepRefused("there already") from error

    thread, together = CommitThread(connect), Together(write, 8)
    refused: list[int] = []

    async def insert(number: int) -> None:
        try:
            await thread.take(together, number)
        except StepRefused:
            refused.append(number)

    await insert(7)
    assert not [statement for statement in said if "BEGIN" in statement], "one statement is a transaction of its own"
    async with anyio.create_task_group() as tasks:
        for number in range(100, 500):
            tasks.start_soon(insert, number)
    assert sum(statement.startswith("INSERT") for statement in said) < 100
    async with anyio.create_task_group() as tasks:
        for number in range(40):
            tasks.start_soon(insert, number)
    rows = await thread.call(lambda db: db.execute("SELECT n FROM t ORDER BY n").fetchall())
    await anyio.to_thread.run_sync(thread.close)
    assert refused == [7], "an error is for who made it"
    assert [row[0] for row in rows] == [*range(40), *range(100, 500)]


async def test_steps_of_a_job_are_taken_in_order(ledger: SqliteLedger) -> None:
    """Also if they are asked for before the first one is on disk, and so in one statement."""
    jobs = [make_job(n) for n in range(40)]
    await plan(ledger, *jobs)
    async with anyio.create_task_group() as tasks:
        for job in jobs:
            tasks.start_soon(ledger.advance, Step(job.id, JobState.PENDING, JobState.SUBMITTED))
            step = Step(job.id, JobState.SUBMITTED, JobState.GENERATED, charge=Charge.CHARGED, usd=0.25, lease=LEASE)
            tasks.start_soon(ledger.advance, step)
    found = await ledger.recall([job.id for job in jobs])
    assert {(record.state, record.charged, record.lease) for record in found.values()} == {
        (JobState.GENERATED, 1, LEASE)
    }
    assert (await ledger.tally("run")).cost_usd == 10.0


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


# ----------------------------------------------------------------------------------------------- earlier versions
# as version 1 made it
VERSION_1: Final = """
CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE runs (
    id TEXT PRIMARY KEY, started_at REAL NOT NULL, ended_at REAL, summary BLOB
);
CREATE TABLE manifests (
    name TEXT PRIMARY KEY, ordinal INTEGER NOT NULL, run_id TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE jobs (
    id TEXT PRIMARY KEY,
    manifest TEXT NOT NULL, position INTEGER NOT NULL, run_id TEXT NOT NULL, selected INTEGER NOT NULL,
    state TEXT NOT NULL, model TEXT NOT NULL, fingerprint TEXT NOT NULL, job BLOB NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    charged INTEGER NOT NULL DEFAULT 0, unknown INTEGER NOT NULL DEFAULT 0, lost INTEGER NOT NULL DEFAULT 0,
    pardoned INTEGER NOT NULL DEFAULT 0,
    cost_usd REAL NOT NULL DEFAULT 0, unknown_usd REAL NOT NULL DEFAULT 0,
    lease_url TEXT, lease_deadline REAL, lease_granted_at REAL,
    request_id TEXT NOT NULL DEFAULT '',
    stored BLOB, stored_by TEXT NOT NULL DEFAULT '',
    failure BLOB, reason TEXT
);
CREATE INDEX jobs_in_order ON jobs (run_id, state, model, position);
CREATE INDEX jobs_of_manifest ON jobs (manifest, run_id, position);
CREATE INDEX jobs_under_way ON jobs (state, id) WHERE state IN ('submitted', 'generated');
PRAGMA user_version = 1;
"""
ACCOUNT: Final = {"stored": 1, "cost_usd": 0.25, "unknown_usd": 0.5}


def write_version_1(path: Path, *, summary: bytes) -> PlannedJob:
    """A job that was paid for, of a run that ended before one that was killed."""
    job = make_job()
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("PRAGMA journal_mode = WAL")
        db.executescript(VERSION_1)
        db.execute("INSERT INTO about VALUES ('kind', 'live')")
        db.execute("INSERT INTO runs VALUES ('killed', 3.0, NULL, NULL)")
        db.execute("INSERT INTO runs VALUES ('ended', 1.0, 2.0, ?)", (summary,))
        db.execute("INSERT INTO manifests VALUES ('jobs.yaml', 1, 'ended')")
        db.execute(
            "INSERT INTO jobs (id, manifest, position, run_id, selected, state, model, fingerprint, job, charged,"
            " cost_usd) VALUES (?, 'jobs.yaml', 0, 'ended', 1, 'pending', ?, ?, ?, 1, 0.25)",
            (job.id, job.model, job.fingerprint, orjson.dumps(job)),
        )
    return job


def layout(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    with closing(sqlite3.connect(path)) as db:
        names = [row[0] for row in db.execute("SELECT name FROM sqlite_master ORDER BY name")]
        found = {name: db.execute(f"PRAGMA table_info({name})").fetchall() for name in names}
        found["indexes"] = db.execute("SELECT sql FROM sqlite_master WHERE type = 'index' ORDER BY name").fetchall()
        return found | {"user_version": db.execute("PRAGMA user_version").fetchall()}


async def test_a_ledger_of_version_1_is_brought_up(path: Path, tmp_path: Path) -> None:
    job = write_version_1(path, summary=orjson.dumps(ACCOUNT))
    ledger = await SqliteLedger(path, kind="live").open()
    assert await ledger.last_run() == RunRow("ended", 1.0, 2.0, ACCOUNT, spent_usd=0.75)
    assert (await ledger.recall([job.id]))[job.id].cost_usd == 0.25
    # what version 1 could not do
    await ledger.begin(RunRow("next", 4.0, carried_usd=0.75))
    await ledger.enlist("next", [Enlisted(replace(job, fingerprint="another"), Disposition.MAKE)])
    await grant(ledger, job)
    assert (await ledger.tally("next")).charged == 2
    assert await ledger.last_run() == RunRow("next", 4.0, carried_usd=0.75, spent_usd=0.03)
    await ledger.close()
    new = tmp_path / "new.sqlite"
    await (await SqliteLedger(new, kind="live").open()).close()
    assert layout(path) == layout(new)
    assert path.stat().st_mode & 0o777 == 0o644, "a mode that its owner chose stays"


@pytest.mark.parametrize("summary", [b"", b"{torn", b"[1]", b'{"cost_usd": null}'])
async def test_a_summary_that_can_not_be_read_stops_no_one(path: Path, summary: bytes) -> None:
    write_version_1(path, summary=summary)
    reader = await SqliteLedger(path, readonly=True).open()
    assert (await reader.tally()).total == 1
    await reader.close()
    await (await SqliteLedger(path, kind="live").open()).close()
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT id, spent_usd FROM runs").fetchall() == [("killed", 0.0), ("ended", 0.0)]


async def test_bringing_up_is_all_or_nothing(path: Path) -> None:
    write_version_1(path, summary=orjson.dumps(ACCOUNT))
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE former (id TEXT)")  # in the way of the last statement
    before = layout(path)
    ledger = SqliteLedger(path, kind="live")
    with pytest.raises(StorageError, match="former"):
        await ledger.open()
    await ledger.close()
    assert layout(path) == before


async def test_a_reader_looks_at_a_ledger_of_version_1(path: Path) -> None:
    job = write_version_1(path, summary=orjson.dumps(ACCOUNT))
    before = path.read_bytes()
    reader = await SqliteLedger(path, readonly=True).open()
    assert await reader.kind() == "live"
    assert await reader.last_run() == RunRow("ended", 1.0, 2.0, ACCOUNT, spent_usd=0.75)
    assert (await reader.tally()).cost_usd == (await reader.tally("ended")).cost_usd == 0.25
    assert [record.job async for record in reader.rows()] == [job]
    await reader.close()
    assert path.read_bytes() == before


# as version 2 made it
VERSION_2: Final = VERSION_1.replace(
    "summary BLOB\n", "summary BLOB,\n    carried_usd REAL NOT NULL DEFAULT 0, spent_usd REAL NOT NULL DEFAULT 0\n"
).replace(
    "PRAGMA user_version = 1",
    """
CREATE TABLE former (
    id TEXT NOT NULL, fingerprint TEXT NOT NULL,
    charged INTEGER NOT NULL, unknown INTEGER NOT NULL, lost INTEGER NOT NULL, pardoned INTEGER NOT NULL,
    cost_usd REAL NOT NULL, unknown_usd REAL NOT NULL,
    PRIMARY KEY (id, fingerprint)
) WITHOUT ROWID;
PRAGMA user_version = 2""",
)
PHOTO: Final = Photo("a.jpg", "/p/a.jpg", "image/jpeg", 9, 8, 7, 64, 65, "d1")


def write_version_2(path: Path) -> list[PlannedJob]:
    """A job that was stored, with a photo, and one that is pending."""
    jobs = [make_job(0, images=(PHOTO,)), make_job(1)]
    stored = {"file": "a.png", "sha256": "00", "bytes": 1, "width": 8, "height": 8, "mtime_ns": 5, "url_age_s": 1.5}
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("PRAGMA journal_mode = WAL")
        db.executescript(VERSION_2)
        db.execute("INSERT INTO about VALUES ('kind', 'live')")
        db.execute("INSERT INTO runs VALUES ('ended', 1.0, 2.0, NULL, 0.5, 0.25)")
        db.execute("INSERT INTO manifests VALUES ('jobs.yaml', 1, 'ended')")
        for job, state, image in zip(jobs, ("stored", "pending"), (orjson.dumps(stored), None), strict=True):
            facts = orjson.loads(orjson.dumps(job))
            for photo in facts["images"]:
                del photo["fitting"]
            db.execute(
                "INSERT INTO jobs (id, manifest, position, run_id, selected, state, model, fingerprint, job, stored)"
                " VALUES (?, 'jobs.yaml', ?, 'ended', 1, ?, ?, ?, ?, ?)",
                (job.id, job.position, state, job.model, job.fingerprint, orjson.dumps(facts), image),
            )
        db.execute("INSERT INTO former VALUES (?, 'another', 1, 0, 1, 0, 0.25, 0.0)", (jobs[1].id,))
    return jobs


async def test_a_ledger_of_version_2_is_brought_up(path: Path, tmp_path: Path) -> None:
    jobs = write_version_2(path)
    ledger = await SqliteLedger(path, kind="live").open()
    assert [record.job async for record in ledger.rows()] == jobs
    assert await ledger.last_run() == RunRow("ended", 1.0, 2.0, None, 0.5, 0.25)
    assert [record.job for record in await ledger.pending("ended", jobs[1].model, -1, 9)] == jobs[1:]
    # what version 2 could not do
    link = make_job(2, images=(JobOutput(jobs[1].id),))
    await ledger.enlist("ended", [Enlisted(link, Disposition.MAKE, waits=True)])
    await grant(ledger, jobs[1])
    stored = Stored("b.png", "00", 1, 8, 8, model=jobs[1].model, seed=1)
    await ledger.advance(Step(jobs[1].id, JobState.GENERATED, JobState.STORED, stored=stored))
    assert [record.job for record in await ledger.freed("ended", link.model, 9)] == [link]
    found = await ledger.recall([job.id for job in jobs])
    assert [record.stored and record.stored.seed for record in found.values()] == [None, 1]
    await ledger.close()
    new = tmp_path / "new.sqlite"
    await (await SqliteLedger(new, kind="live").open()).close()
    assert layout(path) == layout(new)


async def test_a_reader_looks_at_a_ledger_of_version_2(path: Path) -> None:
    jobs = write_version_2(path)
    before = path.read_bytes()
    reader = await SqliteLedger(path, readonly=True).open()
    assert [record.job async for record in reader.rows()] == jobs
    assert await reader.ids() == [job.id for job in jobs]
    assert await reader.pending_models("ended") == {jobs[1].model: 1}
    assert [record.job for record in await reader.pending("ended", jobs[1].model, -1, 9)] == jobs[1:]
    assert (await reader.waiting("ended"), await reader.stranded("ended", -1, 9)) == (0, [])
    tally = await reader.tally("ended")
    assert (tally.by_state, tally.lost) == ({"stored": 1, "pending": 1}, 1)
    await reader.close()
    assert path.read_bytes() == before


# as version 3 made it
VERSION_3: Final = VERSION_2.replace(
    "failure BLOB, reason TEXT\n", "failure BLOB, reason TEXT,\n    wait INTEGER NOT NULL DEFAULT 0\n"
).replace(
    "PRAGMA user_version = 2",
    """
CREATE INDEX jobs_of_file ON jobs (json_extract(CAST(stored AS TEXT), '$.file')) WHERE stored IS NOT NULL;
CREATE INDEX jobs_waiting ON jobs (run_id, position) WHERE wait = 1;
CREATE INDEX jobs_freed ON jobs (run_id, model, position) WHERE wait = 2;
CREATE TABLE needs (id TEXT NOT NULL, upstream TEXT NOT NULL, PRIMARY KEY (id, upstream)) WITHOUT ROWID;
CREATE INDEX needs_of ON needs (upstream, id);
PRAGMA user_version = 3""",
)


def write_version_3(path: Path) -> list[PlannedJob]:
    """A job in each of four states, and one that the run may not send."""
    jobs = [make_job(n) for n in range(5)]
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("PRAGMA journal_mode = WAL")
        db.executescript(VERSION_3)
        db.execute("INSERT INTO about VALUES ('kind', 'live')")
        db.execute("INSERT INTO runs VALUES ('killed', 1.0, NULL, NULL, 0.5, 0.25)")
        for job, state in zip(jobs, ("submitted", "pending", "generated", "failed", "pending"), strict=True):
            db.execute(
                "INSERT INTO jobs (id, manifest, position, run_id, selected, state, model, fingerprint, job)"
                " VALUES (?, 'jobs.yaml', ?, 'killed', ?, ?, ?, ?, ?)",
                (job.id, job.position, job.position < 4, state, job.model, job.fingerprint, orjson.dumps(job)),
            )
    return jobs


async def test_a_ledger_of_version_3_is_brought_up(path: Path, tmp_path: Path) -> None:
    jobs = write_version_3(path)
    ledger = await SqliteLedger(path, kind="live").open()
    assert await ledger.pending_models("killed") == {jobs[1].model: 1}
    assert [record.job for record in await ledger.pending("killed", jobs[1].model, -1, 9)] == jobs[1:2]
    assert [record.job for record in await ledger.in_state("submitted")] == jobs[:1]
    assert [record.job for record in await ledger.in_state("generated")] == jobs[2:3]
    await grant(ledger, jobs[1])
    assert await ledger.pending("killed", jobs[1].model, -1, 9) == []
    await ledger.close()
    new = tmp_path / "new.sqlite"
    await (await SqliteLedger(new, kind="live").open()).close()
    assert layout(path) == layout(new)


async def test_a_reader_looks_at_a_ledger_of_version_3(path: Path) -> None:
    jobs = write_version_3(path)
    before = path.read_bytes()
    reader = await SqliteLedger(path, readonly=True).open()
    assert [record.job for record in await reader.pending("killed", jobs[1].model, -1, 9)] == jobs[1:2]
    assert [record.job for record in await reader.in_state("submitted")] == jobs[:1]
    assert (await reader.tally("killed")).total == 4
    await reader.close()
    assert path.read_bytes() == before


INDEXES: Final = {
    "PENDING": "jobs_in_order (run_id=? AND model=? AND position>?)",
    "PENDING_MODELS": "jobs_in_order (run_id=?)",
    "UNDER_WAY": "jobs_under_way (state=? AND id>?)",
    "FREED": "jobs_freed (run_id=? AND model=?)",
    "WAITING": "jobs_waiting (run_id=?)",
    "STRANDED": "jobs_waiting (run_id=? AND position>?)",
    "FREE": "sqlite_autoindex_jobs_1 (id=?)",
    "IDS": "sqlite_autoindex_jobs_1 (id>?)",
}


@pytest.mark.parametrize(("name", "index"), INDEXES.items())
async def test_what_is_asked_for_costs_no_search(ledger: SqliteLedger, path: Path, name: str, index: str) -> None:
    """What a run asks as it begins, and with each image, goes by an index of just that, however many rows there are."""
    await ledger.close()
    statement = getattr(schema, name, None) or getattr(writes, name)
    values = {"id": "x"} if ":id" in statement else ["x"] * statement.count("?")
    with closing(sqlite3.connect(path)) as db:
        plan = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {statement}", values)]
    assert any(line.endswith(f"INDEX {index}") for line in plan), plan
    assert not [line for line in plan if line.startswith("SCAN")], plan
    assert name == "PENDING_MODELS" or not [line for line in plan if "TEMP B-TREE" in line], plan


# ------------------------------------------------------------------------------------- a file that others lay hands on
async def take_all(ledger: SqliteLedger, *jobs: PlannedJob) -> list[StorageError]:
    """Take steps at the same time; the errors."""
    errors: list[StorageError] = []

    async def take(job: PlannedJob) -> None:
        try:
            await ledger.advance(Step(job.id, JobState.PENDING, JobState.SUBMITTED))
        except StorageError as error:
            errors.append(error)

    async with anyio.create_task_group() as tasks:
        for job in jobs:
            tasks.start_soon(take, job)
    return errors


@pytest.mark.parametrize("how", ["file", "folder", "everything", "swapped"])
async def test_a_ledger_that_was_taken_away_takes_no_step(ledger: SqliteLedger, path: Path, how: str) -> None:
    jobs = [make_job(n) for n in range(5)]
    await plan(ledger, *jobs)
    assert await take_all(ledger, jobs[0]) == []
    if how == "file":
        path.unlink()
    elif how == "folder":
        path.parent.rename(path.parent.with_name("elsewhere"))
    elif how == "everything":
        shutil.rmtree(path.parent.parent)
        path.parent.parent.touch()  # not even a folder
    else:
        shutil.copyfile(path, path.with_name("copy"))
        path.with_name("copy").replace(path)
    errors = await take_all(ledger, *jobs[1:])
    assert len(errors) == 4
    assert all(str(path) in error.message and error.remedy for error in errors)
    # what is asked without writing is still answered, so that the run can say how far it came
    found = await ledger.recall([job.id for job in jobs])
    assert [record.state for record in found.values()] == [JobState.SUBMITTED, *[JobState.PENDING] * 4]


async def test_a_ledger_that_came_back_goes_on(ledger: SqliteLedger, path: Path) -> None:
    jobs = [make_job(n) for n in range(3)]
    await plan(ledger, *jobs)
    away = path.parent.with_name("elsewhere")
    path.parent.rename(away)
    assert len(await take_all(ledger, *jobs[:2])) == 2
    away.rename(path.parent)
    assert await take_all(ledger, *jobs) == []
    await ledger.close()
    again = await SqliteLedger(path, kind="live").open()
    assert len(await again.in_state("submitted")) == 3
    await again.close()


async def test_a_ledger_that_was_swapped_is_not_harmed_by_the_end(ledger: SqliteLedger, path: Path) -> None:
    await plan(ledger, make_job())
    for file in files(path):
        file.unlink()
    other = await SqliteLedger(path, kind="live").open()
    await plan(other, make_job(1))
    await ledger.close()
    assert list(await other.recall([make_job(1).id])) == [make_job(1).id]
    assert await take_all(other, make_job(1)) == []
    await other.close()
    again = await SqliteLedger(path, kind="live").open()
    assert len(await again.in_state("submitted")) == 1
    await again.close()


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
