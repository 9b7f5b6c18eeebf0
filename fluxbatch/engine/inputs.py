"""What a job's images are when it is sent: outputs of other jobs, and photos made fit."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

from fluxbatch.errors import PhotoChanged, PhotoError
from fluxbatch.formats import ImageFacts
from fluxbatch.model.job import JobOutput, ObjectPhoto, Photo
from fluxbatch.model.state import JobState
from fluxbatch.policy.fitting import fitting_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fluxbatch.engine.desk import Desk
    from fluxbatch.model.job import Image, PlannedJob, Record, RemoteImage

__all__ = ["Inputs"]


class Inputs:
    """Makes images ready. Done before a request is on record, so that nothing counts as billed if it takes long."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._used: defaultdict[str, list[Photo]] = defaultdict(list)

    async def ready(self, job: PlannedJob) -> PlannedJob:
        """The job with photos that can be sent byte for byte.

        Raises:
            PhotoError: one of them can't be used, or is not what it was (``PhotoChanged``).
            StorageError: there is no room to work in.
        """
        upstream = await self._desk.ledger.recall(job.needs) if job.needs else {}
        images = [await self._made(job.id, image, upstream) for image in job.images]
        return job if all(map(_is_same, images, job.images)) else replace(job, images=tuple(images))

    def release(self, job_id: str) -> None:
        """The images of a job are not needed any more, for now."""
        for photo in self._used.pop(job_id, ()):
            if self._desk.objects is not None:
                self._desk.objects.release(photo)

    async def _made(self, job_id: str, image: Image, upstream: Mapping[str, Record]) -> Image:
        if isinstance(image, JobOutput):
            image = await self._output(image, upstream.get(image.job))
            self._used[job_id].append(image)
        elif isinstance(image, ObjectPhoto):
            image = await self._object(image)
            if isinstance(image, Photo):
                self._used[job_id].append(image)
        if isinstance(image, Photo) and image.fitting is not None:
            image = await self._desk.fitter.fit(image)
        return image

    async def _object(self, image: ObjectPhoto) -> Photo | RemoteImage:
        if self._desk.objects is None:
            raise PhotoError(f"{image.ref} is in an object store, and nothing is there to fetch it with")
        return await self._desk.objects.fetch(image)

    async def _output(self, image: JobOutput, record: Record | None) -> Photo:
        if record is None or record.state is not JobState.STORED or record.stored is None:
            raise PhotoChanged(f"the image of {image.job!r}, which this job needs, is not there any more")
        photo = await self._desk.sink.photo(record.stored)
        if image.fit is None:
            return photo
        return replace(photo, fitting=fitting_of(_facts(photo), photo.size, image.fit))


def _is_same(one: Image, other: Image) -> bool:
    return one is other


def _facts(photo: Photo) -> ImageFacts:
    """An output is what the API makes: upright, in 8-bit RGB."""
    return ImageFacts(photo.mime, photo.mime.removeprefix("image/"), photo.width, photo.height)
