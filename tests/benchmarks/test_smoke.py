from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.workloads import workloads

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_the_smallest_benchmark_runs_and_reports(tmp_path: Path) -> None:
    result = tmp_path / "figures.json"
    command = [sys.executable, "-m", "benchmarks", "--size", "smoke", "--tmp", str(tmp_path), "--json", str(result)]
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr
    assert "sample ÷ fluxbatch" in done.stdout

    document = json.loads(result.read_text(encoding="utf-8"))
    assert document["about"]["date"]
    runs = {(run["workload"], run["contestant"]): run for run in document["runs"]}
    names = {one.name for one in workloads("smoke")}
    assert set(runs) == {(name, peer) for name in names for peer in ("fluxbatch", "sample", "floor")}
    assert all(run["usage"]["peak_bytes"] > 0 and run["server"]["posts"] for run in runs.values())
    assert not list(tmp_path.glob("fluxbatch-bench-*"))
