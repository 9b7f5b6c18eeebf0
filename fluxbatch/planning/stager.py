"""Sources are read into the scratch: syntax, types, ids and clashes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fluxbatch.model.problem import Level, Problem, Where
from fluxbatch.planning.flaw import Unreadable
from fluxbatch.planning.lockfile import LOCK_NAME, LockBook
from fluxbatch.planning.prompt_files import PromptFiles
from fluxbatch.planning.reading.draft import Fault
from fluxbatch.planning.sources import ManifestFile, PhotoSet
from fluxbatch.planning.staging import Body, Place, stage_draft

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fluxbatch.planning.findings import Findings
    from fluxbatch.planning.reading.draft import Opened
    from fluxbatch.planning.scratch import Clash, Scratch
    from fluxbatch.planning.sources import SourceSpec
    from fluxbatch.planning.templates import Template

__all__ = ["Stager", "Taken"]

_ID_ALONE: Final = frozenset({"{{ id }}", "{{id}}"})
_IMAGE_ENDINGS: Final = (".jpg", ".jpeg", ".png", ".webp")


@dataclass(slots=True)
class Taken:
    """What is known of a source once it is open.

    The folder of its paths, its ``out:``, lock file and tables, and whether it says ``inputs: presign``.
    """

    base: str = ""
    out: Path | None = None
    lock: Path | None = None
    tables: dict[str, tuple[str, str]] = field(default_factory=dict)
    presign: bool = False


class Stager:
    """Reads sources, once.

    Args:
        sources: in the order of the run.
        scratch: takes the rows.
        findings: takes what is wrong.
        with_locks: take the word of lock files.

    Attributes:
        taken: what became known of each source.
        locks: what lock files say.
        total: rows, invalid ones included.
        unusable: rows that can't be known by an id.
    """

    def __init__(
        self, sources: Sequence[SourceSpec], scratch: Scratch, findings: Findings, *, with_locks: bool
    ) -> None:
        self._sources = sources
        self._scratch = scratch
        self._findings = findings
        self._with_locks = with_locks
        self.taken = [Taken() for _ in sources]
        self.locks = LockBook(scratch)
        self.total = 0
        self.unusable = 0

    def stage(self) -> None:
        """Read all of them.

        Raises:
            StorageError: the temporary folder is full.
        """
        seen: set[str] = set()
        for number, source in enumerate(self._sources):
            if source.name in seen:
                again = Problem(Where(source.name), "is given twice", "give it once")
                self._findings.add(again, position=self.total, fatal=True)
                continue
            seen.add(source.name)
            self._stage_source(number, source)
        for clash in self._scratch.clashes():
            self.unusable += 1
            problem = _clash_problem(clash, self._sources[clash.source])
            self._findings.add(problem, position=clash.position)
        for source, taken in zip(self._sources, self.taken, strict=True):
            if taken.lock is not None:
                self._read_lock(taken.lock, source.name)

    def _read_lock(self, path: Path, source: str) -> None:
        try:
            self.locks.load(path, Path(source).name, source)
        except Unreadable as problem:
            self._findings.add(Problem(Where(str(path), problem.line), problem.message, problem.remedy), fatal=True)
        except OSError as error:
            problem_found = Problem(Where(str(path)), f"can't be read: {error.strerror}", "check its permissions")
            self._findings.add(problem_found, fatal=True)

    def _stage_source(self, number: int, source: SourceSpec) -> None:
        start, label = self.total, str(source.path) if isinstance(source, ManifestFile) else source.name
        faults: list[Fault] = []
        try:
            opened = source.open()
            faults = opened.faults
            base = opened.base.absolute()
            lock = base / LOCK_NAME if opened.lock and self._with_locks else None
            out = base / opened.out if opened.out else None
            self.taken[number] = Taken(str(base), out, lock, opened.tables, opened.presign)
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
        place = Place(number, opened.label, _template(opened), PromptFiles(opened.base))
        for draft in opened.drafts:
            position = self.total
            if isinstance(draft, Unreadable):
                self.total += 1
                self.unusable += 1
                where = Where(draft.file or opened.label, draft.line)
                self._findings.add(Problem(where, draft.message, draft.remedy), position=position)
                continue
            staged = stage_draft(draft, position, place)
            self.total += staged.count
            self.unusable += staged.count - len(staged.rows)
            for problem in staged.problems:
                self._findings.add(problem, position=position)
            for row in staged.rows:
                self._scratch.add_row(row)


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
    body = Body.unpack(clash.body)
    first_place = Body.unpack(clash.first_body).where("id")
    if clash.id != clash.first_id:
        message = f"the file name {clash.filename!r} is also that of {clash.first_id!r} at {first_place}"
        remedy = "choose another one: upper and lower case are the same on some disks"
        return Problem(body.where("filename"), message, remedy, "filename", clash.id)
    if not body.named:
        message = f"the job is the same as the one at {first_place}"
        return Problem(body.where(""), message, "remove one, or give each an id and a seed", "", clash.id)
    message = f"the id {clash.id!r} is taken by {first_place}"
    remedy = "rename one of the photos" if isinstance(source, PhotoSet) else "give each job an id of its own"
    return Problem(body.where("id"), message, remedy, "id", clash.id)
