"""Runs every contestant in turn, several times over, and checks what each of them made."""

from __future__ import annotations

import itertools
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.contestants import OURS
from benchmarks.measure import RunFailed, measure
from benchmarks.serving import serving
from benchmarks.workloads import START_UP

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.certificates import Certificates
    from benchmarks.contestants import Contestant
    from benchmarks.measure import Usage
    from benchmarks.peers.task import Task
    from benchmarks.photos import Images, Photos
    from benchmarks.serving import Counts, Server
    from benchmarks.workloads import Workload

KEY: Final = "sk-bench-0123456789abcdef"
_PROMPT: Final = "A product on a beach at golden hour, shot from above, soft shadows, number {}"


@dataclass(frozen=True, slots=True)
class Run:
    """One contestant, once."""

    workload: str
    contestant: str
    round: int
    usage: Usage
    server: Counts

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Ground:
    """Where runs take place; ``tree`` holds the code that is measured."""

    folder: Path
    tree: Path
    photos: Photos
    images: Images
    certificates: Certificates | None
    tell: Callable[[str], None]
    numbers: Iterator[int] = field(default_factory=itertools.count)
    failed: list[str] = field(default_factory=list)
    """peers that are out of a workload"""

    def new_folder(self) -> Path:
        made = self.folder / f"run-{next(self.numbers)}"
        made.mkdir()
        return made


def compete(contestants: Sequence[Contestant], workload: Workload, rounds: int, ground: Ground) -> Iterator[Run]:
    """Interleaved, in an order that turns: what else the machine does hits all of them alike.

    A peer that fails is out of this workload.

    Raises:
        RunFailed: fluxbatch failed.
    """
    image = ground.images.get(workload.image)
    contestants = [one for one in contestants if workload.group == "downloads" or not one.only_fetches]
    out: set[str] = set()
    with serving(image, workload.latency_ms, ground.certificates if workload.tls else None) as server:
        if workload == START_UP:
            for contestant in contestants:  # unmeasured: byte code and disk caches
                once(contestant, workload, server, ground)
        for number in range(rounds):
            turn = number % len(contestants)
            for contestant in [*contestants[turn:], *contestants[:turn]]:
                if contestant.name in out:
                    continue
                try:
                    usage, counts = once(contestant, workload, server, ground)
                except RunFailed as failure:
                    if contestant.name == OURS:
                        raise
                    out.add(contestant.name)
                    ground.failed.append(f"{contestant.name} at {workload.name}")
                    ground.tell(f"{contestant.name} is out of {workload.name}: {failure}")
                    continue
                ground.tell(f"{workload.name}, round {number + 1}: {contestant.name} {usage.cpu_s:.2f} s CPU")
                yield Run(workload.name, contestant.name, number, usage, counts)


def once(contestant: Contestant, workload: Workload, server: Server, ground: Ground) -> tuple[Usage, Counts]:
    """One measured run, whose images are checked.

    Raises:
        RunFailed: it failed, or did not make what it was asked for.
    """
    folder = ground.new_folder()
    out = folder / "out"
    out.mkdir()
    try:
        task = task_of(workload, server, out, ground.photos)
        prepared = contestant.prepare(task, folder)
        before = server.counts()
        usage = measure(
            prepared.command,
            tree=ground.tree,
            folder=folder,
            environment=prepared.environment,
            seconds=workload.seconds,
        )
        counts = server.counts().since(before)
        check(task, counts, ground.images.get(workload.image), posts=0 if contestant.only_fetches else workload.jobs)
    except RunFailed as failure:
        raise RunFailed(f"{contestant.name}, {workload.name}: {failure}") from None
    finally:
        empty(folder)
    return usage, counts


def empty(folder: Path) -> None:
    """Free the space but keep the files: ext4 takes 60 to 300 s to forget deleted ones, and until then making a file
    costs up to a millisecond more, which would be put down to whoever comes next."""
    for path in folder.rglob("*"):
        if path.is_file():
            os.truncate(path, 0)


def task_of(workload: Workload, server: Server, out: Path, photos: Photos) -> Task:
    return {
        "base_url": server.base_url,
        "authority": str(server.authority or ""),
        "key": KEY,
        "model": workload.model,
        "slots": workload.slots,
        "out": str(out),
        "jobs": [
            {
                "id": f"job-{number:05}",
                "prompt": _PROMPT.format(number),
                "photos": [
                    str(photos.get(workload.kind, number * workload.photos + place)) for place in range(workload.photos)
                ],
            }
            for number in range(workload.jobs)
        ],
    }


def check(task: Task, counts: Counts, image: Path, *, posts: int) -> None:
    """All images are there, byte for byte, from exactly one request and one download each."""
    jobs = len(task["jobs"])
    if (counts.posts, counts.gets, counts.refused) != (posts, jobs, 0):
        raise RunFailed(f"{jobs} jobs made {counts.posts} requests, {counts.gets} downloads, {counts.refused} refused")
    whole = image.read_bytes()
    names: dict[str, list[str]] = {}
    for path in Path(task["out"]).iterdir():
        names.setdefault(path.name.partition(".")[0], []).append(path.name)
    for job in task["jobs"]:
        found = names.get(job["id"], [])
        if len(found) != 1 or not _holds(f"{task['out']}/{found[0]}", whole):
            raise RunFailed(f"the image of {job['id']} is missing or damaged")


def _holds(path: str, whole: bytes) -> bool:
    with open(path, "rb") as file:  # noqa: PTH123  # one of tens of thousands
        return file.read() == whole
