"""A stage for whole runs: the simulator on a thread of its own, and the command line in this process or a child."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import anyio
from anyio.from_thread import start_blocking_portal

from fluxbatch.adapters.ledger import SqliteLedger
from fluxbatch.simulator import Faults, Simulator, SimulatorConfig
from tests.app.warm import warm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from fluxbatch.model.state import JobState

REPO = Path(__file__).parents[2]
PHOTOS = REPO / "jobs" / "photos"
KEY = "sk-a-secret-of-the-tests"


@dataclass
class Ran:
    """A finished command."""

    code: int
    out: str
    err: str

    @property
    def summary(self) -> dict[str, Any]:
        assert self.out, self.err
        return dict(json.loads(self.out))


@dataclass
class Child:
    """A command that is still running."""

    process: subprocess.Popen[bytes]
    stdout: IO[bytes]
    stderr: IO[bytes]

    @property
    def ended(self) -> bool:
        return self.process.poll() is not None

    @property
    def said(self) -> str:
        """All that it wrote to stderr so far."""
        return _read(self.stderr)

    def kill(self) -> None:
        """SIGKILL, while it runs: one that has ended by itself is no trial of anything."""
        assert not self.ended, self.said
        self.process.kill()
        self.process.wait()

    def finish(self, *, seconds: float = 60) -> Ran:
        code = self.process.wait(timeout=seconds)
        return Ran(code, _read(self.stdout), self.said)


def _read(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()


@dataclass
class Api:
    """A simulator that answers while the test's own thread works."""

    sim: Simulator
    data: Path
    env: dict[str, str] = field(default_factory=dict)
    via: tuple[str, ...] = ()
    """a command that the runs are started by"""

    @property
    def environment(self) -> dict[str, str]:
        return {"FLUXBATCH_API_KEY": KEY, "FLUXBATCH_BASE_URL": self.sim.base_url, **self.env}

    def served(self, result: str) -> bytes:
        """The bytes that were served for a call."""
        return (self.data / "results" / result.replace("/", "-")).read_bytes()

    def run(self, *args: object, cwd: Path, timeout: float = 60) -> Ran:
        return run_command("run", *args, cwd=cwd, env=self.environment, timeout=timeout, via=self.via)

    def start(self, *args: object, cwd: Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command("run", *args),
            cwd=cwd,
            env={**os.environ, **self.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    @contextmanager
    def running(self, *args: object, cwd: Path) -> Iterator[Child]:
        """The same for a test that watches it: what it says goes to files, and it never outlives the test."""
        with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
            process = subprocess.Popen(
                [*self.via, *command("run", *args)],
                cwd=cwd,
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
            )
            try:
                yield Child(process, stdout, stderr)
            finally:
                process.kill()
                process.wait()

    def billed(self) -> Counter[str]:
        """How often each job was billed; each has a prompt of its own."""
        return Counter(call.prompt_sha256 for call in self.sim.calls)

    def settle(self) -> None:
        """Wait for requests whose client is gone: they are billed all the same."""
        wait_for(lambda: self.sim.in_flight == 0)


def command(*args: object) -> list[str]:
    return [sys.executable, "-m", "fluxbatch", *map(str, args)]


def run_command(
    *args: object, cwd: Path, env: dict[str, str] | None = None, timeout: float = 60, via: Sequence[str] = ()
) -> Ran:
    """The command line in a process of its own, without a terminal; ``via`` a command, in one that is begun anew."""
    environment = {**os.environ, **(env or {})}
    if via:
        done = subprocess.run(
            [*via, *command(*args)],
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    else:
        done = warm().run([*map(str, args)], cwd=cwd, env=environment, timeout=timeout)
    return Ran(done.returncode, done.stdout, done.stderr)


@contextmanager
def serving(
    data: Path,
    *,
    faults: Faults | None = None,
    listener: Callable[[dict[str, Any]], None] | None = None,
    **config: Any,
) -> Iterator[Api]:
    """A simulator on a thread; quick and plain unless told otherwise."""
    settings: dict[str, Any] = {"api_key": KEY, "latency_s": 0.02, "render": "plain", "data": data, **config}
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(
            Simulator(SimulatorConfig(**settings), faults=faults, listener=listener)
        ) as sim,
    ):
        yield Api(sim, data)


AUDITED = """
import runpy, sys
def note(event, arguments):
    if event == "open" and str(arguments[0]).endswith((".png", ".jpg")):
        print(arguments[0], file=sys.stderr)
sys.addaudithook(note)
sys.argv[0] = "fluxbatch"
runpy.run_module("fluxbatch", run_name="__main__")
"""


def opened(*args: object, cwd: Path) -> Ran:
    """A command that tells on stderr which photos and images it opens."""
    words = [sys.executable, "-c", AUDITED, *map(str, args)]
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)
    return Ran(done.returncode, done.stdout, done.stderr)


def results(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]


def events(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / ".fluxbatch" / "events.jsonl").read_text().splitlines()]


