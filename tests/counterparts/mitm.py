"""mitmproxy between a run and the simulator: TLS with an authority of its own, and an addon that cuts connections."""

from __future__ import annotations

import json
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.app.stage import wait_for
from tests.counterparts.programs import environment, free_port, listens, program
from tests.counterparts.set_up import HERE, MITMPROXY

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.app.stage import Api

TOOL = program(MITMPROXY, "mitmdump")
"""None if it is not there"""


@dataclass
class Mitm:
    """A running one, with a port for the API and one for results."""

    folder: Path
    api_port: int
    results_port: int

    @property
    def flows(self) -> list[dict[str, Any]]:
        """What it answered: `what` became of it, `host`, `port` that it came in at, `path`, `range` asked for."""
        log = self.folder / "flows.jsonl"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    def count(self, what: str) -> int:
        return sum(flow["what"] == what for flow in self.flows)


@contextmanager
def intercepted(api: Api, folder: Path, **cuts: Sequence[int]) -> Iterator[Mitm]:
    """Have the runs of a stage reach the API through it, under a name that leads nowhere else.

    ``cuts``: ``answers``, ``halves`` and ``downloads``, by number.
    """
    folder.mkdir()
    mitm = Mitm(folder, free_port(), free_port())
    upstream = int(api.sim.base_url.rpartition(":")[2].partition("/")[0])
    plan = {"upstream": upstream, "log": str(folder / "flows.jsonl"), **{kind: list(of) for kind, of in cuts.items()}}
    modes = [word for port in (mitm.api_port, mitm.results_port) for word in ("--mode", f"regular@127.0.0.1:{port}")]
    # it must not look for the host before the addon has said where that is, nor for its certificate
    options = ["confdir=" + str(folder), "connection_strategy=lazy", "upstream_cert=false"]
    assert TOOL is not None
    command = [TOOL, "-q", *modes, "-s", str(HERE / "cutter.py"), *(word for o in options for word in ("--set", o))]
    with (folder / "out").open("wb") as out:
        process = subprocess.Popen(
            command,
            env=environment(FLUXBATCH_TESTS_PLAN=json.dumps(plan)),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )
    try:
        ports = (mitm.api_port, mitm.results_port)
        wait_for(lambda: process.poll() is not None or all(map(listens, ports)), seconds=60)
        assert process.poll() is None, (folder / "out").read_text()
        api.env |= {
            "FLUXBATCH_BASE_URL": "https://api.flux.example/v1",
            "FLUXBATCH_CA_FILE": str(folder / "mitmproxy-ca-cert.pem"),
            "HTTPS_PROXY": f"http://127.0.0.1:{mitm.api_port}",
        }
        yield mitm
    finally:
        process.terminate()
        process.wait(20)
