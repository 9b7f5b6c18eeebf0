"""Who takes part, and how each is told what to do."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from benchmarks.peers.task import Task

OURS: Final = "fluxbatch"
FLOOR: Final = "floor"
"""not a peer to be better than: what there is to pay at least"""


@dataclass(frozen=True, slots=True)
class Prepared:
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)


class Contestant(Protocol):
    """One way to make the images of a task, in a process of its own.

    It fails loudly (exit code) unless all images are in the task's ``out``, named after their jobs.
    """

    @property
    def name(self) -> str: ...

    @property
    def packages(self) -> tuple[str, ...]:
        """What it runs on; it takes no part where one of them is missing."""
        ...

    def prepare(self, task: Task, folder: Path) -> Prepared:
        """Write its input into ``folder`` and say how to start it. Not measured."""
        ...


@dataclass(frozen=True, slots=True)
class Product:
    """The whole of fluxbatch through its command line: manifest, checks, plan, ledger, fsync, results.

    All options but the ceiling of requests in flight are the defaults.
    """

    name: str = OURS
    packages: tuple[str, ...] = ("fluxbatch", "aiohttp", "anyio", "orjson", "pybase64", "pydantic", "structlog")

    def prepare(self, task: Task, folder: Path) -> Prepared:
        manifest = folder / "jobs.jsonl"
        with manifest.open("w", encoding="utf-8") as file:
            for job in task["jobs"]:
                row = {"id": job["id"], "model": task["model"], "prompt": job["prompt"], "images": job["photos"]}
                file.write(json.dumps({name: value for name, value in row.items() if value}) + "\n")
        command = [sys.executable, "-m", "fluxbatch", "run", str(manifest), "--out", task["out"], "--yes"]
        command += ["--base-url", task["base_url"], "--concurrency", str(task["slots"])]
        return Prepared(command, {"FLUXBATCH_API_KEY": task["key"]})


@dataclass(frozen=True, slots=True)
class Script:
    """A module of ``benchmarks.peers`` that reads its task from a file."""

    name: str
    packages: tuple[str, ...]

    def prepare(self, task: Task, folder: Path) -> Prepared:
        path = folder / "task.json"
        path.write_text(json.dumps(task), encoding="utf-8")
        return Prepared([sys.executable, "-m", f"benchmarks.peers.{self.name}", str(path)])


CONTESTANTS: Final[tuple[Contestant, ...]] = (
    Product(),
    Script("sample", ("requests", "urllib3")),
    Script(FLOOR, ("aiohttp",)),
)


def present() -> list[Contestant]:
    """Those whose packages are installed."""
    return [one for one in CONTESTANTS if all(importlib.util.find_spec(package) for package in one.packages)]
