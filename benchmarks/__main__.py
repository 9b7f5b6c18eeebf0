"""``python -m benchmarks [--quick] [--json FILE] [--picture FILE.svg]``."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.certificates import can_certify, certify
from benchmarks.contestants import CONTESTANTS, OURS, present
from benchmarks.figures import Figures
from benchmarks.growth import growth
from benchmarks.lag import lag
from benchmarks.ledger import ledger
from benchmarks.machine import about
from benchmarks.measure import RunFailed, freeze
from benchmarks.photos import Images, Photos
from benchmarks.picture import picture
from benchmarks.planning import planning
from benchmarks.rounds import Ground, compete
from benchmarks.starting import start_up
from benchmarks.tables import competition
from benchmarks.workloads import SIZES, START_UP, extent, workloads

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.contestants import Contestant
    from benchmarks.rounds import Run
    from benchmarks.tables import Section
    from benchmarks.workloads import Extent, Workload

_PEERS: Final = "peers"
_PARTS: Final[dict[str, Callable[[Extent, int, Ground], Section]]] = {
    "start-up": start_up,
    "ledger": ledger,
    "lag": lag,
    "planning": planning,
    "growth": growth,
}
_ROUNDS: Final = {"smoke": 1, "quick": 1, "half": 2, "full": 3}


def main() -> int:
    options = _options()
    parts = options.part or [_PEERS, *_PARTS]
    contestants = _contestants(options.peer)
    chosen = [one for one in workloads(options.size) if _is_chosen(one, options.workload)]
    runs: list[Run] = []
    sections: list[Section] = []
    failed = False
    with tempfile.TemporaryDirectory(prefix="fluxbatch-bench-", dir=options.tmp) as folder:
        ground = _ground(Path(folder))
        facts = about(contestants, Path(folder)) | {"size": f"{options.size}, rounds: {options.rounds}"}
        for part in parts:
            try:
                if part == _PEERS:
                    for workload in chosen:
                        runs += compete(contestants, workload, options.rounds, ground)
                else:
                    sections.append(_PARTS[part](extent(options.size), options.rounds, ground))
            except RunFailed as failure:
                failed = True
                _tell(f"{part} ends here: {failure}")
    absent = [one.name for one in CONTESTANTS if one.missing()]
    facts |= {"absent": ", ".join(absent) or "nobody", "failed": "; ".join(ground.failed) or "nobody"}
    _report(options, facts, Figures(runs, chosen), sections, runs)
    return int(failed)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="fluxbatch beside its peers, on loopback."
    )
    parser.add_argument("--size", choices=SIZES, default="full")
    parser.add_argument("--quick", dest="size", action="store_const", const="quick", help="one round, two minutes")
    parser.add_argument("--rounds", type=int, choices=range(1, 21), metavar="N", help="of everything  [full: 3]")
    parser.add_argument("--part", action="append", choices=[_PEERS, *_PARTS], help="only these")
    parser.add_argument("--workload", action="append", metavar="WORD", help="only those with this word in their name")
    parser.add_argument(
        "--peer", action="append", choices=[one.name for one in CONTESTANTS], help="only these, beside fluxbatch"
    )
    parser.add_argument("--tmp", type=Path, metavar="DIR", help="for photos and images (10 GB)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there as well")
    parser.add_argument("--picture", type=Path, metavar="FILE.svg", help="draw the ratios")
    options = parser.parse_args()
    options.rounds = options.rounds or _ROUNDS[options.size]
    return options


def _contestants(names: Sequence[str] | None) -> list[Contestant]:
    for one in CONTESTANTS:
        if one.missing():
            _tell(f"{one.name} takes no part: {one.missing()} is not installed")
    return [one for one in present() if one.name in {OURS, *(names or [one.name])}]


def _is_chosen(workload: Workload, words: Sequence[str] | None) -> bool:
    if not workload.fits_here:
        _tell(f"{workload.name} is left out: the greediest would take {workload.needs_mb} MB of memory")
    if workload.tls and not can_certify():
        _tell(f"{workload.name} is left out: openssl is not installed")
        return False
    return workload.fits_here and (workload == START_UP or not words or any(word in workload.name for word in words))


def _ground(folder: Path) -> Ground:
    for name in ("photos", "images"):
        (folder / name).mkdir()
    freeze(folder / "tree")
    certificates = certify(folder / "certificates") if can_certify() else None
    return Ground(folder, folder / "tree", Photos(folder / "photos"), Images(folder / "images"), certificates, _tell)


def _report(
    options: argparse.Namespace,
    facts: dict[str, str],
    figures: Figures,
    sections: Sequence[Section],
    runs: Sequence[Run],
) -> None:
    sections = [one for one in (*competition(figures), *sections) if one.rows]
    if options.json:
        found = {one.key: one.facts for one in sections}
        document = {"about": facts, **found, "runs": [run.as_dict() for run in runs]}
        options.json.write_text(json.dumps(document, indent=1), encoding="utf-8")
    if options.picture and runs:
        where = f"{facts['machine']}, {facts['system']}, {facts['python']}, {facts['date'][:10]}, {facts['size']}"
        options.picture.write_text(picture(figures.beside_ours(), where), encoding="utf-8")
    print("\n".join(f"{name:9} {fact}" for name, fact in facts.items()))
    print("".join(f"\n{one}\n" for one in sections), end="")


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