def sha256(data: bytes | Path) -> str:
    return hashlib.sha256(data if isinstance(data, bytes) else data.read_bytes()).hexdigest()


def jobs_into(folder: Path) -> Path:
    """A copy of the examples, without the images that somebody has made of them."""
    return Path(shutil.copytree(REPO / "jobs", folder, ignore=shutil.ignore_patterns("*-out", "*-out-simulated")))


def photos_into(folder: Path, *names: str) -> Path:
    """Copies of the real photos; all of them without names."""
    folder.mkdir(parents=True, exist_ok=True)
    for photo in PHOTOS.iterdir():
        if photo.suffix != ".md" and (not names or photo.name in names):
            shutil.copy(photo, folder / photo.name)
    return folder


def leftovers(out: Path) -> list[str]:
    """Temporary files that a run left behind."""
    landing = out / ".fluxbatch" / "landing"
    beside = [path.name for path in out.rglob("*") if path.suffix in {".part", ".new", ".image", ".tmp"}]
    return beside + [path.name for path in landing.iterdir()]


def wait_for(condition: Callable[[], bool], *, seconds: float = 30) -> None:
    """Until something that a process does has happened; fails if it never does."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def check_bills(api: Api, lines: Sequence[dict[str, Any]]) -> None:
    """The account against the truth, job by job: what was surely and maybe billed frames what was, and is capped."""
    billed = api.billed()
    for line in lines:
        times = billed.pop(sha256(line["prompt"].encode()), 0)
        assert line["charged"] <= times <= line["charged"] + line["unknown_charges"] <= 2, (times, line)
    assert not billed, "billed for what no manifest asks for"


def check_stored(api: Api, out: Path, lines: Sequence[dict[str, Any]]) -> None:
    """Each stored image is, byte for byte, what was served for its last request."""
    calls = {call.request_id: call for call in api.sim.calls}
    for line in lines:
        if line["status"] == "stored":
            assert (out / line["file"]).read_bytes() == api.served(calls[line["request_id"]].result)


def check_folder(out: Path) -> None:
    """Nothing half is left, and the ledger is sound."""
    assert leftovers(out) == [], leftovers(out)
    with ledger_as_left(out) as path, closing(sqlite3.connect(path)) as ledger:
        assert ledger.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@contextmanager
def ledger_as_left(out: Path) -> Iterator[Path]:
    """A copy to look into: the next run must find the ledger as the last one left it."""
    with tempfile.TemporaryDirectory() as folder:
        for part in (out / ".fluxbatch").glob("ledger.sqlite*"):
            shutil.copy(part, folder)
        yield Path(folder) / "ledger.sqlite"


def jobs_in_state(out: Path, state: JobState) -> list[str]:
    """What the ledger of a run that died says."""

    async def look(path: Path) -> list[str]:
        ledger = SqliteLedger(path)
        try:
            return [record.job.id for record in await ledger.in_state(state)]
        finally:
            await ledger.close()

    with ledger_as_left(out) as path:
        return anyio.run(look, path)


def names_of(out: Path, event: str) -> list[str]:
    """The jobs that an event was about, so far."""
    path = out / ".fluxbatch" / "events.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    found = [json.loads(line) for line in lines if line.endswith("}")]
    return [one["job_id"] for one in found if one["event"] == event]


def write_rows(
    path: Path, count: int, *, prefix: str = "job", models: Sequence[str] = ("flux-2-klein-4b",), **fields: object
) -> Path:
    """A manifest of small jobs, for these models in turn."""
    rows = [
        {"id": f"{prefix}-{n:03}", "prompt": f"Number {n}", "model": models[n % len(models)], **fields}
        for n in range(count)
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path
