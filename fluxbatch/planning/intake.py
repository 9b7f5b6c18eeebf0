"""The intake of a run: sources are staged on disk, checked without sending anything, and handed out as jobs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

import orjson

from fluxbatch.model.problem import Level, Problem, Where
from fluxbatch.planning.flaw import Unreadable
from fluxbatch.planning.photos import PhotoBook
from fluxbatch.planning.planner import Planner, load_job
from fluxbatch.planning.reading.draft import Fault
from fluxbatch.planning.scratch import Clash, Scratch
from fluxbatch.planning.sources import JobList, ManifestFile, PhotoSet, SourceSpec
from fluxbatch.planning.staging import Body, stage_draft

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from fluxbatch.model.job import PlannedJob
    from fluxbatch.planning.findings import Findings
    from fluxbatch.planning.reading.draft import Opened
    from fluxbatch.planning.templates import Template
    from fluxbatch.ports import Memo

__all__ = ["Intake", "JobList", "ManifestFile", "PhotoSet", "SourceSpec"]

_BATCH: Final = 256
_ID_ALONE: Final = frozenset({"{{ id }}", "{{id}}"})
_IMAGE_ENDINGS: Final = (".jpg", ".jpeg", ".png", ".webp")


@dataclass(slots=True)
class _Taken:
    """What is known of a source once it is open: the folder of its paths, and its own ``out:``."""

    base: str = ""
    out: Path | None = None


class Intake:
    """All that a run is asked for. Use as a context manager, or ``close`` it.

    Order of use: ``stage``, ``check``, then ``planned``; each runs in a thread of the caller's choice, one at a time.
    Rows never sit in memory all at once.

    Args:
        sources: in the order of the run.
        findings: takes what is wrong.
        memo: remembers photos from run to run.
        prices: USD per image by model, before the price list of fluxbatch.
    """

    def __init__(
        self,
        sources: Sequence[SourceSpec],
        *,
        findings: Findings,
        memo: Memo | None = None,
        prices: Mapping[str, float] | None = None,
    ) -> None:
        self._sources = tuple(sources)
        self._names = [source.name for source in self._sources]
        self._findings = findings
        self._prices = dict(prices or {})
        self._scratch = Scratch()
        self._photos = PhotoBook(self._scratch, memo)
        self._taken: list[_Taken] = [_Taken() for _ in self._sources]
        self._total = 0
        self._unusable = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free the scratch space. May be called again."""
        self._scratch.close()

    @property
    def names(self) -> list[str]:
        """How each source is known in the ledger: the absolute path of a manifest, ``photos``, or a list's name."""
        return list(self._names)

    @property
    def outs(self) -> list[tuple[str, Path | None, Path]]:
        """For each source its name, its own ``out:`` made absolute (once staged), and where images go without one."""
        return [
            (source.name, taken.out, source.default_out)
            for source, taken in zip(self._sources, self._taken, strict=True)
        ]

    @property
    def total(self) -> int:
        """Rows that were staged, invalid ones included."""
        return self._total

    @property
    def unusable(self) -> int:
        """Rows that can't be known by an id (not readable, a bad id, a clash) and so are not among the planned."""
        return self._unusable

    def stage(self) -> None:
        """Read every source: syntax, types, ids and clashes.

        Raises:
            StorageError: the temporary folder is full.
        """
        seen: set[str] = set()
        for number, source in enumerate(self._sources):
            if source.name in seen:
                again = Problem(Where(source.name), "is given twice", "give it once")
                self._findings.add(again, position=self._total, fatal=True)
                continue
            seen.add(source.name)
            self._stage_source(number, source)
        for clash in self._scratch.clashes():
            self._unusable += 1
            problem = _clash_problem(clash, self._sources[clash.source])
            self._findings.add(problem, position=clash.position)

    def check(self) -> None:
        """Check every staged row as if it were to be sent: photos, limits of its model. Sends nothing.

        Raises:
            StorageError: the temporary folder is full.
        """
        bases = [taken.base for taken in self._taken]
        planner = Planner(self.names, bases, self._photos, self._findings, self._prices)
        for rows in self._scratch.rows(_BATCH):
            for job in planner.plan(rows):
                self._scratch.add_job(job.position, orjson.dumps(job))
        self._photos.close()
        self._scratch.flush()

    def planned(self, batch: int = _BATCH) -> Iterator[list[PlannedJob]]:
        """All jobs that have an id, in order, in batches; the invalid ones carry a ``defect``."""
        for bodies in self._scratch.jobs(batch):
            yield [load_job(body) for body in bodies]

    def _stage_source(self, number: int, source: SourceSpec) -> None:
        start, label = self._total, str(source.path) if isinstance(source, ManifestFile) else source.name
        faults: list[Fault] = []
        try:
            opened = source.open()
            faults = opened.faults
            base = opened.base.absolute()
            self._taken[number] = _Taken(str(base), base / opened.out if opened.out else None)
            self._stage_rows(number, opened)
        except Unreadable as problem:
            faults.append(Fault(problem.line, problem.message, problem.remedy))
        except OSError as error:
            faults.append(Fault(0, f"can't be read: {error.strerror}", "check its permissions"))
        for fault in faults:
            level = Level.WARNING if fault.warning else Level.ERROR
            problem_found = Problem(Where(label, fault.line), fault.message, fault.remedy, fault.field, level=level)
            self._findings.add(problem_found, position=start, fatal=True)

    def _stage_rows(self, number: int, opened: Opened) -> None:
        template = _template(opened)
        for draft in opened.drafts:
            position = self._total
            self._total += 1
            if isinstance(draft, Unreadable):
                self._unusable += 1
                where = Where(opened.label, draft.line)
                self._findings.add(Problem(where, draft.message, draft.remedy), position=position)
                continue
            staged = stage_draft(draft, position, number, opened.label, template)
            for problem in staged.problems:
                self._findings.add(problem, position=position)
            if staged.row is None:
                self._unusable += 1
            else:
                self._scratch.add_row(staged.row)


def _template(opened: Opened) -> Template | None:
    """The template of file names; one that can't be used is a fault, and the ids have to do."""
    if opened.filename is None or opened.filename[0].strip() in _ID_ALONE:
        return None
    from fluxbatch.planning.templates import BadTemplate, Template

    text, line = opened.filename
    if text.rstrip().lower().endswith(_IMAGE_ENDINGS):
        remedy = "leave it out"
        opened.faults.append(Fault(line, "ends in an extension, which is added by the bytes", remedy, "filename", True))
    try:
        return Template(text)
    except BadTemplate as problem:
        opened.faults.append(Fault(line, str(problem), 'write a template as "{{ id }}"', "filename"))
        return None


def _clash_problem(clash: Clash, source: SourceSpec) -> Problem:
    body = Body(**orjson.loads(clash.body))
    if clash.id != clash.first_id:
        message = f"the file name {clash.filename!r} is also that of {clash.first_id!r} at {clash.first_place}"
        remedy = "choose another one: upper and lower case are the same on some disks"
        return Problem(body.where("filename"), message, remedy, "filename", clash.id)
    if not body.named:
        message = f"the job is the same as the one at {clash.first_place}"
        return Problem(body.where(""), message, "remove one, or give each an id and a seed", "", clash.id)
    message = f"the id {clash.id!r} is taken by {clash.first_place}"
    remedy = "rename one of the photos" if isinstance(source, PhotoSet) else "give each job an id of its own"
    return Problem(body.where("id"), message, remedy, "id", clash.id)
