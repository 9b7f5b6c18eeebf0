"""``python -m benchmarks [--quick] [--json FILE]``."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.contestants import CONTESTANTS, OURS, present
from benchmarks.figures import Figures
from benchmarks.machine import about
from benchmarks.measure import RunFailed, freeze
from benchmarks.photos import Photos, result_jpeg
from benchmarks.rounds import Ground, compete, server_loop
from benchmarks.tables import cost_table, ratio_table
from benchmarks.workloads import SIZES, START_UP, workloads

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.contestants import Contestant
    from benchmarks.rounds import Run
    from benchmarks.workloads import Workload

_NOTES = """\
CPU is user + system time of the contestant's own process, nothing subtracted; ms/job is what is left of it, by job,
after taking off one job of text with the start-up of the process. MB/slot: peak memory beyond that run's, by request
in flight. Medians of {rounds} interleaved rounds; ratios are taken within a round (lowest to highest in brackets).
Wall time is of a machine that does other things too; server is the busy share of the server's one core.
Every image of every run was compared byte for byte, and every job took one request and one download."""


def main() -> int:
    options = _options()
    contestants = [one for one in present() if one.name in {OURS, *(options.peer or [one.name])}]
    chosen = [one for one in workloads(options.size) if _is_chosen(one, options.workload)]
    for one in CONTESTANTS:
        if one not in present():
            _tell(f"{one.name} takes no part: it needs {', '.join(one.packages)}")
    with tempfile.TemporaryDirectory(prefix="fluxbatch-bench-", dir=options.tmp) as folder:
        ground = _ground(Path(folder))
        facts = about(contestants, Path(folder)) | {
            "server": f"{server_loop(ground)}, image of {ground.image.stat().st_size:,} bytes",
            "rounds": str(options.rounds),
        }
        try:
            runs = _run_all(contestants, chosen, options.rounds, ground)
        except RunFailed as failure:
            _tell(f"no figures: {failure}")
            return 1
    figures = Figures(runs, chosen)
    if options.json:
        document = {"about": facts, **figures.as_dict(), "runs": [run.as_dict() for run in runs]}
        options.json.write_text(json.dumps(document, indent=1), encoding="utf-8")
    print("\n".join(f"{name:9} {fact}" for name, fact in facts.items()))
    print(
        f"\n{cost_table(figures.costs())}\n\n{ratio_table(figures.ratios())}\n\n{_NOTES.format(rounds=options.rounds)}"
    )
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="fluxbatch beside its peers, on loopback."
    )
    parser.add_argument("--size", choices=SIZES, default="full")
    parser.add_argument("--quick", dest="size", action="store_const", const="quick", help="one round, under a minute")
    parser.add_argument("--rounds", type=int, choices=range(1, 21), metavar="N", help="of each workload  [full: 3]")
    parser.add_argument("--workload", action="append", metavar="WORD", help="only those with this word in their name")
    parser.add_argument(
        "--peer", action="append", choices=[one.name for one in CONTESTANTS], help="only these, beside fluxbatch"
    )
    parser.add_argument("--tmp", type=Path, metavar="DIR", help="for photos (1.3 GB) and images")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there as well")
    options = parser.parse_args()
    if options.rounds is None:
        options.rounds = 3 if options.size == "full" else 1
    return options


def _is_chosen(workload: Workload, words: Sequence[str] | None) -> bool:
    if not workload.fits_here:
        _tell(f"{workload.name} is left out: the sample would take {workload.needs_mb} MB of memory")
        return False
    return workload == START_UP or not words or any(word in workload.name for word in words)


def _ground(folder: Path) -> Ground:
    image = folder / "result.jpg"
    image.write_bytes(result_jpeg())
    (folder / "photos").mkdir()
    freeze(folder / "tree")
    return Ground(folder, folder / "tree", Photos(folder / "photos"), image, _tell)


def _run_all(contestants: Sequence[Contestant], chosen: Sequence[Workload], rounds: int, ground: Ground) -> list[Run]:
    return [run for workload in chosen for run in compete(contestants, workload, rounds, ground)]


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
