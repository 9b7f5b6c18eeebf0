"""From a staged row to a planned job: its photos, the rules of its model, its fingerprint and its price."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import orjson

from fluxbatch.model.flux import DEFAULT_MODEL, FluxModel, known_models
from fluxbatch.model.job import Failure, Image, Photo, PlannedJob, RemoteImage
from fluxbatch.model.problem import Level
from fluxbatch.model.state import Reason
from fluxbatch.planning.fingerprint import fingerprint
from fluxbatch.planning.ids import derived_seed
from fluxbatch.planning.photo_rules import is_remote, reference_flaw, remote_flaws
from fluxbatch.planning.rules import Request, check_request, unknown_model
from fluxbatch.planning.staging import Body, defect_message, problem_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fluxbatch.model.job import Json
    from fluxbatch.planning.findings import Findings
    from fluxbatch.planning.flaw import Flaw
    from fluxbatch.planning.photos import PhotoBook
    from fluxbatch.planning.scratch import StagedRow

__all__ = ["Planner", "load_job"]

_MOST_IMAGES: Final = 8


class Planner:
    """Checks staged rows, in batches, and makes planned jobs of them."""

    def __init__(
        self,
        names: Sequence[str],
        bases: Sequence[str],
        photos: PhotoBook,
        findings: Findings,
        prices: Mapping[str, float],
    ) -> None:
        self._names = names
        self._bases = bases
        self._photos = photos
        self._findings = findings
        self._models = _priced(prices)

    def plan(self, rows: Sequence[StagedRow]) -> list[PlannedJob]:
        """The jobs of these rows, in order; what is wrong with them goes to the findings."""
        bodies = [Body(**orjson.loads(row.body)) for row in rows]
        paths = [
            self._path(row, ref)
            for row, body in zip(rows, bodies, strict=True)
            for ref in body.images
            if not is_remote(ref)
        ]
        if paths:
            self._photos.prepare(paths)
        return [self._job(row, body) for row, body in zip(rows, bodies, strict=True)]

    def _job(self, row: StagedRow, body: Body) -> PlannedJob:
        flaws: list[Flaw] = []
        name = body.fields.get("model", DEFAULT_MODEL)
        model = self._models.get(name)
        if model is None:
            flaws.append(unknown_model(name, self._models))
            model = FluxModel(name, _MOST_IMAGES, steps=(1, 50), guidance=(1.5, 10.0))
        images = self._images(row, body, flaws)
        photos = [image for image in images if isinstance(image, Photo)]
        request = Request(
            fields=body.fields,
            model=model,
            images=len(body.images),
            pixels=tuple(photo.width * photo.height for photo in photos),
            photo_bytes=sum(photo.size for photo in photos),
            flawed=body.flawed,
        )
        flaws += check_request(request)
        for flaw in flaws:
            self._findings.add(problem_of(flaw, body.where(flaw.field), row.id), position=row.position)
        return PlannedJob(
            id=row.id,
            manifest=self._names[row.source],
            position=row.position,
            model=name,
            fields=_complete(row.id, name, body),
            images=images,
            filename=row.filename,
            fingerprint=fingerprint(body.fields, [_mark(image) for image in images], body.extra),
            price=model.usd,
            meta=body.meta,
            defect=_defect(body, flaws),
        )

    def _images(self, row: StagedRow, body: Body, flaws: list[Flaw]) -> tuple[Image, ...]:
        """The images, image 1 first; one that can't be used stands as a name alone, and the job has a defect."""
        images: list[Image] = []
        for number, ref in enumerate(body.images, 1):
            image, found = self._image(row, ref)
            images.append(image)
            if found:
                name = body.image_field(number)
                flaws.extend(replace(flaw, field=name) for flaw in found)
        return tuple(images)

    def _image(self, row: StagedRow, ref: str) -> tuple[Image, Sequence[Flaw]]:
        if is_remote(ref):
            return RemoteImage(ref), remote_flaws(ref)
        flaw = reference_flaw(ref)
        if flaw:
            return RemoteImage(ref), (flaw,)
        checked, first_time = self._photos.check(self._path(row, ref), ref)
        flaws = checked.flaws if first_time else checked.errors
        return checked.photo or RemoteImage(ref), flaws

    def _path(self, row: StagedRow, ref: str) -> str:
        return os.path.join(self._bases[row.source], ref)  # noqa: PTH118 - a Path each would cost more than the rest


def load_job(body: bytes) -> PlannedJob:
    """A planned job, read back."""
    values: dict[str, Any] = orjson.loads(body)
    values["images"] = tuple(Photo(**image) if "path" in image else RemoteImage(**image) for image in values["images"])
    if values["defect"]:
        values["defect"] = Failure(Reason(values["defect"]["reason"]), values["defect"]["message"])
    return PlannedJob(**values)


def _priced(prices: Mapping[str, float]) -> dict[str, FluxModel]:
    """The models with the user's own prices; one that only the user knows is taken at their word."""
    models = dict(known_models())
    for name, usd in prices.items():
        models[name] = replace(models[name], usd=usd) if name in models else FluxModel(name, _MOST_IMAGES, usd)
    return models


def _complete(job_id: str, model: str, body: Body) -> dict[str, Json]:
    """All that the request says beside its images.

    The service's own defaults differ from those of the models behind it, so the ones that matter are always sent.
    """
    fields: dict[str, Json] = {"model": model, **body.fields}
    fields.setdefault("seed", derived_seed(job_id))
    fields.setdefault("output_format", "jpeg")
    fields.setdefault("prompt_upsampling", False)
    fields.update(body.extra)
    return fields


def _mark(image: Image) -> str:
    return image.digest if isinstance(image, Photo) else image.ref


def _defect(body: Body, flaws: Sequence[Flaw]) -> Failure | None:
    if body.defect:
        reason, message = body.defect
        return Failure(Reason(reason), message)
    first = next((flaw for flaw in flaws if flaw.level is Level.ERROR), None)
    return Failure(first.reason, defect_message(first)) if first else None
