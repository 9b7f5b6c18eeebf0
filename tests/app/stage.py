"""A stage for whole runs: the simulator on a thread of its own, and the command line in this process or a child."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anyio.from_thread import start_blocking_portal

from fluxbatch.simulator import Faults, Simulator, SimulatorConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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
        return dict(json.loads(self.out))


@dataclass
class Api:
    """A simulator that answers while the test's own thread works."""

    sim: Simulator
    data: Path
    env: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        return {"FLUXBATCH_API_KEY": KEY, "FLUXBATCH_BASE_URL": self.sim.base_url, **self.env}

    def served(self, result: str) -> bytes:
        """The bytes that were served for a call."""
        return (self.data / "results" / result.replace("/", "-")).read_bytes()

    def run(self, *args: object, cwd: Path, timeout: float = 60) -> Ran:
        return run_command("run", *args, cwd=cwd, env=self.environment, timeout=timeout)

    def start(self, *args: object, cwd: Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command("run", *args),
            cwd=cwd,
            env={**os.environ, **self.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )


def command(*args: object) -> list[str]:
    return [sys.executable, "-m", "fluxbatch", *map(str, args)]


def run_command(*args: object, cwd: Path, env: dict[str, str] | None = None, timeout: float = 60) -> Ran:
    """The command line in a child process, without a terminal."""
    done = subprocess.run(
        command(*args),
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


@contextmanager
def serving(data: Path, *, faults: Faults | None = None, **config: Any) -> Iterator[Api]:
    """A simulator on a thread; quick and plain unless told otherwise."""
    settings: dict[str, Any] = {"api_key": KEY, "latency_s": 0.02, "render": "plain", "data": data, **config}
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(Simulator(SimulatorConfig(**settings), faults=faults)) as sim,
    ):
        yield Api(sim, data)


def results(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]


def events(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / ".fluxbatch" / "events.jsonl").read_text().splitlines()]


def sha256(data: bytes | Path) -> str:
    return hashlib.sha256(data if isinstance(data, bytes) else data.read_bytes()).hexdigest()


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


def names_of(out: Path, event: str) -> list[str]:
    """The jobs that an event was about, so far."""
    path = out / ".fluxbatch" / "events.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    found = [json.loads(line) for line in lines if line.endswith("}")]
    return [one["job_id"] for one in found if one["event"] == event]


def write_rows(path: Path, count: int, **fields: object) -> Path:
    """A manifest of small jobs."""
    rows = [{"id": f"job-{n:03}", "prompt": f"Number {n}", "model": "flux-2-klein-4b", **fields} for n in range(count)]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path
