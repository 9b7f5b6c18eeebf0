"""The intake of a run: sources are staged on disk, checked without sending anything, and handed out as jobs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, Self

import orjson

from fluxbatch.planning.choice import Choice
from fluxbatch.planning.flaw import Flaw
from fluxbatch.planning.graph import Graph
from fluxbatch.planning.ids import clash_key
from fluxbatch.planning.objects import ObjectBook
from fluxbatch.planning.orphans import Orphans
from fluxbatch.planning.photos import PhotoBook
from fluxbatch.planning.places import Places
from fluxbatch.planning.planner import Planner, load_job
from fluxbatch.planning.scratch import Scratch, among
from fluxbatch.planning.sources import JobList, ManifestFile, PhotoSet, SourceSpec
from fluxbatch.planning.stager import Stager
from fluxbatch.planning.staging import Body, defect_message, problem_of
from fluxbatch.planning.upstream import Upstream

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from fluxbatch.model.job import PlannedJob, Stored
    from fluxbatch.model.problem import Where
    from fluxbatch.planning.findings import Findings
    from fluxbatch.planning.overlay import Overlay
    from fluxbatch.planning.remakes import Remake
    from fluxbatch.planning.scratch import StagedRow
    from fluxbatch.ports import Decoder, Memo, ObjectIndex

__all__ = ["Intake", "JobList", "ManifestFile", "PhotoSet", "SourceSpec"]

_BATCH: Final = 500
_SHOWN_OF_CIRCLE: Final = 8


class Intake:
    """All that a run is asked for. Use as a context manager, or ``close`` it.

    Order of use: ``stage``, ``check``, then ``planned``; each runs in a thread of the caller's choice, one at a time.
    Rows never sit in memory all at once.

    Args:
        sources: in the order of the run.
        findings: takes what is wrong.
        memo: remembers photos from run to run.
        prices: USD per image by model, before the price list of fluxbatch.
        decoder: looks into files of kinds that the API doesn't take.
        locks: take the word of lock files; they are about real images, not about simulated ones.
        objects: asks object stores for photos; without it, those are errors.

    Attributes:
        memo: as given.
        orphans: images that no job asks for, as far as they were looked for.
        overlays: by the name of a source, what stands in for its words; to be put there before the checks.
    """

    def __init__(
        self,
        sources: Sequence[SourceSpec],
        *,
        findings: Findings,
        memo: Memo | None = None,
        prices: Mapping[str, float] | None = None,
        decoder: Decoder | None = None,
        locks: bool = True,
        objects: ObjectIndex | None = None,
    ) -> None:
        self._sources = tuple(sources)
        self._names = [source.name for source in self._sources]
        self._findings = findings
        self._prices = dict(prices or {})
        self._scratch = Scratch()
        self.memo = self._memo = memo
        self._photos = PhotoBook(self._scratch, memo, decoder)
        self._objects = ObjectBook(self._scratch, objects, memo)
        self._graph = Graph(self._scratch)
        self._stager = Stager(self._sources, self._scratch, findings, with_locks=locks)
        self.orphans = Orphans(self._scratch)
        self.overlays: dict[str, Overlay] = {}
        self._choice: Choice | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free the scratch space and let go of the memo. May be called again."""
        self._scratch.close()
        if self._memo is not None:
            self._memo.close()

    @property
    def names(self) -> list[str]:
        """How each source is known in the ledger: the absolute path of a manifest, ``photos``, or a list's name."""
        return list(self._names)

    @property
    def outs(self) -> list[tuple[str, Path | None, Path]]:
        """For each source its name, its own ``out:`` made absolute (once staged), and where images go without one."""
        return [
            (source.name, taken.out, source.default_out)
            for source, taken in zip(self._sources, self._stager.taken, strict=True)
        ]

    @property
    def tables(self) -> dict[str, tuple[str, str]]:
        """The tables that catalogues name, by their labels: encoding and sheet, empty where nothing is said of them."""
        return {label: how for taken in self._stager.taken for label, how in taken.tables.items()}

    def places(self) -> Places:
        """Where each staged job stands. Blocks."""
        return Places(self._scratch)

    @property
    def total(self) -> int:
        """Rows that were staged, invalid ones included."""
        return self._stager.total

    @property
    def unusable(self) -> int:
        """Rows that can't be known by an id (not readable, a bad id, a clash) and so are not among the planned."""
        return self._stager.unusable

    def stage(self) -> None:
        """Read every source: syntax, types, ids and clashes.

        Raises:
            StorageError: the temporary folder is full.
        """
        self._stager.stage()
        self._graph.settle()

    def check(self) -> None:
        """Check every staged row as if it were to be sent: photos, limits of its model. Sends nothing.

        Raises:
            StorageError: the temporary folder is full.
        """
        for jobs in self.checked():
            for job in jobs:
                self._scratch.add_job(orjson.dumps(job))
        self._scratch.flush()

    def checked(self) -> Iterator[list[PlannedJob]]:
        """``check`` and hand the jobs out as they come, in the order of ``planned``, which then has none of them.

        For whoever looks at each job once.
        """
        upstream = Upstream(self._scratch, self._graph)
        overlays = {number: self.overlays[name] for number, name in enumerate(self._names) if name in self.overlays}
        overlays = {number: overlay for number, overlay in overlays.items() if not overlay.empty}
        planner = Planner(
            self.names,
            self._stager.taken,
            self._photos,
            self._objects,
            upstream,
            self._findings,
            self._prices,
            overlays,
        )
        for rows in self._scratch.rows(_BATCH):
            yield planner.plan(rows)
        while not self._graph.empty:
            rows = self._graph.unblocked(_BATCH) or self._out_of_circle()
            if not rows:
                break
            yield planner.plan(rows)
        for rows in self._scratch.dropped(_BATCH):
            planner.look(rows)
        self._photos.close()

    def choose(self, only: Sequence[str] = (), *, sample: int | None = None, seed: int = 0) -> int:
        """Choose jobs by patterns of their ids, or at random, and all that these need. Returns how many are wanted."""
        self._choice = Choice(self._scratch, only=only, sample=sample, seed=seed)
        return self._choice.wanted

    def planned(self, batch: int = _BATCH) -> Iterator[list[PlannedJob]]:
        """All jobs that have an id, in batches; the invalid ones carry a ``defect``.

        In order, except that what needs others comes after them.
        """
        for bodies in self._scratch.jobs(batch):
            yield [load_job(body) for body in bodies]

    def chosen(self, ids: Sequence[str]) -> set[str]:
        """Which of these jobs are chosen; all, if nothing was."""
        return set(ids) if self._choice is None else self._choice.among(ids)

    def asks_for(self, ids: Sequence[str]) -> set[str]:
        """Which of these ids there are."""
        return self._scratch.known(ids)

    @property
    def chained(self) -> bool:
        """Whether any job needs another."""
        return not self._graph.empty

    def names_output(self, filename: str) -> bool:
        """Whether a job asks for an output of this name (without extension)."""
        return self._scratch.has_key(clash_key(filename))

    @property
    def narrowed(self) -> bool:
        """Whether jobs were chosen, by ``choose``."""
        return self._choice is not None and self._choice.narrow

    @property
    def has_locked(self) -> bool:
        """Whether lock files name any image."""
        return not self._stager.locks.empty

    def remake_of(self, job: PlannedJob) -> Remake | None:
        """What stands in for the words of a job's manifest, once it is checked."""
        overlay = self.overlays.get(job.manifest)
        return None if overlay is None else overlay.standing.get(job.id)

    def locked_now(self, manifest: str, ids: Sequence[str]) -> dict[str, list[Stored]]:
        """The images that the lock file of a manifest names for jobs, by id."""
        return self._stager.locks.stored([(job_id, manifest, "") for job_id in ids])

    def locked(self, jobs: Sequence[PlannedJob]) -> dict[str, list[Stored]]:
        """The images that lock files name for these jobs, by id; those for what is asked now come first."""
        return self._stager.locks.stored([(job.id, job.manifest, job.fingerprint) for job in jobs])

    def locked_for_others(self) -> list[tuple[str, Stored]]:
        """The images that lock files name for ids that no job has."""
        return list(self._stager.locks.unasked())

    def expect(self, prospects: Mapping[str, bytes]) -> None:
        """Remember what is to be expected of jobs, for those that need them and come later."""
        self._graph.expect(prospects)

    def expected(self, ids: Sequence[str]) -> dict[str, bytes]:
        """What is to be expected of these jobs."""
        return self._graph.expected(ids)

    def where(self, ids: Sequence[str]) -> dict[str, Where]:
        """Where these jobs stand in their manifests."""
        found = among(self._scratch.db, "SELECT id, body FROM row", ids)
        return {job_id: Body.unpack(body).where("") for job_id, body in found}

    def _out_of_circle(self) -> list[StagedRow]:
        """One row that needs itself by way of others, so that those behind it can be looked at."""
        rows = self._graph.blocked(1)
        if not rows:
            return []
        circle = self._graph.circle(rows[0])
        row = self._scratch.row(circle[0])
        body = Body.unpack(row.body)
        flaw = _circle_flaw(circle, body)
        self._findings.add(problem_of(flaw, body.where(flaw.field), row.id), position=row.position)
        body.defect = body.defect or (flaw.reason, defect_message(flaw))
        self._graph.unblock(row)
        return [replace(row, body=body.pack())]

    def locks_of(self, out: Path) -> dict[str, Path]:
        """Lock files by the names of the sources that have one, as far as they are about images in this folder."""
        folders = {name: (own or default).absolute() for name, own, default in self.outs}
        return {name: path for name, path in self.locks.items() if folders[name] == out.absolute()}

    @property
    def locks(self) -> dict[str, Path]:
        """Lock files by the names of the sources that have one, once staged."""
        pairs = zip(self._names, self._stager.taken, strict=True)
        return {name: taken.lock for name, taken in pairs if taken.lock is not None}


def _circle_flaw(circle: Sequence[str], body: Body) -> Flaw:
    """The complaint about jobs that need each other, at the image of the first one that begins the circle."""
    number = next(n for n, ref in enumerate(body.images, 1) if ref == {"job": circle[1]})
    shown = [*circle[:_SHOWN_OF_CIRCLE], "…", circle[-1]] if len(circle) > _SHOWN_OF_CIRCLE + 1 else circle
    message = f"needs itself: {' → '.join(shown)}"
    return Flaw(body.image_field(number), message, "one of these jobs has to begin with a photo, or with none")
