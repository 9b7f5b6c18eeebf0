"""Images that are there for a job, though its own row in the ledger doesn't have them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

import anyio
import anyio.to_thread

from fluxbatch.model.job import Record
from fluxbatch.model.state import JobState
from fluxbatch.planning.orphans import Orphan
from fluxbatch.planning.plan import Elsewhere, Origin
from fluxbatch.ports import Presence

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from fluxbatch.model.job import PlannedJob, Stored
    from fluxbatch.planning.intake import Intake
    from fluxbatch.ports import Sink

__all__ = ["Adopting", "Heritage", "View"]

Adopting: TypeAlias = Literal["none", "new", "changed"]

_UNDER_WAY = frozenset({JobState.SUBMITTED, JobState.GENERATED})
_PAGE = 1000


class View(Protocol):
    """As much of the ledger as planning looks at."""

    async def recall(self, job_ids: Sequence[str]) -> dict[str, Record]:
        """The rows of these jobs, as far as there are any."""
        ...

    async def manifests(self) -> list[str]:
        """The manifests that claim ids in this folder."""
        ...

    async def ids(self, after: str = "", limit: int = 1000) -> list[str]:
        """The ids of all rows, by id."""
        ...

    async def owners(self, files: Sequence[str]) -> dict[str, list[str]]:
        """The ids of the rows that have these files as their image on record, by file."""
        ...


class Heritage:
    """What lock files, jobs of other ids and mere files leave to the jobs of a plan.

    Args:
        intake: the plan.
        ledger: of the folder.
        sink: the images.
        adopting: whether files count that are on record for nobody: of jobs that never had an image, of those also
            whose image is not what is asked for, or none.

    Attributes:
        passed_over: by jobs of the latest batch, the image that would be theirs if nobody had edited it.
    """

    def __init__(self, intake: Intake, ledger: View, sink: Sink, adopting: Adopting = "none") -> None:
        self._intake = intake
        self._ledger = ledger
        self._sink = sink
        self._adopting = adopting
        self._others: set[str] | None = None
        self._orphans_known = False
        self._given_known = False
        self.passed_over: dict[str, str] = {}

    async def find(
        self, batch: Sequence[PlannedJob], records: Mapping[str, Record], presences: Mapping[str, Presence]
    ) -> dict[str, Elsewhere]:
        """Images for jobs of a batch whose own row has none that is asked for and there, by id."""
        self.passed_over = {}
        wanting = [job for job in batch if _wants(job, records.get(job.id), presences.get(job.id))]
        if not wanting:
            return {}
        locked = await self._locked(wanting)
        asked = {
            job.id: [stored for stored in locked.get(job.id, ()) if stored.fingerprint == job.fingerprint]
            for job in wanting
        }  # others are not even looked at: a lock file knows no times, so that each would be read
        found: dict[str, Elsewhere] = {}
        for job, stored, presence in await self._checked(wanting, asked):
            there = presence is Presence.SAME and job.id not in found
            if there and not await self._owned_by_another(stored.file, job):
                why = f"unchanged, by {'its object' if stored.etag else 'fluxbatch.lock'}"
                found[job.id] = Elsewhere(stored, Origin.LOCK, why)
        heirs = [job for job in wanting if job.id not in found and _may_inherit(records.get(job.id))]
        found |= await self._inherited(heirs)
        if self._adopting != "none":
            found |= await self._adopted([job for job in wanting if job.id not in found], records)
        return found

    async def on_lock(self, jobs: Sequence[PlannedJob]) -> dict[str, tuple[Record, Presence]]:
        """What stands for the rows of jobs that the ledger knows nothing of, by what lock files say of them."""
        locked = await self._locked(jobs)
        found: dict[str, tuple[Record, Presence]] = {}
        if not locked:
            return found
        checked = await self._checked(jobs, locked)
        owners = await self._ledger.owners([stored.file for _, stored, _ in checked])
        for wanted in (Presence.SAME, Presence.ALTERED):
            for job, stored, presence in checked:
                # a lock file may come with somebody's pull request: what is another job's stays that
                if presence is wanted and job.id not in found and not owners.get(stored.file):
                    found[job.id] = _as_locked(job, stored), presence
        return found

    async def _locked(self, jobs: Sequence[PlannedJob]) -> dict[str, list[Stored]]:
        """The images that lock files name for jobs, and those that the sink itself knows of, by id."""
        if not jobs:
            return {}
        locked = await anyio.to_thread.run_sync(self._intake.locked, jobs) if self._intake.has_locked else {}
        for job_id, stored in (await self._sink.known(jobs)).items():
            locked.setdefault(job_id, []).append(stored)
        return locked

    async def _checked(
        self, jobs: Sequence[PlannedJob], locked: Mapping[str, Sequence[Stored]]
    ) -> list[tuple[PlannedJob, Stored, Presence]]:
        """What became of the images that lock files name for jobs."""
        both = [(job, stored) for job in jobs for stored in locked.get(job.id, ())]
        presences = await self._sink.check([stored for _, stored in both]) if both else []
        return [(job, stored, presence) for (job, stored), presence in zip(both, presences, strict=True)]

    async def _adopted(self, jobs: Sequence[PlannedJob], records: Mapping[str, Record]) -> dict[str, Elsewhere]:
        found: dict[str, Elsewhere] = {}
        for job in jobs:
            if self._adopting == "changed" or _may_inherit(records.get(job.id)):
                stored = await self._sink.landed(job.filename, 0.0)
                if stored is not None and not await self._owned_by_another(stored.file, job):
                    found[job.id] = Elsewhere(replace(stored, fingerprint=job.fingerprint), Origin.FILE, "adopted")
        return found

    async def _inherited(self, jobs: Sequence[PlannedJob]) -> dict[str, Elsewhere]:
        """Images of jobs that got another id: those whose old id nobody asks for any more."""
        if not jobs:
            return {}
        await self._find_orphans()
        if self._intake.orphans.empty:
            return {}
        await self._find_given()

        found: dict[str, Elsewhere] = {}
        wanting = list(jobs)
        while wanting:
            orphans = await anyio.to_thread.run_sync(self._inherit, wanting)
            there = await self.check({job_id: orphan.stored for job_id, orphan in orphans.items()})
            for job_id, orphan in orphans.items():
                if there[job_id] is Presence.SAME:
                    found[job_id] = Elsewhere(orphan.stored, Origin.OTHER, f"was {orphan.id}, its image is copied")
                elif there[job_id] is Presence.ALTERED:
                    self.passed_over[job_id] = orphan.stored.file
            # one that is gone or edited hides none that is there
            spoilt = {job_id: orphan.id for job_id, orphan in orphans.items() if job_id not in found}
            await anyio.to_thread.run_sync(self._intake.orphans.spoil, list(spoilt.values()))
            wanting = [job for job in wanting if job.id in spoilt]
        return found

    def _inherit(self, jobs: Sequence[PlannedJob]) -> dict[str, Orphan]:
        found = ((job.id, self._intake.orphans.inherit(job.id, job.fingerprint)) for job in jobs)
        return {job_id: orphan for job_id, orphan in found if orphan is not None}

    async def _owned_by_another(self, file: str, job: PlannedJob) -> bool:
        owners = (await self._ledger.owners([file])).get(file, [])
        return any(owner != job.id for owner in owners)

    async def orphans(self) -> AsyncIterator[list[Orphan]]:
        """Images on record that no job asks for any more, by id; those of other manifests are none."""
        await self._find_orphans()
        pages = self._intake.orphans.all()
        while (page := await anyio.to_thread.run_sync(next, pages, None)) is not None:
            yield page

    async def check(self, stored: Mapping[str, Stored]) -> dict[str, Presence]:
        """What became of these images, by the same names."""
        return dict(zip(stored, await self._sink.check(list(stored.values())), strict=True)) if stored else {}

    async def others(self) -> set[str]:
        """Manifests that claim ids in this folder, and are none of this plan's."""
        if self._others is None:
            gone = set(await self.gone())
            self._others = {name for name in await self._ledger.manifests() if name not in gone} - set(
                self._intake.names
            )
        return self._others

    async def gone(self) -> list[str]:
        """Manifests whose file is no longer there: what they claimed is free."""
        names = await self._ledger.manifests()
        return [name for name in names if Path(name).is_absolute() and not await anyio.Path(name).exists()]

    async def _find_orphans(self) -> None:
        if self._orphans_known:
            return
        self._orphans_known = True
        others = await self.others()
        after = ""
        while ids := await self._ledger.ids(after, _PAGE):
            asked = await anyio.to_thread.run_sync(self._intake.asks_for, ids)
            records = await self._ledger.recall([job_id for job_id in ids if job_id not in asked])
            mine = set(self._intake.names)
            orphans = [
                _orphan(record, listed=record.job.manifest in mine and Path(record.job.manifest).is_absolute())
                for record in records.values()
                if _is_orphan(record, others)
            ]
            if orphans:
                await anyio.to_thread.run_sync(self._intake.orphans.add, orphans)
            after = ids[-1]
        locked = await anyio.to_thread.run_sync(self._intake.locked_for_others)
        known = await self._ledger.recall([job_id for job_id, _ in locked])
        strangers = [Orphan(job_id, stored) for job_id, stored in locked if job_id not in known]
        await anyio.to_thread.run_sync(self._intake.orphans.add, strangers)

    async def _find_given(self) -> None:
        """Find out which orphans were copied by earlier runs: what was one image stays with one job."""
        if self._given_known:
            return
        self._given_known = True
        after = ""
        while ids := await self._ledger.ids(after, _PAGE):
            asked = await anyio.to_thread.run_sync(self._intake.asks_for, ids)
            records = await self._ledger.recall(sorted(asked))
            images = {record.job.id: record.stored for record in records.values() if record.stored is not None}
            await anyio.to_thread.run_sync(self._intake.orphans.given, images)
            after = ids[-1]


