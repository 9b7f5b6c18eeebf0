"""Planning against the ledger and the disk: what a run would do, and writing it down once it may."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import anyio.to_thread
import orjson

from fluxbatch.app.decided import Decided, enlisted, lands, lands_anew, on_record, overwritten
from fluxbatch.app.heritage import Heritage
from fluxbatch.formats import EXTENSIONS
from fluxbatch.model.problem import Problem, Where
from fluxbatch.planning.plan import Prospect, decide, prospect_of, with_needs
from fluxbatch.planning.quote import Quote
from fluxbatch.ports import Disposition, Presence

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Container, Iterator, Mapping, Sequence

    from fluxbatch.app.heritage import Adopting, View
    from fluxbatch.model.job import PlannedJob, Record
    from fluxbatch.planning.findings import Findings
    from fluxbatch.planning.intake import Intake
    from fluxbatch.planning.orphans import Orphan
    from fluxbatch.planning.plan import Decision, Elsewhere
    from fluxbatch.planning.remakes import Remake
    from fluxbatch.ports import Ledger, Sink
    from fluxbatch.settings import Settings

__all__ = ["Survey"]


class Survey:
    """One planner for plan, quote and run. While the folder is held, they see the same decisions.

    Args:
        intake: staged and checked.
        ledger: of the folder, or what stands for one that isn't there yet.
        sink: the images.
        settings: what the run is allowed.
        run_id: of the run; empty if there is none.
        adopting: whether mere files are taken as outputs.
        sends: whether images are to be made.
    """

    def __init__(
        self,
        intake: Intake,
        ledger: View,
        sink: Sink,
        settings: Settings,
        run_id: str = "",
        *,
        adopting: Adopting = "none",
        sends: bool = True,
    ) -> None:
        self._intake = intake
        self._ledger = ledger
        self._sink = sink
        self._settings = settings
        self._run_id = run_id
        self._sends = sends and adopting == "none"  # else nothing is made, and so nothing can be in its way
        self._heritage = Heritage(intake, ledger, sink, adopting)

    async def quote(
        self,
        findings: Findings,
        each: Callable[[Decided], None] | None = None,
        *,
        batches: Iterator[Sequence[PlannedJob]] | None = None,
    ) -> Quote:
        """Count what the run would do; ids that another manifest claims become findings. Writes nothing.

        Args:
            findings: takes what stands in the way.
            each: is told of every job, in the order of the plan.
            batches: the jobs, if they are not those that the intake keeps.
        """
        quote = Quote()
        others = await self._heritage.others()
        async for batch in self._decisions(batches or self._intake.planned()):
            landing = {one.job.filename: one for one in batch if self._sends and lands_anew(one)}
            for filename, obstacle in (await self._sink.taken(list(landing))).items():
                if not await self._is_copy(landing[filename], obstacle):
                    findings.add(_in_the_way(landing[filename].job, obstacle), fatal=True)
            for problem in await self._owned(batch):
                findings.add(problem, fatal=True)
            for one in batch:
                job, record, decision = one.job, one.record, one.decision
                if record is not None and record.job.manifest != job.manifest and record.job.manifest in others:
                    # to leave the job out would not help: its row is the other manifest's
                    findings.add(_claimed(job, record.job.manifest), fatal=True)
                if one.selected and self._sends and (file := overwritten(one)):
                    findings.add(_edited(job, file), fatal=True)
                if one.selected:
                    quote.add(job, record, decision, run_id=self._run_id, in_a_row=one.in_a_row)
                else:
                    quote.left_out += decision.disposition in {Disposition.MAKE, Disposition.FETCH}
                if each is not None:
                    each(one)
        return quote

    async def _is_copy(self, one: Decided, obstacle: str) -> bool:
        """Whether what is in the way is the copy that is to be made: of a run that died before it was on record."""
        elsewhere = one.decision.elsewhere
        if elsewhere is None or not elsewhere.copied:
            return False
        (presence,) = await self._sink.check([replace(elsewhere.stored, file=obstacle, mtime_ns=0)])
        return presence is Presence.SAME

    async def _owned(self, batch: Sequence[Decided]) -> list[Problem]:
        """Jobs whose image would replace one that is on record for another job."""
        landing = [one for one in batch if self._sends and one.selected and lands(one)]
        files = {f"{one.job.filename}.{extension}": one.job for one in landing for extension in EXTENSIONS}
        owners = await self._ledger.owners(list(files)) if files else {}
        return [
            _another(files[file], file, owner)
            for file, ids in owners.items()
            for owner in ids
            if owner != files[file].id
        ]

    async def enlist(self, ledger: Ledger) -> None:
        """Write the plan into the ledger, and copy what only has another id now."""
        for name in await self._heritage.gone():
            await ledger.release(name)
        async for batch in self._decisions(self._intake.planned()):
            if locked := [on_record(one) for one in batch if one.by_lock]:
                await ledger.enlist(self._run_id, locked)
            await ledger.enlist(self._run_id, [await enlisted(one, self._sink) for one in batch])
        # last, so that a run that dies here leaves the earlier plan as the present one
        for name in self._intake.names:
            await ledger.claim(name, self._run_id)

    def orphans(self) -> AsyncIterator[list[Orphan]]:
        """Images on record that no job asks for any more, by id; those of other manifests are none."""
        return self._heritage.orphans()

    async def _decisions(self, batches: Iterator[Sequence[PlannedJob]]) -> AsyncIterator[list[Decided]]:
        left = self._settings.limit
        while (batch := await anyio.to_thread.run_sync(next, batches, None)) is not None:
            records = await self._ledger.recall([job.id for job in batch])
            stored = {record.job.id: record.stored for record in records.values() if record.stored is not None}
            presences = await self._heritage.check(stored)
            locked = await self._heritage.on_lock([job for job in batch if job.id not in records])
            records |= {job_id: record for job_id, (record, _) in locked.items()}
            presences |= {job_id: presence for job_id, (_, presence) in locked.items()}
            elsewhere = await self._heritage.find(batch, records, presences)
            chosen: Container[str] = {job.id for job in batch}
            expected: dict[str, tuple[Prospect, int]] = {}
            if self._intake.narrowed or self._intake.chained:
                chosen, expected = await anyio.to_thread.run_sync(self._look_up, batch)
            decided: list[Decided] = []
            for job in batch:
                one = self._decide(
                    job,
                    records.get(job.id),
                    presences.get(job.id),
                    elsewhere.get(job.id),
                    expected,
                    by_lock=job.id in locked,
                )
                selected = job.id in chosen and not one.decision.later
                if selected and left is not None and one.decision.disposition is Disposition.MAKE:
                    selected = left > 0
                    left -= 1
                if not selected:
                    one = replace(one, selected=False)
                if self._intake.chained:  # also for the next one: what needs others may come in the same batch
                    expected[job.id] = prospect_of(job, one.record, one.decision, selected=selected), one.in_a_row
                decided.append(one)
            if self._intake.chained:
                await anyio.to_thread.run_sync(self._expect, {job.id: expected[job.id] for job in batch})
            yield decided

    def _look_up(self, batch: Sequence[PlannedJob]) -> tuple[set[str], dict[str, tuple[Prospect, int]]]:
        chosen = self._intake.chosen([job.id for job in batch])
        needed = {job_id for job in batch for job_id in job.needs}
        found = self._intake.expected(sorted(needed)) if needed else {}
        return chosen, {job_id: _prospect(said) for job_id, said in found.items()}

    def _expect(self, prospects: Mapping[str, tuple[Prospect, int]]) -> None:
        self._intake.expect({job_id: orjson.dumps(said) for job_id, said in prospects.items()})

    def _decide(
        self,
        job: PlannedJob,
        record: Record | None,
        presence: Presence | None,
        elsewhere: Elsewhere | None,
        expected: Mapping[str, tuple[Prospect, int]],
        *,
        by_lock: bool,
    ) -> Decided:
        decision = decide(
            job,
            record,
            presence,
            elsewhere=elsewhere,
            by_lock=by_lock,
            retry=self._settings.retry,
            retry_altered=self._settings.retry_altered,
        )
        decision = _told(decision, self._intake.remake_of(job), record)
        passed_over = self._heritage.passed_over.get(job.id)
        if passed_over and record is None and decision.disposition is Disposition.MAKE:
            decision = replace(decision, why=f"new; {passed_over} was edited, and is not copied", short=decision.why)
        if not job.needs:
            return Decided(job, record, decision, selected=True, by_lock=by_lock)
        # what isn't planned at all was told as an error
        needs = {job_id: expected.get(job_id, (Prospect.FAILED, 0)) for job_id in job.needs}
        decision = with_needs(decision, {job_id: prospect for job_id, (prospect, _) in needs.items()})
        before = max((number for prospect, number in needs.values() if prospect is Prospect.COMING), default=0)
        return Decided(job, record, decision, selected=True, in_a_row=before + 1, by_lock=by_lock)


def _told(decision: Decision, remake: Remake | None, record: Record | None) -> Decision:
    """A decision that says so if it is about an image that was rejected."""
    stored = record.stored if record is not None else None
    if decision.disposition is not Disposition.MAKE or remake is None or stored is None:
        return decision
    if stored.sha256 != remake.sha256:
        return decision
    return replace(decision, why=f"rejected, round {remake.round}: {decision.why}", short="rejected")


def _prospect(said: bytes) -> tuple[Prospect, int]:
    prospect, number = orjson.loads(said)
    return Prospect(prospect), number


def _in_the_way(job: PlannedJob, name: str) -> Problem:
    return Problem(
        Where(job.manifest),
        f"{name} is in the output folder already, and is not on record as an image of this job",
        "fluxbatch adopt takes it as one; else move it away, or use another output folder (-o): nothing is overwritten",
        job_id=job.id,
    )


def _another(job: PlannedJob, file: str, owner: str) -> Problem:
    return Problem(
        Where(job.manifest),
        f"{file} is the image of the job {owner!r}, which this one would replace",
        "give the jobs file names of their own, or move the file away; nothing is overwritten",
        job_id=job.id,
    )


def _edited(job: PlannedJob, file: str) -> Problem:
    return Problem(
        Where(job.manifest),
        f"{file} was edited since it was made, and its job has changed: a new image would replace it",
        "--retry altered makes it anew, fluxbatch adopt --changed keeps it as it is; or move it away",
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
