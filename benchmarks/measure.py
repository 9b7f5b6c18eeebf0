"""What one process takes: processor time, peak memory, wall time."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT: Final = Path(__file__).resolve().parent.parent
_LAUNCHER: Final = ROOT / "benchmarks" / "launch.py"
_KEPT: Final = ("PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "TZ", "VIRTUAL_ENV", "LD_LIBRARY_PATH")
_SHOWN: Final = 2000


class RunFailed(Exception):
    """A contestant did not do what it was asked: its figures are worth nothing."""


@dataclass(frozen=True, slots=True)
class Usage:
    exit_code: int
    user_s: float
    sys_s: float
    peak_bytes: int
    wall_s: float

    @property
    def cpu_s(self) -> float:
        return self.user_s + self.sys_s


def clean_environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """No proxies, no keys, no debugging or coverage switches: the same for everyone."""
    return {name: os.environ[name] for name in _KEPT if name in os.environ} | dict(more or {})


def freeze(tree: Path) -> None:
    """Copy the code, so that all rounds measure the same, whatever is edited meanwhile."""
    for name in ("fluxbatch", "benchmarks"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))


def measure(command: Sequence[str], *, tree: Path, folder: Path, environment: Mapping[str, str], seconds: int) -> Usage:
    """Run a command of the code in ``tree`` to its end; its output goes to a file in ``folder``.

    Raises:
        RunFailed: it failed, or took longer than ``seconds``.
    """
    result, log = folder / "usage.json", folder / "output.txt"
    with log.open("wb") as output:
        launcher = [sys.executable, "-I", "-S", str(_LAUNCHER), str(result), str(seconds), *command]
        subprocess.run(
            launcher,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=tree,
            env=clean_environment(environment),
            check=True,
        )
    usage = Usage(**json.loads(result.read_text(encoding="ascii")))
    if usage.exit_code:
        said = log.read_text(encoding="utf-8", errors="replace")[-_SHOWN:]
        raise RunFailed(f"exit code {usage.exit_code} after {usage.wall_s:.1f} s of at most {seconds}\n{said}")
    return usage
