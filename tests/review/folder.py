"""Output folders as runs leave them, made at once: a ledger of as many images as a test wants, and their files."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import anyio

from fluxbatch.adapters.ledger import SqliteLedger
from fluxbatch.app.folder import Paths
from fluxbatch.app.request import new_run_id
from fluxbatch.model.job import Stored
from fluxbatch.ports import Disposition, Enlisted, RunRow
from fluxbatch.testing.jobs import make_job

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from fluxbatch.model.job import Json


def digest(job_id: str, version: int = 1) -> str:
    """The digest that the image of a job has in ``make_folder``."""
    return hashlib.sha256(f"{job_id} {version}".encode()).hexdigest()


def make_folder(
    out: Path,
    jobs: Mapping[str, Sequence[str]],
    *,
    kind: str = "live",
    version: int = 1,
    fields: Mapping[str, Mapping[str, Json]] | None = None,
) -> Paths:
    """An output folder whose images are on record, though not on disk.

    Args:
        out: made if need be.
        jobs: ids by manifest.
        kind: of the images.
        version: of all images; another one, and they are others.
        fields: of single jobs.
    """
    paths = Paths.of(out)

    async def write() -> None:
        ledger = SqliteLedger(paths.ledger, kind=kind)
        try:
            await ledger.open()
            run = new_run_id()
            await ledger.begin(RunRow(run, 0.0))
            for manifest, ids in jobs.items():
                enlisted = []
                for position, job_id in enumerate(ids):
                    job = make_job(position, id=job_id, manifest=manifest, fields=(fields or {}).get(job_id))
                    image = Stored(f"{job_id}.png", digest(job_id, version), 10, 64, 64, fingerprint=job.fingerprint)
                    enlisted.append(Enlisted(job, Disposition.RESTORE, stored=image))
                await ledger.enlist(run, enlisted)
                await ledger.claim(manifest, run)
            await ledger.end(run, 1.0, {})
        finally:
            await ledger.close()

    paths.state.mkdir(parents=True, exist_ok=True)
    anyio.run(write)
    return paths
