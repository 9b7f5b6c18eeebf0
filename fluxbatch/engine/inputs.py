"""What a job's images are when it is sent: outputs of other jobs, and photos made fit."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

from fluxbatch.errors import PhotoChanged, PhotoError
from fluxbatch.formats import ImageFacts
from fluxbatch.model.job import JobOutput, ObjectPhoto, Photo
from fluxbatch.model.state import JobState
from fluxbatch.planning.photo_fit import fetched_cap
from fluxbatch.policy.fitting import fitting_of, sent_pixels

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
        found = [await self._found(job.id, image, upstream) for image in job.images]
        if any(isinstance(image, ObjectPhoto) for image in job.images) and (cap := fetched_cap(job, found)) is not None:
            found = [await self._within(job.id, *pair, cap) for pair in zip(job.images, found, strict=True)]
        images = [await self._fitted(image) for image in found]
        return job if all(map(_is_same, images, job.images)) else replace(job, images=tuple(images))

    def release(self, job_id: str) -> None:
        """The images of a job are not needed any more, for now."""
        for photo in self._used.pop(job_id, ()):
            if self._desk.objects is not None:
                self._desk.objects.release(photo)

    async def _found(self, job_id: str, image: Image, upstream: Mapping[str, Record]) -> Image:
        if isinstance(image, JobOutput):
            image = await self._output(image, upstream.get(image.job))
            self._used[job_id].append(image)
        elif isinstance(image, ObjectPhoto):
            image = await self._object(job_id, image)
        return image

    async def _within(self, job_id: str, asked: Image, found: Image, most_pixels: int) -> Image:
        """A photo from an object store that is to be made smaller; any other image as it is."""
        if isinstance(asked, ObjectPhoto) and isinstance(found, Photo) and sent_pixels(found) > most_pixels:
            return await self._object(job_id, asked, most_pixels)
        return found

    async def _fitted(self, image: Image) -> Image:
        if isinstance(image, Photo) and image.fitting is not None:
            return await self._desk.fitter.fit(image)
        return image

    async def _object(self, job_id: str, image: ObjectPhoto, most_pixels: int | None = None) -> Photo | RemoteImage:
        if self._desk.objects is None:
            raise PhotoError(f"{image.ref} is in an object store, and nothing is there to fetch it with")
        found = await self._desk.objects.fetch(image, most_pixels)
        if isinstance(found, Photo):
            self._used[job_id].append(found)
        return found

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
