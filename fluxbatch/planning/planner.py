"""From a staged row to a planned job: its photos, the rules of its model, its fingerprint and its price."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import orjson

from fluxbatch.model.address import is_store_address
from fluxbatch.model.flux import DEFAULT_MODEL, FluxModel, known_models
from fluxbatch.model.job import Failure, Fit, Image, JobOutput, ObjectPhoto, Photo, PlannedJob, RemoteImage
from fluxbatch.model.problem import Level, Problem, Where
from fluxbatch.model.revive import image_of
from fluxbatch.model.state import Reason
from fluxbatch.planning.fingerprint import fingerprint, written_digest
from fluxbatch.planning.ids import derived_seed, names_of
from fluxbatch.planning.objects import object_mark, sent_object_bytes
from fluxbatch.planning.photo_fit import share_out
from fluxbatch.planning.photo_rules import is_remote, reference_flaw, remote_flaws
from fluxbatch.planning.rules import Request, check_request, output_pixels, unknown_model
from fluxbatch.planning.staging import Body, defect_message, problem_of
from fluxbatch.policy.fitting import sent_bytes, sent_pixels

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fluxbatch.model.job import Json
    from fluxbatch.planning.findings import Findings
    from fluxbatch.planning.flaw import Flaw
    from fluxbatch.planning.objects import ObjectBook
    from fluxbatch.planning.overlay import Overlay
    from fluxbatch.planning.photos import PhotoBook
    from fluxbatch.planning.references import Reference
    from fluxbatch.planning.scratch import StagedRow
    from fluxbatch.planning.stager import Taken
    from fluxbatch.planning.upstream import Upstream

__all__ = ["Planner", "load_job"]

_MOST_IMAGES: Final = 8
_MOST_SOUND: Final = 2048
_AUTO: Final = Fit()
_OUTPUT_PIXELS: Final = 1 << 20
"""of the image of another job, or of an object, which nobody has seen yet: by default the API makes about 1 MP"""


class Planner:
    """Checks staged rows, in batches, and makes planned jobs of them."""

    def __init__(
        self,
        names: Sequence[str],
        taken: Sequence[Taken],
        photos: PhotoBook,
        objects: ObjectBook,
        upstream: Upstream,
        findings: Findings,
        prices: Mapping[str, float],
        overlays: Mapping[int, Overlay],
    ) -> None:
        self._names = names
        self._taken = taken
        self._bases = [source.base for source in taken]
        self._photos = photos
        self._objects = objects
        self._upstream = upstream
        self._findings = findings
        self._models = _priced(prices)
        self._overlays = overlays  # by source
        # by source and name, those that were looked at and are in order: catalogues ask for the same ones over and over
        self._sound: dict[tuple[int, str], Photo] = {}

    def plan(self, rows: Sequence[StagedRow]) -> list[PlannedJob]:
        """The jobs of these rows, in order; what is wrong with them goes to the findings.

        What they need was planned before, by an earlier call.
        """
        bodies = [Body.unpack(row.body) for row in rows]
        jobs = self._checked(rows, bodies)
        self._upstream.remember(jobs, [body.variant for body in bodies])
        return jobs

    def look(self, rows: Sequence[StagedRow]) -> None:
        """Find what is wrong with rows that can be no jobs of this plan."""
        self._checked(rows, [Body.unpack(row.body) for row in rows])

    def _checked(self, rows: Sequence[StagedRow], bodies: Sequence[Body]) -> list[PlannedJob]:
        self._forget_some()
        strange = {
            (row.source, ref)
            for row, body in zip(rows, bodies, strict=True)
            for ref in body.images
            if isinstance(ref, str) and (row.source, ref) not in self._sound and not is_remote(ref)
        }
        self._photos.prepare([self._path(source, ref) for source, ref in strange if not is_store_address(ref)])
        self._objects.prepare({ref for _, ref in strange if is_store_address(ref)})
        self._upstream.prepare([ref["job"] for body in bodies for ref in body.images if isinstance(ref, dict)])
        return [self._job(row, body) for row, body in zip(rows, bodies, strict=True)]

    def _job(self, row: StagedRow, body: Body) -> PlannedJob:
        flaws: list[Flaw] = []
        name = body.fields.get("model", DEFAULT_MODEL)
        model = self._models.get(name)
        if model is None:
            flaws.append(unknown_model(name, self._models))
            model = FluxModel(name, _MOST_IMAGES, steps=(1, 50), guidance=(1.5, 10.0))
        images = self._images(row, body, model, flaws) if body.images else ()
        if row.source in self._overlays:
            self._lay_over(self._overlays[row.source], row, body, images)
        request = Request(body.fields, model, images=len(images), flawed=body.flawed)
        marks: list[str] = []
        for image in images:
            if isinstance(image, Photo):
                marks.append(image.digest)
                request.pixels.append(sent_pixels(image))
                request.photo_bytes += sent_bytes(image)
            else:
                marks.append(self._mark(image))
                request.photo_bytes += sent_object_bytes(image) if isinstance(image, ObjectPhoto) else 0
        flaws += check_request(request)
        for flaw in flaws:
            self._findings.add(problem_of(flaw, self._where(row, body, flaw.field), row.id), position=row.position)
        return PlannedJob(
            id=row.id,
            manifest=self._names[row.source],
            position=row.position,
            model=name,
            fields=_complete(row.id, name, body),
            images=images,
            filename=row.filename,
            fingerprint=fingerprint(body.fields, marks, body.extra, body.fit),
            price=model.usd,
            meta=body.meta,
            defect=(_defect(body, flaws) if flaws or body.defect else None) or self._upstream.defect(images),
        )

    def _images(self, row: StagedRow, body: Body, model: FluxModel, flaws: list[Flaw]) -> tuple[Image, ...]:
        """The images, image 1 first; one that can't be used stands as a name alone, and the job has a defect."""
        fit = Fit(**body.fit) if body.fit else _AUTO
        images: list[Image] = []
        for number, ref in enumerate(body.images, 1):
            image, found = self._image(row, ref, fit)
            images.append(image)
            if found:
                name = body.image_field(number)
                flaws.extend(replace(flaw, field=name) for flaw in found)
        if model.max_total_megapixels is None:
            return tuple(images)
        others = sum([_OUTPUT_PIXELS for image in images if isinstance(image, JobOutput | ObjectPhoto)])
        return share_out(images, self._photos, model, output_pixels(body.fields) + others, fit)

    def _image(self, row: StagedRow, ref: Reference, fit: Fit) -> tuple[Image, Sequence[Flaw]]:
        if isinstance(ref, dict):
            return JobOutput(ref["job"], None if fit == _AUTO else fit), self._upstream.flaws(ref["job"])
        if fit is _AUTO and (sound := self._sound.get((row.source, ref))) is not None:
            return sound, ()
        if is_remote(ref):
            return RemoteImage(ref), remote_flaws(ref)
        if is_store_address(ref):
            wish = None if fit == _AUTO else fit
            found, flaws = self._objects.check(ref, wish, presign=self._taken[row.source].presign)
            return found or RemoteImage(ref), flaws
        flaw = reference_flaw(ref)
        if flaw:
            return RemoteImage(ref), (flaw,)
        checked, first_time = self._photos.check(self._path(row.source, ref), ref, fit)
        flaws = checked.flaws if first_time else checked.errors
        if fit is _AUTO and checked.photo is not None and not checked.errors:
            self._sound[row.source, ref] = checked.photo
        return checked.photo or RemoteImage(ref), flaws

    def _lay_over(self, overlay: Overlay, row: StagedRow, body: Body, images: Sequence[Image]) -> None:
        """Put in what stands in for the manifest's words."""
        marks = [image.digest if isinstance(image, Photo) else self._mark(image) for image in images]
        base = written_digest(body.fields, names_of(body.images), body.extra, body.fit)
        seed = body.fields.get("seed", derived_seed(row.id))
        body.fields, last = overlay.settle(
            row.id, body.fields, base, seed, lambda fields: fingerprint(fields, marks, body.extra, body.fit)
        )
        if last:
            message = (
                f"is rejected, and was made again {last} times" if last > 1 else "is rejected, and was made again once"
            )
            self._warn(row, body, message, f"--max-rounds {last + 1} makes it once more; or change its prompt")
        elif former := overlay.former(row.id, base):
            message = f"is written as {former!r} was, which was made again and is gone"
            self._warn(row, body, message, f"if it is the same job, give it that name in {overlay.file} too")

    def _warn(self, row: StagedRow, body: Body, message: str, remedy: str) -> None:
        problem = Problem(body.where(""), message, remedy, job_id=row.id, level=Level.WARNING)
        self._findings.add(problem, position=row.position)

    def _where(self, row: StagedRow, body: Body, name: str) -> Where:
        """The place of a field, which may be another one than the manifest's."""
        overlay = self._overlays.get(row.source)
        remake = None if overlay is None else overlay.standing.get(row.id)
        if overlay is None or remake is None or name != "prompt" or remake.prompt is None:
            return body.where(name)
        return Where(overlay.file)

    def _mark(self, image: RemoteImage | ObjectPhoto | JobOutput) -> str:
        """What an image that is no local photo adds to the fingerprint."""
        if isinstance(image, ObjectPhoto):
            return object_mark(image)
        return self._upstream.mark(image.job) if isinstance(image, JobOutput) else image.ref

    def _path(self, source: int, ref: str) -> str:
        # as text: joining paths would cost more than all the rest
        return ref if ref.startswith("/") else f"{self._bases[source]}/{ref}"

    def _forget_some(self) -> None:
        """Keep the memory of photos that are in order within bounds."""
        if len(self._sound) > _MOST_SOUND:
            self._sound.clear()


def load_job(body: bytes) -> PlannedJob:
    """A planned job, read back."""
    values: dict[str, Any] = orjson.loads(body)
    values["images"] = tuple(image_of(image) for image in values["images"])
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
    if "seed" not in fields:
        fields["seed"] = derived_seed(job_id)
    fields.setdefault("output_format", "jpeg")
    fields.setdefault("prompt_upsampling", False)
    fields.update(body.extra)
    return fields


def _defect(body: Body, flaws: Sequence[Flaw]) -> Failure | None:
    if body.defect:
        reason, message = body.defect
        return Failure(Reason(reason), message)
    first = next((flaw for flaw in flaws if flaw.level is Level.ERROR), None)
    return Failure(first.reason, defect_message(first)) if first else None
