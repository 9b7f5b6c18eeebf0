"""Runs every contestant in turn, several times over, and checks what each of them made."""

from __future__ import annotations

import itertools
import os
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

from benchmarks.measure import RunFailed, measure
from benchmarks.serving import serving
from benchmarks.workloads import START_UP

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from benchmarks.contestants import Contestant
    from benchmarks.measure import Usage
    from benchmarks.peers.task import Task
    from benchmarks.photos import Photos
    from benchmarks.serving import Counts, Server
    from benchmarks.workloads import Workload

_KEY: Final = "sk-bench-0123456789abcdef"
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
    image: Path
    tell: Callable[[str], None]
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def new_folder(self) -> Path:
        made = self.folder / f"run-{next(self.numbers)}"
        made.mkdir()
        return made


def compete(contestants: Sequence[Contestant], workload: Workload, rounds: int, ground: Ground) -> Iterator[Run]:
    """Interleaved, in an order that turns: what else the machine does hits all of them alike."""
    with serving(ground.image, workload.latency_ms) as server:
        if workload == START_UP:
            for contestant in contestants:  # unmeasured: byte code and disk caches
                _once(contestant, workload, server, ground)
        for number in range(rounds):
            turn = number % len(contestants)
            for contestant in [*contestants[turn:], *contestants[:turn]]:
                usage, counts = _once(contestant, workload, server, ground)
                ground.tell(f"{workload.name}, round {number + 1}: {contestant.name} {usage.cpu_s:.2f} s CPU")
                yield Run(workload.name, contestant.name, number, usage, counts)


def server_loop(ground: Ground) -> str:
    with serving(ground.image, 0) as server:
        return server.loop


def _once(contestant: Contestant, workload: Workload, server: Server, ground: Ground) -> tuple[Usage, Counts]:
    folder = ground.new_folder()
    out = folder / "out"
    out.mkdir()
    try:
        task = _task(workload, server, out, ground.photos)
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
        _check(task, counts, out, ground.image.read_bytes())
    except RunFailed as failure:
        raise RunFailed(f"{contestant.name}, {workload.name}: {failure}") from None
    finally:
        _empty(folder)
    return usage, counts


def _empty(folder: Path) -> None:
    """Free the space but keep the files: ext4 takes 60 to 300 s to forget deleted ones, and until then making a file
    costs up to a millisecond more, which would be put down to whoever comes next."""
    for path in folder.rglob("*"):
        if path.is_file():
            os.truncate(path, 0)


def _task(workload: Workload, server: Server, out: Path, photos: Photos) -> Task:
    return {
        "base_url": server.base_url,
        "key": _KEY,
        "model": workload.model,
        "slots": workload.slots,
        "out": str(out),
        "jobs": [
            {
                "id": f"job-{number:04}",
                "prompt": _PROMPT.format(number),
                "photos": [
                    str(photos.get(workload.kind, number * workload.photos + place)) for place in range(workload.photos)
                ],
            }
            for number in range(workload.jobs)
        ],
    }


def _check(task: Task, counts: Counts, out: Path, image: bytes) -> None:
    """All images are there, byte for byte, from exactly one request and one download each."""
    jobs = len(task["jobs"])
    if (counts.posts, counts.gets, counts.refused) != (jobs, jobs, 0):
        raise RunFailed(f"{jobs} jobs made {counts.posts} requests, {counts.gets} downloads, {counts.refused} refused")
    for job in task["jobs"]:
        found = list(out.glob(f"{job['id']}.*"))
        if len(found) != 1 or found[0].read_bytes() != image:
            raise RunFailed(f"the image of {job['id']} is missing or damaged")
