"""``fluxbatch --help`` beside a bare Python."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

from benchmarks.figures import Spread
from benchmarks.measure import measure
from benchmarks.tables import Section, shown

if TYPE_CHECKING:
    from benchmarks.measure import Usage
    from benchmarks.rounds import Ground
    from benchmarks.workloads import Extent

_SCRIPT: Final = "import sys; from fluxbatch.cli import main; sys.exit(main())"
"""what an installed console script holds"""
_BARE: Final = "python -c pass"
_COMMANDS: Final = {
    _BARE: ["-c", "pass"],
    "fluxbatch --help": ["-c", _SCRIPT, "--help"],
    "fluxbatch run --help": ["-c", _SCRIPT, "run", "--help"],
}
_SECONDS: Final = 60


@dataclass(frozen=True, slots=True)
class Line:
    command: str
    cpu_ms: Spread
    wall_ms: Spread
    over_bare: Spread


def start_up(extent: Extent, rounds: int, ground: Ground) -> Section:
    folder = ground.new_folder()

    def call(words: list[str]) -> Usage:
        return measure([sys.executable, *words], tree=ground.tree, folder=folder, environment={}, seconds=_SECONDS)

    for words in _COMMANDS.values():
        call(words)  # unmeasured: byte code and disk caches
    turns = [{name: call(words) for name, words in _COMMANDS.items()} for _ in range(rounds * extent.helps)]
    lines = [
        Line(
            name,
            Spread.of(turn[name].cpu_s * 1000 for turn in turns),
            Spread.of(turn[name].wall_s * 1000 for turn in turns),
            Spread.of(turn[name].cpu_s / turn[_BARE].cpu_s for turn in turns),
        )
        for name in _COMMANDS
    ]
    rows = [[one.command, *(shown(spread, 1) for spread in (one.cpu_ms, one.wall_ms, one.over_bare))] for one in lines]
    head = ["command", "CPU ms", "wall ms", f"CPU ÷ {_BARE}"]
    return Section("start_up", f"start-up, {len(turns)} calls each", head, rows, list(map(asdict, lines)), words=1)
