"""From the draft of a job to a staged row: typed, with its id and file name."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import orjson

from fluxbatch.model.flux import DEFAULT_MODEL
from fluxbatch.model.problem import Level, Problem, Where
from fluxbatch.planning.flaw import Flaw
from fluxbatch.planning.ids import clash_key, derived_id, derived_seed, unsafe_name
from fluxbatch.planning.scratch import StagedRow

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fluxbatch.planning.reading.draft import Draft
    from fluxbatch.planning.spec import Spec
    from fluxbatch.planning.templates import Template

__all__ = ["Body", "Staged", "defect_message", "problem_of", "stage_draft"]

# Of a set of photos with one prompt: what is wrong with one job, not with what all of them have in common.
_OF_THE_PHOTO: Final = frozenset({"", "id", "filename", "images", "images[1]"})


@dataclass(slots=True)
class Body:
    """What a staged row keeps beside its columns. Attributes as in ``Spec`` and ``Draft``.

    Attributes:
        named: the user wrote the id.
        flawed: fields that were left out because they are wrong.
        defect: reason and message of the first error.
    """

    file: str
    photo: str
    line: int
    lines: Mapping[str, int]
    fields: dict[str, Any]
    images: list[str]
    numbered: bool
    extra: dict[str, Any]
    meta: dict[str, Any]
    named: bool = True
    flawed: list[str] = field(default_factory=list)
    defect: tuple[str, str] | None = None

    def where(self, name: str) -> Where:
        """The place of a field, or of the job if the field stands nowhere."""
        line = self.lines.get(name) or self.lines.get(name.partition("[")[0].partition(".")[0]) or self.line
        return Where(self.photo if self.photo and name in _OF_THE_PHOTO else self.file, line)

    def image_field(self, number: int) -> str:
        """How the user wrote reference image ``number`` (1-based): ``images[2]`` or ``input_image_2``."""
        if not self.numbered:
            return f"images[{number}]"
        return "input_image" if number == 1 else f"input_image_{number}"


@dataclass(frozen=True, slots=True)
class Staged:
    """What became of a draft: a row, or none if it can't be known by an id; and what is wrong with it."""

    row: StagedRow | None
    problems: list[Problem]


def problem_of(flaw: Flaw, where: Where, job_id: str) -> Problem:
    """A flaw at its place."""
    return Problem(where, flaw.message, flaw.remedy, flaw.field, job_id, flaw.level, flaw.reason)


def stage_draft(draft: Draft, position: int, source: int, label: str, filename: Template | None) -> Staged:
    """Stage one job.

    Args:
        draft: as its source has it.
        position: over all sources.
        source: number of its source.
        label: of its source, for messages.
        filename: template of file names, None = the id.
    """
    from fluxbatch.planning.spec import read_spec  # with pydantic: late

    spec = read_spec(draft.values, row=draft.row)
    body = Body(
        file=label,
        photo=draft.photo,
        line=draft.line,
        lines=draft.lines,
        fields=spec.fields,
        images=spec.images,
        numbered=spec.numbered,
        extra=spec.extra,
        meta=spec.meta,
        named=spec.id is not None,
    )
    job_id, flaw = _id_of(spec)
    if flaw:
        spec.flaws.append(flaw)
        return Staged(None, _problems(spec.flaws, body, job_id))
    name, flaw = _filename_of(job_id, spec, filename)
    if flaw:
        spec.flaws.append(flaw)
    if spec.flaws:
        _set_defect(body, spec.flaws)
    problems = _problems(spec.flaws, body, job_id)
    place = str(body.where("id"))
    return Staged(StagedRow(position, source, place, job_id, name, clash_key(name), orjson.dumps(body)), problems)


def _id_of(spec: Spec) -> tuple[str, Flaw | None]:
    try:
        orjson.dumps((spec.fields, spec.images, spec.extra, spec.meta))
    except TypeError as error:  # includes orjson's own error
        return "", Flaw("", f"holds a value that JSON can't express: {error}", "write it as text")
    job_id = derived_id(spec) if spec.id is None else spec.id
    reason = unsafe_name(job_id)
    return job_id, Flaw("id", f"the id {reason}", "use letters, digits, '-', '_' and '.'") if reason else None


def _filename_of(job_id: str, spec: Spec, template: Template | None) -> tuple[str, Flaw | None]:
    """The file name; with a flaw, the id has to do."""
    if template is None:
        return job_id, None
    from fluxbatch.planning.templates import BadTemplate

    values: dict[str, Any] = {**spec.meta, **spec.fields}
    values.setdefault("model", DEFAULT_MODEL)
    values.setdefault("seed", derived_seed(job_id))
    values.update(id=job_id, meta=spec.meta, row=spec.meta)
    values.pop("prompt", None)
    try:
        name = template.render(values)
    except BadTemplate as problem:
        return job_id, Flaw("filename", f"the template {problem}", "give the job this value, or change the template")
    reason = unsafe_name(name)
    return (job_id, Flaw("filename", f"the file name {reason}", "change the template")) if reason else (name, None)


def _set_defect(body: Body, flaws: list[Flaw]) -> None:
    body.flawed = [flaw.field.partition("[")[0] for flaw in flaws]
    first = next((flaw for flaw in flaws if flaw.level is Level.ERROR), None)
    if first:
        body.defect = (first.reason, defect_message(first))


def defect_message(flaw: Flaw) -> str:
    """A flaw as the message of a failed job."""
    return f"{flaw.field}: {flaw.message}" if flaw.field else flaw.message


def _problems(flaws: list[Flaw], body: Body, job_id: str) -> list[Problem]:
    return [problem_of(flaw, body.where(flaw.field), job_id) for flaw in flaws]
