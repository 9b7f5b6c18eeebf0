"""A catalogue planned, and a folder looked at again in which nothing has changed.

The floor is a loop that reads the same table and writes down what is to be sent: no types, no checks, no ledger, no
reasons.
"""

from __future__ import annotations

import csv
import shutil
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

from benchmarks.figures import MB, Spread
from benchmarks.measure import RunFailed, Usage, measure
from benchmarks.rounds import KEY
from benchmarks.serving import serving
from benchmarks.tables import Section, shown

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchmarks.rounds import Ground
    from benchmarks.workloads import Extent

_SCENES: Final = ("beach", "studio", "kitchen", "garden")
_SECONDS: Final = 1800
_MANIFEST: Final = """\
out: out
catalog:
  rows: products.csv
  where: "stock | int > 0"
  matrix: {{scene: [{scenes}]}}
  id: "{{{{ sku }}}}-{{{{ scene }}}}"
  prompt: "Place the {{{{ name }}}} from image 1 into the {{{{ scene }}}} of image 2"
  images: [product.jpg, "{{{{ scene }}}}.jpg"]
  meta: {{sku: "{{{{ sku }}}}"}}
"""


@dataclass(frozen=True, slots=True)
class Line:
    what: str
    jobs: int
    cpu_s: Spread
    us_per_job: Spread
    peak_mb: Spread

    @classmethod
    def of(cls, what: str, jobs: int, usages: Sequence[Usage]) -> Line:
        return cls(
            what,
            jobs,
            Spread.of(usage.cpu_s for usage in usages),
            Spread.of(usage.cpu_s / jobs * 1e6 for usage in usages),
            Spread.of(usage.peak_bytes / MB for usage in usages),
        )


def planning(extent: Extent, rounds: int, ground: Ground) -> Section:
    lines = _new(extent.plan_jobs, rounds, ground) + _again(extent.again_jobs, rounds, ground)
    rows = [
        [one.what, f"{one.jobs:,}", shown(one.cpu_s), shown(one.us_per_job, 0), shown(one.peak_mb, 0)] for one in lines
    ]
    head = ["", "jobs", "CPU s", "µs/job", "peak MB"]
    return Section("planning", "planning a catalogue, and looking again", head, rows, list(map(asdict, lines)), words=1)


def _new(jobs: int, rounds: int, ground: Ground) -> list[Line]:
    folder = _catalogue(ground, jobs)
    ours, floor = list[Usage](), list[Usage]()
    for _ in range(rounds):
        ours.append(_measured(_fluxbatch(folder, "plan"), folder, ground))
        floor.append(_measured(["benchmarks.planning_floor", str(folder)], folder, ground))
        ground.tell(f"planning: {jobs} jobs, {ours[-1].cpu_s:.2f} s CPU")
    return [Line.of("fluxbatch plan", jobs, ours), Line.of("floor: rows read, requests written", jobs, floor)]


def _again(jobs: int, rounds: int, ground: Ground) -> list[Line]:
    folder = _catalogue(ground, jobs)
    runs, plans = list[Usage](), list[Usage]()
    with serving(ground.images.get("10 KB")) as server:
        run = _fluxbatch(folder, "run", "--yes", "--concurrency", "64", "--base-url", server.base_url)
        _measured(run, folder, ground)
        made = server.counts().posts
        for _ in range(rounds):
            runs.append(_measured(run, folder, ground))
            plans.append(_measured(_fluxbatch(folder, "plan"), folder, ground))
        sent = server.counts().posts - made
    if sent or made != jobs:
        raise RunFailed(f"{jobs} jobs made {made} requests, and {sent} more although nothing had changed")
    return [Line.of("fluxbatch run, unchanged", jobs, runs), Line.of("fluxbatch plan, unchanged", jobs, plans)]


def _catalogue(ground: Ground, jobs: int) -> Path:
    folder = ground.new_folder()
    with (folder / "products.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["sku", "name", "stock"])
        table.writerows([f"sku-{n:07}", f"Mug number {n}", n % 9 + 1] for n in range(jobs // len(_SCENES)))
    for name in ("product", *_SCENES):
        shutil.copyfile(ground.images.get(), folder / f"{name}.jpg")
    (folder / "manifest.yaml").write_text(_MANIFEST.format(scenes=", ".join(_SCENES)), encoding="utf-8")
    return folder


def _fluxbatch(folder: Path, command: str, *options: str) -> list[str]:
    return ["fluxbatch", command, str(folder / "manifest.yaml"), "--quiet", *options]


def _measured(module: Sequence[str], folder: Path, ground: Ground) -> Usage:
    return measure(
        [sys.executable, "-m", *module],
        tree=ground.tree,
        folder=folder,
        environment={"FLUXBATCH_API_KEY": KEY, "XDG_CACHE_HOME": str(folder / "cache")},
        seconds=_SECONDS,
    )
