from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from benchmarks.contestants import FLOORS, present
from benchmarks.workloads import workloads

ROOT = Path(__file__).resolve().parents[2]
FETCHERS = {"curl", "aria2c"}


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_the_smallest_benchmark_runs_and_reports(tmp_path: Path) -> None:
    result, drawn = tmp_path / "figures.json", tmp_path / "figures.svg"
    command = [sys.executable, "-m", "benchmarks", "--size", "smoke", "--tmp", str(tmp_path)]
    command += ["--json", str(result), "--picture", str(drawn)]
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr
    assert "sample ÷ fluxbatch" in done.stdout
    assert "is out of" not in done.stderr

    document = json.loads(result.read_text(encoding="utf-8"))
    assert document["about"]["date"]
    runs = {(run["workload"], run["contestant"]): run for run in document["runs"]}
    peers = {one.name for one in present()}
    assert {"fluxbatch", "sample", "openai", "cookbook", "floor"} <= peers
    assert set(runs) == {
        (one.name, peer)
        for one in workloads("smoke")
        for peer in (peers if one.group == "downloads" else peers - FETCHERS)
    }
    assert all(run["usage"]["peak_bytes"] > 0 and run["server"]["gets"] for run in runs.values())
    for table in ("ratios", "shares", "costs", "start_up", "ledger", "lag", "planning", "growth"):
        assert document[table], table
    assert {peer for ratio in document["ratios"] for peer in (ratio["above"], ratio["below"])} == peers
    assert all(ratio["above"] == "fluxbatch" for ratio in document["ratios"] if ratio["below"] in FLOORS)

    words = [element.text for element in ET.parse(drawn).iter("{http://www.w3.org/2000/svg}text")]
    assert {one.name for one in workloads("smoke")} <= set(words)
    assert not list(tmp_path.glob("fluxbatch-bench-*"))
