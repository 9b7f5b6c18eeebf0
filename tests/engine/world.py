"""A run on fakes, in virtual time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from random import Random
from typing import TYPE_CHECKING, Any

import anyio

from fluxbatch.engine import Desk, Engine
from fluxbatch.model.state import PASSING, JobState
from fluxbatch.policy.budget import Budget
from fluxbatch.policy.limits import AdaptiveLimiter
from fluxbatch.policy.outage import Outage
from fluxbatch.ports import Disposition, Enlisted, RunRow
from fluxbatch.settings import Settings
from fluxbatch.testing import (
    FixedLimiter,
    MemoryLedger,
    MemoryRescue,
    MemorySink,
    Recorder,
    ScriptedFetcher,
    ScriptedProvider,
    VirtualClock,
    VirtualTimeLoop,
    make_job,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fluxbatch.model.job import Photo, PlannedJob, Record
    from fluxbatch.ports import Limiter

VIRTUAL_TIME: tuple[str, dict[str, Any]] = ("asyncio", {"loop_factory": VirtualTimeLoop})


def rounds() -> int:
    """How often the loop has looked for something to do."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    return loop.rounds


def jobs(count: int, **facts: Any) -> list[PlannedJob]:
    return [make_job(position, **facts) for position in range(count)]


def _failed_for_good(row: Record) -> bool:
    return row.failure is not None and row.failure.reason not in PASSING


class NotingFitter:
    """The ``Fitter`` port: notes what it is asked for, and fails as it is told."""

    def __init__(self) -> None:
        self.latency_s = 0.0
        self.asked: list[Photo] = []
        self.error: Exception | None = None

    async def fit(self, photo: Photo) -> Photo:
        self.asked.append(photo)
        await anyio.sleep(self.latency_s)
        if self.error is not None:
            raise self.error
        return replace(photo, path=f"{photo.path}.fitted", fitting=None)


@dataclass
class World:
    """The ports of a run; what isn't given works without a fault.

    ``ceiling``: requests at a time, fixed unless ``adaptive``; without it, as the settings say.
    """

    clock: VirtualClock = field(default_factory=VirtualClock)
    provider: Any = None
    fetcher: Any = None
    ledger: Any = field(default_factory=MemoryLedger)
    sink: Any = field(default_factory=MemorySink)
    rescue: Any = field(default_factory=MemoryRescue)
    fitter: NotingFitter = field(default_factory=NotingFitter)
    recorder: Recorder = field(default_factory=Recorder)
    run_id: str = "run"
    ceiling: int | None = None
    by_model: dict[str, int] | None = None
    adaptive: bool = False

    def __post_init__(self) -> None:
        self.provider = self.provider or ScriptedProvider(self.clock)
        self.fetcher = self.fetcher or ScriptedFetcher(self.clock)

    def desk(self, **settings: Any) -> Desk:
        chosen = Settings.of(settings)
        return Desk(
            run_id=self.run_id,
            ledger=self.ledger,
            provider=self.provider,
            fetcher=self.fetcher,
            sink=self.sink,
            clock=self.clock,
            observer=self.recorder,
            settings=chosen,
            limiter=self.limiter(chosen),
            budget=Budget(chosen.max_cost_usd),
            outage=Outage(patience_s=chosen.outage_s, first_answer_s=chosen.first_answer_s),
            rng=Random(7),
            rescue=self.rescue,
            fitter=self.fitter,
        )

    def limiter(self, chosen: Settings) -> Limiter:
        ceiling = self.ceiling or chosen.concurrency
        if self.adaptive:
            return AdaptiveLimiter(ceiling, by_model=self.by_model, rpm=chosen.rpm)
        return FixedLimiter(ceiling, by_model=self.by_model)

    async def plan(self, planned: Iterable[PlannedJob]) -> None:
        """What a plan does: keep what is stored and what failed for good, make the rest."""
        planned = list(planned)
        await self.ledger.begin(RunRow(self.run_id, self.clock.now()))
        rows: dict[str, Record] = await self.ledger.recall([job.id for job in planned])
        stored = {job_id for job_id, row in rows.items() if row.state is JobState.STORED}
        kept = stored | {job_id for job_id, row in rows.items() if _failed_for_good(row)}
        await self.ledger.enlist(
            self.run_id,
            [
                Enlisted(
                    job,
                    Disposition.KEEP if job.id in kept else Disposition.MAKE,
                    waits=not stored.issuperset(job.needs),
                )
                for job in planned
            ],
        )

    async def run(self, planned: Iterable[PlannedJob], **settings: Any) -> Desk:
        """Plan and run to the end; nothing may leak."""
        await self.plan(planned)
        desk = self.desk(**settings)
        await Engine(desk).run()
        self.check_leaks(desk)
        return desk

    def check_leaks(self, desk: Desk) -> None:
        assert (desk.in_flight, desk.owed) == (0, 0)
        assert desk.budget.reserved < 1e-9
        assert self.provider.in_flight == self.fetcher.in_flight == 0
        assert self.sink.landings == set()
        assert desk.limiter.admits("a model that nobody has used", 1e12), "the limiter still counts a request"
        assert desk.books.behind == 0

    async def record(self, job: PlannedJob) -> Record:
        found: dict[str, Record] = await self.ledger.recall([job.id])
        return found[job.id]

    async def states(self) -> dict[str, int]:
        tally = await self.ledger.tally(self.run_id)
        return dict(tally.by_state)
