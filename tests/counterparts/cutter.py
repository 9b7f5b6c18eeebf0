"""An addon of mitmproxy: leads made-up hosts to the simulator, and cuts what the plan says after the API has answered.

Runs in mitmproxy's own environment, so it imports nothing of ours. Numbers count from 1, in the order of answers.
"""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path
from typing import Any

PLAN = json.loads(os.environ["FLUXBATCH_TESTS_PLAN"])
API, RESULTS = "api.flux.example", "results.flux.example"
ANSWERS = ("answers", "halves")
"""of the API: whole answers, and those of which one half gets through"""
DOWNLOADS = ("downloads",)
"""of results: each is let through to the half of what it has left"""
LOG = Path(PLAN["log"])
_answers, _downloads = itertools.count(1), itertools.count(1)


def _note(flow: Any, what: str) -> None:
    via = flow.client_conn.sockname[1]
    path, asked = flow.request.path.partition("?")[0], flow.request.headers.get("range")
    facts = {"what": what, "host": flow.metadata["host"], "port": via, "path": path, "range": asked}
    with LOG.open("a") as log:
        log.write(json.dumps(facts) + "\n")


def request(flow: Any) -> None:
    """Nothing goes anywhere but to the simulator."""
    flow.metadata["host"] = flow.request.pretty_host
    if flow.metadata["host"] not in {API, RESULTS}:
        _note(flow, "stranger")
        flow.kill()
        return
    flow.request.scheme, flow.request.host, flow.request.port = "http", "127.0.0.1", PLAN["upstream"]


def responseheaders(flow: Any) -> None:
    """Decide what becomes of an answer, before its first byte is passed on."""
    download = flow.metadata["host"] == RESULTS
    number = next(_downloads if download else _answers)
    what = next((kind for kind in (DOWNLOADS if download else ANSWERS) if number in PLAN.get(kind, ())), "")
    flow.metadata["cut"] = what
    if what in {"halves", "downloads"}:
        flow.response.stream = _only(int(flow.response.headers["content-length"]) // 2)


def _only(size: int) -> Any:
    left = size

    def pass_on(data: bytes) -> list[bytes]:
        nonlocal left
        piece = data[:left]
        left -= len(piece)
        return [piece] if piece else []

    return pass_on


def response(flow: Any) -> None:
    """Cut it, or say where its image is: at a host that is reached through a proxy alone."""
    _note(flow, flow.metadata["cut"] or "passed")
    if flow.metadata["cut"]:
        flow.kill()
    elif flow.metadata["host"] == API:
        flow.response.text = flow.response.text.replace(f"http://127.0.0.1:{PLAN['upstream']}/", f"https://{RESULTS}/")
