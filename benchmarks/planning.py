"""``python -m benchmarks.planning``: a catalogue planned, and a folder looked at again in which nothing has changed.

The floor is a loop that reads the same table and writes down what is to be sent: no types, no checks, no ledger, no
reasons.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.measure import freeze, measure
from benchmarks.photos import result_jpeg
from benchmarks.serving import serving

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.measure import Usage
    from benchmarks.serving import Server

_SCENES: Final = ("beach", "studio", "kitchen", "garden")
_KEY: Final = "sk-bench-0123456789abcdef"
_SECONDS: Final = 900
_MANIFEST: Final = """\
out: {out}
catalog:
  rows: products.csv
  where: "stock | int > 0"
  matrix: {{scene: [{scenes}]}}
  id: "{{{{ sku }}}}-{{{{ scene }}}}"
  prompt: "Place the {{{{ name }}}} from image 1 into the {{{{ scene }}}} of image 2"
  images: [product.jpg, "{{{{ scene }}}}.jpg"]
  meta: {{sku: "{{{{ sku }}}}"}}
"""


def main() -> int:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="fluxbatch-bench-") as name:
        folder = Path(name)
        freeze(folder / "tree")
        rows: list[tuple[str, int, list[Usage]]] = []
        for jobs in options.jobs:
            ground = _ground(folder / f"plan-{jobs}", jobs)
            plan = ["plan", "manifest.yaml", "--quiet"]
            rows.append(("fluxbatch plan", jobs, _times(options.rounds, _ours(plan, ground), ground, folder)))
            rows.append(("floor", jobs, _times(options.rounds, _floor(ground), ground, folder)))
        rows += _again(options.again, options.rounds, folder)
    print(f"{'':28}{'jobs':>10}{'CPU s':>9}{'us/job':>9}{'peak MB':>9}")
    for what, jobs, usages in rows:
        cpu = statistics.median(usage.cpu_s for usage in usages)
        peak = statistics.median(usage.peak_bytes for usage in usages) / 2**20
        print(f"{what:28}{jobs:>10,}{cpu:>9.2f}{cpu / jobs * 1e6:>9.1f}{peak:>9.0f}")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.planning", description=__doc__)
    parser.add_argument("--jobs", type=int, nargs="+", default=[2_000, 20_000, 200_000])
    parser.add_argument("--again", type=int, default=10_000, help="images that are there, and looked at again")
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


def _ground(folder: Path, jobs: int) -> Path:
    folder.mkdir()
    with (folder / "products.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["sku", "name", "stock"])
        table.writerows([f"sku-{n:07}", f"Mug number {n}", n % 9 + 1] for n in range(jobs // len(_SCENES)))
    for name in ("product", *_SCENES):
        (folder / f"{name}.jpg").write_bytes(result_jpeg())
    text = _MANIFEST.format(out="out", scenes=", ".join(_SCENES))
    (folder / "manifest.yaml").write_text(text, encoding="utf-8")
    return folder


def _ours(arguments: Sequence[str], ground: Path) -> list[str]:
    changed = [str(ground / "manifest.yaml") if word == "manifest.yaml" else word for word in arguments]
    return [sys.executable, "-m", "fluxbatch", *changed]


def _floor(ground: Path) -> list[str]:
    return [sys.executable, "-m", "benchmarks.planning_floor", str(ground)]


def _times(
    rounds: int, command: Sequence[str], ground: Path, folder: Path, environment: dict[str, str] | None = None
) -> list[Usage]:
    usages = []
    for _ in range(rounds):
        more = {"XDG_CACHE_HOME": str(folder / "cache")} | (environment or {})
        usages.append(measure(command, tree=folder / "tree", folder=ground, environment=more, seconds=_SECONDS))
    return usages


def _again(jobs: int, rounds: int, folder: Path) -> list[tuple[str, int, list[Usage]]]:
    ground = _ground(folder / "again", jobs)
    image = folder / "result.jpg"
    image.write_bytes(result_jpeg())
    with serving(image, 0) as server:
        run = _ours(["run", "manifest.yaml", "--yes", "--quiet", "--concurrency", "64"], ground)
        run += ["--base-url", server.base_url]
        environment = {"FLUXBATCH_API_KEY": _KEY}
        _times(1, run, ground, folder, environment)
        made = server.counts()
        again = _times(rounds, run, ground, folder, environment)
        _check_idle(made.posts, server)
        plan = _times(rounds, _ours(["plan", "manifest.yaml", "--quiet"], ground), ground, folder)
    return [("fluxbatch run, unchanged", jobs, again), ("fluxbatch plan, unchanged", jobs, plan)]


def _check_idle(posts: int, server: Server) -> None:
    sent = server.counts().posts - posts
    if sent:
        raise SystemExit(json.dumps({"error": f"{sent} requests were sent although nothing has changed"}))


if __name__ == "__main__":
    sys.exit(main())
