"""From the draft of an entry to staged rows, one for each of its jobs: typed, with id and file name."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from dataclasses import fields as dataclass_fields
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

import orjson

from fluxbatch.model.flux import DEFAULT_MODEL
from fluxbatch.model.problem import Level, Problem, Where
from fluxbatch.planning.expansion import Part, parts_of
from fluxbatch.planning.flaw import Flaw
from fluxbatch.planning.ids import clash_key, derived_id, derived_seed, unsafe_name
from fluxbatch.planning.scratch import StagedRow
from fluxbatch.planning.spec import read_spec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fluxbatch.planning.prompt_files import PromptFiles
    from fluxbatch.planning.reading.draft import Draft
    from fluxbatch.planning.references import Reference
    from fluxbatch.planning.spec import Spec
    from fluxbatch.planning.templates import Template

__all__ = ["Body", "Place", "Staged", "defect_message", "problem_of", "stage_draft"]

# Of a set of photos with one prompt: what is wrong with one job, not with what all of them have in common.
_OF_THE_PHOTO: Final = frozenset({"", "id", "filename", "images", "images[1]"})
# What is wrong with these is what is wrong with the prompt.
_PROMPTS: Final = frozenset({"prompt_file", "chain"})


@dataclass(slots=True)
class Body:
    """What a staged row keeps beside its columns. Attributes as in ``Spec`` and ``Draft``.

    Attributes:
        file: that the lines are of.
        named: the user wrote the id.
        flawed: fields that were left out because they are wrong.
        defect: reason and message of the first error.
        variant: as in ``Part``.
    """

    file: str
    photo: str
    line: int
    lines: Mapping[str, int]
    fields: dict[str, Any]
    images: list[Reference]
    numbered: bool
    extra: dict[str, Any]
    meta: dict[str, Any]
    fit: dict[str, Any] = field(default_factory=dict)
    named: bool = True
    flawed: list[str] = field(default_factory=list)
    defect: tuple[str, str] | None = None
    variant: int = 0

    @classmethod
    def unpack(cls, packed: bytes) -> Body:
        """A body, read back."""
        return cls(*orjson.loads(packed))

    def pack(self) -> bytes:
        """Itself as bytes: its values in order, a third of the time that names would take.

        Raises:
            TypeError: a value can't be expressed in JSON.
        """
        return orjson.dumps(_VALUES(self))

    def where(self, name: str) -> Where:
        """The place of a field, or of the job if the field stands nowhere."""
        lines = self.lines
        line = 0
        if lines:
            entry = name.rpartition(".")[0]
            line = lines.get(name) or lines.get(entry) or lines.get(name.partition("[")[0].partition(".")[0]) or 0
        return Where(self.photo if self.photo and name in _OF_THE_PHOTO else self.file, line or self.line)

    def image_field(self, number: int) -> str:
        """How the user wrote reference image ``number`` (1-based): ``images[2]`` or ``input_image_2``."""
        if not self.numbered:
            return f"images[{number}]"
        return "input_image" if number == 1 else f"input_image_{number}"


_VALUES: Final[Callable[[Body], tuple[Any, ...]]] = attrgetter(*(one.name for one in dataclass_fields(Body)))


@dataclass(frozen=True, slots=True)
class Place:
    """Where a draft comes from.

    Attributes:
        source: number of its source.
        label: of its source, for messages.
        filename: template of file names, None = the id.
        prompts: files that hold prompts.
    """

    source: int
    label: str
    filename: Template | None
    prompts: PromptFiles


@dataclass(frozen=True, slots=True)
class Staged:
    """What became of a draft: its rows without those that can't be known by an id, and what is wrong with them.

    Attributes:
        count: jobs, those without a row included.
    """

    rows: list[StagedRow]
    problems: list[Problem]
    count: int = 1


def problem_of(flaw: Flaw, where: Where, job_id: str) -> Problem:
    """A flaw at its place."""
    return Problem(where, flaw.message, flaw.remedy, flaw.field, job_id, flaw.level, flaw.reason)


def stage_draft(draft: Draft, position: int, place: Place) -> Staged:
    """Stage the jobs of an entry.

    Args:
        draft: as its source has it.
        position: of its first job, over all sources.
        place: where it comes from.
    """
    spec = read_spec(draft.values, row=draft.row, prompts=place.prompts)
    body = Body(
        file=draft.file or place.label,
        photo=draft.photo,
        line=draft.line,
        lines=draft.lines,
        fields=spec.fields,
        images=spec.images,
        numbered=spec.numbered,
        extra=spec.extra,
        meta=spec.meta,
        fit=spec.fit,
        named=spec.id is not None,
    )
    count = spec.variants * max(1, len(spec.chain))
    job_id, flaw = _id_of(spec)
    if flaw:
        spec.flaws.append(flaw)
        return Staged([], _problems(spec.flaws, body, job_id), count)
    problems: list[Problem] = []
    if spec.flaws:
        _set_defect(body, spec.flaws)
        problems += _problems(spec.flaws, body, job_id)
    rows: list[StagedRow] = []
    try:
        for number, part in enumerate(parts_of(spec, job_id)):
            row, flaws = _stage_part(part, position + number, replace(body) if count > 1 else body, place)
            if flaws:
                problems += _problems(flaws, body, part.id)
            if row is not None:
                rows.append(row)
    except TypeError as error:  # includes orjson's own error
        return Staged([], [*problems, *_problems([_inexpressible(error)], body, "")], count)
    return Staged(rows, problems, count)


def _stage_part(part: Part, position: int, body: Body, place: Place) -> tuple[StagedRow | None, list[Flaw]]:
    """The row of one job; ``body`` is that of its entry, and becomes its own."""
    if reason := unsafe_name(part.id):
        return None, [Flaw("id", f"the id {reason}", "use letters, digits, '-', '_' and '.'")]
    body.fields, body.images, body.numbered, body.variant = part.fields, part.images, part.numbered, part.variant
    if part.prompt_at != "prompt" and part.prompt_at in body.lines:
        body.lines = {**body.lines, "prompt": body.lines[part.prompt_at]}
    name, flaw = _filename_of(part, body, place.filename)
    flaws = [flaw] if flaw else []
    if flaw and body.defect is None:
        _set_defect(body, flaws)
    needs = [image["job"] for image in part.images if isinstance(image, dict)] if part.images else []
    row = StagedRow(
        position,
        place.source,
        part.id,
        name,
        clash_key(name),
        body.pack(),
        tuple(dict.fromkeys(needs)) if needs else (),
    )
    return row, flaws


def _id_of(spec: Spec) -> tuple[str, Flaw | None]:
    try:
        job_id = derived_id(spec) if spec.id is None else spec.id
    except TypeError as error:  # includes orjson's own error
        return "", _inexpressible(error)
    reason = unsafe_name(job_id)
    return job_id, Flaw("id", f"the id {reason}", "use letters, digits, '-', '_' and '.'") if reason else None


def _inexpressible(error: TypeError) -> Flaw:
    return Flaw("", f"holds a value that JSON can't express: {error}", "write it as text")


def _filename_of(part: Part, body: Body, template: Template | None) -> tuple[str, Flaw | None]:
    """The file name; with a flaw, the id has to do."""
    if template is None:
        return part.id, None
    from fluxbatch.planning.templates import BadTemplate

    values: dict[str, Any] = {**body.meta, **part.fields}
    values.setdefault("model", DEFAULT_MODEL)
    values.setdefault("seed", derived_seed(part.id))
    values.update(id=part.id, meta=body.meta, row=body.meta)
    values.pop("prompt", None)
    try:
        name = template.render(values)
    except BadTemplate as problem:
        return part.id, Flaw("filename", f"the template {problem}", "give the job this value, or change the template")
    reason = unsafe_name(name)
    return (part.id, Flaw("filename", f"the file name {reason}", "change the template")) if reason else (name, None)


def _set_defect(body: Body, flaws: list[Flaw]) -> None:
    body.flawed = [flaw.field.partition("[")[0].partition(".")[0] for flaw in flaws]
    if not _PROMPTS.isdisjoint(body.flawed):
        body.flawed.append("prompt")
    first = next((flaw for flaw in flaws if flaw.level is Level.ERROR), None)
    if first:
        body.defect = (first.reason, defect_message(first))


def defect_message(flaw: Flaw) -> str:
    """A flaw as the message of a failed job."""
    return f"{flaw.field}: {flaw.message}" if flaw.field else flaw.message


def _problems(flaws: list[Flaw], body: Body, job_id: str) -> list[Problem]:
    return [problem_of(flaw, body.where(flaw.field), job_id) for flaw in flaws]
