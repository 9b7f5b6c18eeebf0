"""Photos, jobs and adapters under test."""

from __future__ import annotations

import os
import subprocess
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from fluxbatch.adapters.disk.photos import FileSource
from fluxbatch.adapters.disk.sink import FolderSink
from fluxbatch.adapters.http.connect import Network, check_base_url
from fluxbatch.adapters.http.fetcher import HttpFetcher
from fluxbatch.adapters.http.provider import GatewayProvider
from fluxbatch.model.answer import Refused, Verdict
from fluxbatch.model.job import Lease, Photo, PlannedJob

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from fluxbatch.model.answer import Answer
    from fluxbatch.model.job import Image
    from fluxbatch.ports import Landing, Source
    from fluxbatch.settings import Settings

KEY = "sk-do-not-tell-4711"
NOW = 1_790_000_000.0


@dataclass
class SetClock:
    """A wall clock that stands still, beside the loop's own."""

    at: float = NOW

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return anyio.current_time()


def photo_of(path: Path, mime: str = "image/png") -> Photo:
    facts = path.stat()
    return Photo(path.name, str(path), mime, facts.st_size, facts.st_mtime_ns, facts.st_ino, 64, 64, "0" * 64)


def write_photo(folder: Path, name: str, size: int, mime: str = "image/png") -> Photo:
    """A file of random bytes; the adapter doesn't look into photos."""
    path = folder / name
    path.write_bytes(os.urandom(size))
    return photo_of(path, mime)


def job_of(images: Sequence[Image] = (), **fields: Any) -> PlannedJob:
    said = {"model": "flux-2-pro", "prompt": 'a cat, 一只猫 "quoted"', "seed": 7, **fields}
    return PlannedJob("one", "jobs.yaml", 0, "flux-2-pro", said, tuple(images), "one", "f" * 16)


def lease_at(url: str) -> Lease:
    return Lease(url, deadline=NOW + 600, granted_at=NOW)


@dataclass
class Bench:
    """Adapters over one network, with short clocks."""

    folder: Path
    network: Network
    settings: Settings
    clock: SetClock = field(default_factory=SetClock)

    @asynccontextmanager
    async def provider(
        self, base_url: str, *, key: str = KEY, source: Source | None = None
    ) -> AsyncIterator[GatewayProvider]:
        provider = GatewayProvider(
            check_base_url(base_url),
            key,
            network=self.network,
            source=source or FileSource(),
            clock=self.clock,
            spool=self.folder,
            settings=self.settings,
        )
        try:
            yield provider
        finally:
            await provider.close()

    async def ask(self, base_url: str, job: PlannedJob | None = None, *, key: str = KEY) -> Answer:
        """One request over a provider of its own."""
        async with self.provider(base_url, key=key) as provider:
            with anyio.fail_after(20):
                return await provider.generate(job or job_of())

    async def refusal(self, base_url: str, job: PlannedJob | None = None) -> Verdict:
        answer = await self.ask(base_url, job)
        assert isinstance(answer, Refused), answer
        assert KEY not in repr(answer)
        return answer.verdict

    @asynccontextmanager
    async def fetcher(self, *, local: bool = True) -> AsyncIterator[HttpFetcher]:
        fetcher = HttpFetcher(network=self.network, clock=self.clock, settings=self.settings, local=local)
        try:
            yield fetcher
        finally:
            await fetcher.close()

    @asynccontextmanager
    async def landing(self) -> AsyncIterator[Landing]:
        sink = FolderSink(self.folder, self.folder)
        landing = await sink.land()
        try:
            yield landing
        finally:
            await landing.discard()

    def leftovers(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())


def open_files() -> int:
    """File descriptors of this process."""
    return sum(1 for _ in Path("/dev/fd").iterdir())


def make_certificates(folder: Path, *hosts: str) -> tuple[Path, Path]:
    """A throw-away authority's certificate, and key + certificate of a server that it vouches for."""

    def openssl(*arguments: str) -> None:
        subprocess.run(("openssl", *arguments), check=True, capture_output=True, cwd=folder, timeout=30)

    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    usage = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")
    openssl("req", "-x509", *curve, "-subj", "/CN=Test CA", *usage, "-keyout", "ca.key", "-out", "ca.pem")
    openssl("req", *curve[:-2], "-subj", f"/CN={hosts[0]}", "-keyout", "server.key", "-out", "server.csr")
    names = ",".join(f"IP:{host}" if host[0].isdigit() else f"DNS:{host}" for host in hosts)
    (folder / "names").write_text(f"subjectAltName={names}\n")
    signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names")
    openssl("x509", "-req", "-in", "server.csr", *signed, "-out", "server.pem")
    both = folder / "both.pem"
    both.write_bytes((folder / "server.key").read_bytes() + (folder / "server.pem").read_bytes())
    return folder / "ca.pem", both
