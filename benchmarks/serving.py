"""The server process, seen from outside."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from benchmarks.measure import ROOT, clean_environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from benchmarks.certificates import Certificates

_PATIENCE_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Counts:
    posts: int
    gets: int
    refused: int
    body_bytes: int
    connections: int
    cpu_s: float

    def since(self, before: Counts) -> Counts:
        return Counts(
            self.posts - before.posts,
            self.gets - before.gets,
            self.refused - before.refused,
            self.body_bytes - before.body_bytes,
            self.connections - before.connections,
            self.cpu_s - before.cpu_s,
        )


@dataclass(frozen=True, slots=True)
class Server:
    origin: str
    loop: str
    authority: Path | None = None

    @property
    def base_url(self) -> str:
        return f"{self.origin}/v1"

    def counts(self) -> Counts:
        context = ssl.create_default_context(cafile=self.authority) if self.authority else None
        direct = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        with direct.open(f"{self.origin}/counts", timeout=_PATIENCE_S) as answer:
            return Counts(**json.load(answer))


@contextmanager
def serving(image: Path, latency_ms: int = 0, certificates: Certificates | None = None) -> Iterator[Server]:
    """A server of its own for one workload."""
    command = [sys.executable, "-m", "benchmarks.server", "--image", str(image), "--latency-ms", str(latency_ms)]
    if certificates:
        command += ["--certificate", str(certificates.server)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, env=clean_environment()
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        facts = json.loads(process.stdout.readline())
        yield Server(**facts, authority=certificates.authority if certificates else None)
    finally:
        process.stdin.close()
        try:
            process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
