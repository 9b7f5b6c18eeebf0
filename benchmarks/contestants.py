"""Who takes part, and how each is told what to do."""

from __future__ import annotations

import base64
import importlib.util
import json
import mimetypes
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from benchmarks.peers.task import input_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from benchmarks.peers.task import Job, Task

OURS: Final = "fluxbatch"


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
    def only_fetches(self) -> bool:
        """It is given the URLs rather than asking for them, and takes part in downloads alone."""
        ...

    def missing(self) -> str:
        """What it runs on and is not installed; it takes no part then."""
        ...

    def version(self) -> str: ...

    def prepare(self, task: Task, folder: Path) -> Prepared:
        """Write its input into ``folder`` and say how to start it. Not measured."""
        ...


@dataclass(frozen=True, slots=True)
class Product:
    """The whole of fluxbatch through its command line: manifest, checks, plan, ledger, fsync, results.

    All options but the ceiling of requests in flight are the defaults. What earlier runs have found out about photos
    and limits is not known to it.
    """

    name: str = OURS
    only_fetches: bool = False
    packages: tuple[str, ...] = ("fluxbatch", "aiohttp", "anyio", "orjson", "pybase64", "pydantic", "structlog")

    def missing(self) -> str:
        return _absent(self.packages)

    def version(self) -> str:
        return _versions(self.packages)

    def prepare(self, task: Task, folder: Path) -> Prepared:
        manifest = folder / "jobs.jsonl"
        with manifest.open("w", encoding="utf-8") as file:
            for job in task["jobs"]:
                row = {"id": job["id"], "model": task["model"], "prompt": job["prompt"], "images": job["photos"]}
                file.write(json.dumps({name: value for name, value in row.items() if value}) + "\n")
        command = [sys.executable, "-m", "fluxbatch", "run", str(manifest), "--out", task["out"], "--yes"]
        command += ["--base-url", task["base_url"], "--concurrency", str(task["slots"])]
        command += ["--ca-file", task["authority"]] if task["authority"] else []
        return Prepared(command, {"FLUXBATCH_API_KEY": task["key"], "XDG_CACHE_HOME": str(folder / "cache")})


@dataclass(frozen=True, slots=True)
class Script:
    """A module of ``benchmarks.peers`` that reads its task from a file, and its requests too where it ``is_fed``."""

    name: str
    packages: tuple[str, ...]
    module: str = ""
    """if not named as it is"""
    is_fed: bool = False
    only_fetches: bool = False

    def missing(self) -> str:
        return _absent(self.packages)

    def version(self) -> str:
        return _versions(self.packages)

    def prepare(self, task: Task, folder: Path) -> Prepared:
        path = folder / "task.json"
        path.write_text(json.dumps(task), encoding="utf-8")
        if self.is_fed:
            with (folder / "requests.jsonl").open("w", encoding="utf-8") as file:
                file.writelines(f"{json.dumps(_request(task, job))}\n" for job in task["jobs"])
        trusted = {"REQUESTS_CA_BUNDLE": task["authority"], "SSL_CERT_FILE": task["authority"]}
        command = [sys.executable, "-m", f"benchmarks.peers.{self.module or self.name}", str(path)]
        return Prepared(command, trusted if task["authority"] else {})


@dataclass(frozen=True, slots=True)
class _Downloader:
    """A program that fetches, given all URLs in one file."""

    name: str
    only_fetches: bool = True

    def missing(self) -> str:
        return "" if shutil.which(self.name) else self.name

    def version(self) -> str:
        return _first_words(self.name)


@dataclass(frozen=True, slots=True)
class Curl(_Downloader):
    name: str = "curl"

    def prepare(self, task: Task, folder: Path) -> Prepared:
        path = folder / "urls.txt"
        lines = [f'url = "{url}"\noutput = "{target}"\n' for url, target in _results(task)]
        path.write_text("".join(lines), encoding="utf-8")
        options = ["--disable", "--fail", "--no-progress-meter", "--parallel", "--parallel-immediate"]
        found = shutil.which(self.name) or self.name
        return Prepared([found, *options, "--parallel-max", str(task["slots"]), "--config", str(path)])


@dataclass(frozen=True, slots=True)
class Aria2(_Downloader):
    name: str = "aria2c"

    def prepare(self, task: Task, folder: Path) -> Prepared:
        path = folder / "urls.txt"
        lines = [f"{url}\n  out={target.name}\n  dir={target.parent}\n" for url, target in _results(task)]
        path.write_text("".join(lines), encoding="utf-8")
        options = ["--no-conf", "--quiet", "--file-allocation=none", f"--max-concurrent-downloads={task['slots']}"]
        found = shutil.which(self.name) or self.name
        return Prepared([found, *options, f"--input-file={path}"])


CONTESTANTS: Final[tuple[Contestant, ...]] = (
    Product(),
    Script("sample", ("requests", "urllib3")),
    Script("openai", ("openai",), module="openai_client"),
    Script("cookbook", ("aiohttp",), is_fed=True),
    Script("floor", ("aiohttp",)),
    Curl(),
    Aria2(),
)
FLOORS: Final = frozenset(one.name for one in CONTESTANTS if one.name == "floor" or one.only_fetches)
"""not peers to be better than: what there is to pay at least"""


def present() -> list[Contestant]:
    """Those whose packages or programs are installed."""
    return [one for one in CONTESTANTS if not one.missing()]


def _absent(packages: Iterable[str]) -> str:
    return ", ".join(package for package in packages if not importlib.util.find_spec(package))


def _versions(packages: Iterable[str]) -> str:
    return ", ".join(f"{package} {metadata.version(package)}" for package in packages)


def _first_words(program: str) -> str:
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True, timeout=30).stdout
    return " ".join([word for word in said.split() if word != "version"][:2])


def _request(task: Task, job: Job) -> dict[str, object]:
    body: dict[str, object] = {"model": task["model"], "prompt": job["prompt"], "metadata": {"id": job["id"]}}
    for number, photo in enumerate(job["photos"], start=1):
        mime = mimetypes.guess_type(photo)[0] or "image/png"
        body[input_name(number)] = f"data:{mime};base64,{base64.b64encode(Path(photo).read_bytes()).decode()}"
    return body


def _results(task: Task) -> list[tuple[str, Path]]:
    origin, out = task["base_url"].removesuffix("/v1"), Path(task["out"])
    return [
        (f"{origin}/results/{number}/sample.jpeg", out / f"{job['id']}.jpg")
        for number, job in enumerate(task["jobs"], start=1)
    ]
