"""Where and of what the figures are."""

from __future__ import annotations

import importlib.util
import os
import platform
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.measure import ROOT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.contestants import Contestant


_PROBES = 200


def about(contestants: Sequence[Contestant], folder: Path) -> dict[str, str]:
    versions = dict.fromkeys(version for one in contestants for version in one.version().split(", "))
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{os.cpu_count()} × {_processor()}, {_memory_gb():.0f} GB, load {os.getloadavg()[0]:.1f}",
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "versions": ", ".join(versions),
        "server": f"one process, {'uvloop' if importlib.util.find_spec('uvloop') else 'asyncio'}",
        "commit": _commit(),
        "files": f"in {folder.parent}, making one takes {_new_file_us(folder):.0f} µs CPU",
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _memory_gb() -> float:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / (1 << 30)


def _new_file_us(folder: Path) -> float:
    """CPU of making an empty file: tens of µs, or far more where many were deleted minutes ago (ext4)."""
    begun = time.process_time()
    for number in range(_PROBES):
        os.close(os.open(folder / f"probe-{number}", os.O_WRONLY | os.O_CREAT | os.O_EXCL))
    return (time.process_time() - begun) / _PROBES * 1e6


def _commit() -> str:
    try:
        name = _git("rev-parse", "--short", "HEAD")
        return f"{name} with changes" if _git("status", "--porcelain", "fluxbatch") else name
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True, timeout=30)
    return done.stdout.strip()