def _wants(job: PlannedJob, record: Record | None, presence: Presence | None) -> bool:
    """Whether an image that is elsewhere would be of use."""
    if job.defect is not None or (record is not None and record.state in _UNDER_WAY):
        return False
    has_it = record is not None and record.stored is not None and record.stored.fingerprint == job.fingerprint
    return not (has_it and presence is Presence.SAME)


def _as_locked(job: PlannedJob, stored: Stored) -> Record:
    known = replace(job, fingerprint=stored.fingerprint, filename=stored.filename)
    return Record(known, JobState.STORED, stored=stored)


def _may_inherit(record: Record | None) -> bool:
    """Only what never came to anything: a job that has an image of its own is one that was changed, not renamed."""
    return record is None or (record.stored is None and not (record.charged or record.unknown))


def _is_orphan(record: Record, others: set[str]) -> bool:
    return record.stored is not None and record.state not in _UNDER_WAY and record.job.manifest not in others


def _orphan(record: Record, *, listed: bool) -> Orphan:
    assert record.stored is not None
    stored, seed = record.stored, record.job.fields.get("seed")
    if not stored.model and stored.fingerprint == record.job.fingerprint and isinstance(seed, int):
        stored = replace(stored, model=record.job.model, seed=seed)
    return Orphan(record.job.id, stored, listed=listed)
