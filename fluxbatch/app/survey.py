"""Planning against the ledger: what a run would do, and writing it down once it may."""

from __future__ import annotations

from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

import anyio.to_thread

from fluxbatch.model.problem import Problem, Where
from fluxbatch.planning.plan import Decision, Quote, decide
from fluxbatch.ports import Disposition, Enlisted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from fluxbatch.model.job import PlannedJob, Record
    from fluxbatch.planning.findings import Findings
    from fluxbatch.planning.intake import Intake
    from fluxbatch.ports import Ledger, Presence, Sink
    from fluxbatch.settings import Settings

__all__ = ["Survey"]


class Survey:
    """One planner for the quote and for the run: both see the same decisions, since the folder is held."""

    def __init__(self, intake: Intake, ledger: Ledger, sink: Sink, settings: Settings, run_id: str) -> None:
        self._intake = intake
        self._ledger = ledger
        self._sink = sink
        self._settings = settings
        self._run_id = run_id

    async def quote(self, findings: Findings) -> Quote:
        """Count what the run would do; ids that another manifest claims become findings. Writes nothing."""
        quote = Quote()
        others = await self._other_manifests()
        async for batch in self._decisions():
            landing = {job.filename: job for job, record, decision, _ in batch if _lands_anew(job, record, decision)}
            for filename, obstacle in (await self._sink.taken(list(landing))).items():
                findings.add(_in_the_way(landing[filename], obstacle), fatal=True)
            for job, record, decision, selected in batch:
                if record is not None and record.job.manifest != job.manifest and record.job.manifest in others:
                    # to leave the job out would not help: its row is the other manifest's
                    findings.add(_claimed(job, record.job.manifest), fatal=True)
                if selected:
                    quote.add(job, record, decision, run_id=self._run_id)
                else:
                    quote.left_out += decision.disposition in {Disposition.MAKE, Disposition.FETCH}
        return quote

    async def enlist(self) -> None:
        """Write the plan into the ledger."""
        for name in await self._gone_manifests():
            await self._ledger.release(name)
        async for batch in self._decisions():
            await self._ledger.enlist(self._run_id, [_enlisted(*decided) for decided in batch])
        # last, so that a run that dies here leaves the earlier plan as the present one
        for name in self._intake.names:
            await self._ledger.claim(name, self._run_id)

    async def _decisions(self) -> AsyncIterator[list[tuple[PlannedJob, Record | None, Decision, bool]]]:
        left = self._settings.limit
        batches = self._intake.planned()
        while (batch := await anyio.to_thread.run_sync(next, batches, None)) is not None:
            records = await self._ledger.recall([job.id for job in batch])
            presences = await self._presences(list(records.values()))
            decided: list[tuple[PlannedJob, Record | None, Decision, bool]] = []
            for job in batch:
                decision = decide(
                    job,
                    records.get(job.id),
                    presences.get(job.id),
                    retry=self._settings.retry,
                    retry_altered=self._settings.retry_altered,
                )
                selected = self._is_selected(job)
                if selected and left is not None and decision.disposition is Disposition.MAKE:
                    selected = left > 0
                    left -= 1
                decided.append((job, records.get(job.id), decision, selected))
            yield decided

    async def _presences(self, records: Sequence[Record]) -> dict[str, Presence]:
        stored = {record.job.id: record.stored for record in records if record.stored is not None}
        return dict(zip(stored, await self._sink.check(list(stored.values())), strict=True)) if stored else {}

    def _is_selected(self, job: PlannedJob) -> bool:
        only = self._settings.only
        return not only or any(fnmatchcase(job.id, pattern) for pattern in only)

    async def _other_manifests(self) -> set[str]:
        gone = set(await self._gone_manifests())
        return {name for name in await self._ledger.manifests() if name not in gone} - set(self._intake.names)

    async def _gone_manifests(self) -> list[str]:
        """Manifests whose file is no longer there: what they claimed is free."""
        names = await self._ledger.manifests()
        return [name for name in names if Path(name).is_absolute() and not await anyio.Path(name).exists()]


def _enlisted(job: PlannedJob, record: Record | None, decision: Decision, selected: bool) -> Enlisted:
    if record is not None and not selected:
        # left out by the user: the row stays what it is, and only keeps its place in the results
        known = replace(record.job, manifest=job.manifest, position=job.position)
        return Enlisted(known, Disposition.KEEP, selected=False)
    if record is not None and decision.disposition is Disposition.REFUSE:
        # a photo that is away for a moment must not wipe out what was paid, or a URL that is still owed
        if record.lease is not None:
            return Enlisted(replace(record.job, position=job.position), Disposition.KEEP, selected=selected)
        job = replace(job, fingerprint=record.job.fingerprint)
    return Enlisted(job, decision.disposition, selected=selected, pardon=decision.pardon)


def _lands_anew(job: PlannedJob, record: Record | None, decision: Decision) -> bool:
    """Whether an image is to land under a name under which this job can have none yet."""
    if decision.disposition not in {Disposition.MAKE, Disposition.FETCH}:
        return False
    if record is None or record.job.filename != job.filename:
        return True
    # what was paid for may have landed unrecorded; what was never sent can't have
    return record.stored is None and not (record.charged or record.unknown)


def _in_the_way(job: PlannedJob, name: str) -> Problem:
    return Problem(
        Where(job.manifest),
        f"{name} is in the output folder already, and is not an image of this job",
        "move it away, or use another output folder (-o); nothing is overwritten",
        job_id=job.id,
    )


def _claimed(job: PlannedJob, owner: str) -> Problem:
    return Problem(
        Where(job.manifest),
        f"the id {job.id!r} belongs to {owner} in this output folder",
        "use another output folder (-o), or another id",
        field="id",
        job_id=job.id,
    )
