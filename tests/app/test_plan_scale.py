"""A plan of a catalogue of 100,000 images takes no more memory than a small one, and as much time for each."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from fluxbatch.testing import make_png
from tests.app.stage import command

if TYPE_CHECKING:
    from pathlib import Path

FEW = 2_000
SCENES = ("beach", "studio")
PLAIN: dict[str, Any] = {"prompt": "The {{ name }} on the {{ scene }} of image 1"}
CHAIN: dict[str, Any] = {"chain": ["The {{ name }} on the {{ scene }} of image 1", "In oil", "In a frame", "On a wall"]}

# A small process in between: the peak that Linux reports for a child begins at the size of the process that forked it.
MEASURED = (
    sys.executable,
    "-c",
    (
        "import resource, subprocess, sys\n"
        "done = subprocess.run(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True)\n"
        "used = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "print(used.ru_maxrss, used.ru_utime + used.ru_stime)\n"
        "print(done.stdout.decode()[-4000:])"
    ),
)


@dataclass(frozen=True)
class Used:
    """What a plan took."""

    jobs: int
    peak: int
    cpu_s: float


def planned(folder: Path, jobs: int, entry: dict[str, Any]) -> Used:
    """Plan a catalogue of so many jobs."""
    folder.mkdir()
    for number, scene in enumerate(SCENES):
        (folder / f"{scene}.png").write_bytes(make_png(number, width=64, height=64))
    products = jobs // len(SCENES) // len(entry.get("chain", [""]))
    with (folder / "products.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("sku", "name"), *((f"sku-{n:06}", f"thing {n}") for n in range(products))])
    catalogue = {
        "rows": "products.csv",
        "matrix": {"scene": list(SCENES)},
        "id": "{{ sku }}-{{ scene }}",
        "images": ["{{ scene }}.png"],
        **entry,
    }
    document = {"version": 1, "defaults": {"model": "flux-2-klein-4b"}, "catalog": catalogue}
    (folder / "shop.json").write_text(json.dumps(document))
    plan = command("plan", "shop.json", "--simulate", "-q")
    done = subprocess.run([*MEASURED, *plan], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    used, _, said = done.stdout.partition("\n")
    assert f"\n{jobs:,} images to make" in said
    peak, cpu_s = used.split()
    return Used(jobs, int(peak), float(cpu_s))


def cpu_per_job(less: Used, more: Used) -> float:
    """Seconds of each further job: what it takes to start is the same for all plans."""
    return (more.cpu_s - less.cpu_s) / (more.jobs - less.jobs)


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("jobs", "entry"), [pytest.param(100_000, PLAIN, id="catalogue"), pytest.param(48_000, CHAIN, id="chains")]
)
def test_a_large_plan_takes_the_memory_of_a_small_one_and_linear_time(
    tmp_path: Path, jobs: int, entry: dict[str, Any]
) -> None:
    few, some, many = (planned(tmp_path / str(count), count, entry) for count in (FEW, jobs // 4, jobs))

    assert many.peak < 1.3 * few.peak
    # twice as much may be noise; if each job had to do with all others, it would be four times as much and more
    assert cpu_per_job(some, many) < 2.5 * cpu_per_job(few, some)
