"""Jobs taken through their states in a real ledger: ``FOLDER JOBS TASKS``, as many tasks as share a commit."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fluxbatch.adapters.ledger import SqliteLedger
from fluxbatch.model.job import Lease, Step, Stored
from fluxbatch.model.state import Charge, JobState
from fluxbatch.ports import Disposition, Enlisted, RunRow
from fluxbatch.testing.jobs import make_job

if TYPE_CHECKING:
    from collections.abc import Iterator

_RUN: Final = "run-1"
_PAGE: Final = 500


@dataclass(frozen=True, slots=True)
class Taken:
    wall_s: float
    cpu_s: float


class Stopwatch:
    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def read(self) -> Taken:
        return Taken(time.perf_counter() - self._wall, time.process_time() - self._cpu)


def steps_of(job_id: str) -> tuple[Step, ...]:
    lease = Lease(f"https://delivery.example/{job_id}.jpg?sig=0123456789abcdef", deadline=2e9, granted_at=1.9e9)
    stored = Stored(f"{job_id}.jpg", "ab" * 32, 100_000, 480, 344, 1, "fingerprint", 1.5)
    return (
        Step(job_id, JobState.PENDING, JobState.SUBMITTED, attempts=1),
        Step(job_id, JobState.SUBMITTED, JobState.GENERATED, charge=Charge.CHARGED, usd=0.03, lease=lease),
        Step(job_id, JobState.GENERATED, JobState.STORED, stored=stored),
    )


async def work(ledger: SqliteLedger, ids: Iterator[str]) -> None:
    for job_id in ids:
        for step in steps_of(job_id):
            await ledger.advance(step)


async def enlist(ledger: SqliteLedger, jobs: int) -> None:
    planned = (Enlisted(make_job(position), Disposition.MAKE) for position in range(jobs))
    while page := list(islice(planned, _PAGE)):
        await ledger.enlist(_RUN, page)


async def main() -> None:
    folder, jobs, tasks = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    ledger = await SqliteLedger(folder / f"ledger-{jobs}-{tasks}.db", kind="live").open()
    await ledger.begin(RunRow(_RUN, 1.9e9))
    watch = Stopwatch()
    await enlist(ledger, jobs)
    enlisted = watch.read()
    ids = (make_job(position).id for position in range(jobs))
    watch = Stopwatch()
    async with asyncio.TaskGroup() as group:
        for _ in range(tasks):
            group.create_task(work(ledger, ids))
    advanced = watch.read()
    await ledger.close()
    notes = {
        "enlist": {"wall_s": enlisted.wall_s, "cpu_s": enlisted.cpu_s},
        "advance": {"wall_s": advanced.wall_s, "cpu_s": advanced.cpu_s},
    }
    (folder / "ledger.json").write_text(json.dumps(notes), encoding="ascii")


if __name__ == "__main__":
    asyncio.run(main())
