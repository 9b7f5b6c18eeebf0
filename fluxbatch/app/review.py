"""What people say of the images of an output folder: read, and taken down. Several may be at it at once.

    async with open_reviews(Paths.of(folder, state)) as reviews:
        async for one in reviews.images():
            print(one.id, one.file, one.standing)
        [taken] = await reviews.record([Said("petting", sha256, Verdict.REJECTED, "six fingers")], by="Ann")
        if isinstance(taken, Refused):
            print(taken.why)

A verdict is about the bytes that somebody saw: it is refused if the image is another one by now.
"""

from __future__ import annotations

from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio
import anyio.to_thread

from fluxbatch.adapters.clock import SystemClock
from fluxbatch.adapters.disk.earlier import earlier_file
from fluxbatch.app.look import open_ledger
from fluxbatch.app.remakes import RemakeFile
from fluxbatch.app.verdicts import Refused, Said, VerdictFile, folder_of, own_name
from fluxbatch.errors import UsageError
from fluxbatch.model.review import LONGEST_NAME, LONGEST_NOTE, Review
from fluxbatch.model.state import JobState

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from fluxbatch.adapters.ledger import SqliteLedger
    from fluxbatch.app.folder import Paths
    from fluxbatch.model.job import Record
    from fluxbatch.planning.remakes import Remake

__all__ = [
    "LONGEST_NAME",
    "LONGEST_NOTE",
    "Earlier",
    "Refused",
    "Reviewed",
    "Reviews",
    "Said",
    "Standing",
    "VerdictFile",
    "folder_of",
    "open_reviews",
    "own_name",
]

_PAGE: Final = 500


class Standing(StrEnum):
    """How an image stands."""

    APPROVED = "approved"
    REJECTED = "rejected"
    UNREVIEWED = "unreviewed"
    OUTDATED = "outdated"
    """what was said is about an earlier image of the job"""


@dataclass(frozen=True, slots=True)
class Reviewed:
    """An image that is there, with what is said of it.

    Attributes:
        record: its job's row; ``record.stored`` is the image. Unless its state is STORED, that is an earlier one: its
            successor has failed, or is on its way.
        review: what stands, which may be a note without a verdict; None if nothing was said of these bytes.
    """

    record: Record
    review: Review | None
    standing: Standing

    @property
    def id(self) -> str:
        """Of the job."""
        return self.record.job.id

    @property
    def sha256(self) -> str:
        """Of the image: what goes into ``Said``."""
        assert self.record.stored is not None
        return self.record.stored.sha256

    @property
    def is_asked_for(self) -> bool:
        """Whether it is what its job asks for now."""
        return self.record.state is JobState.STORED

    @property
    def file(self) -> str:
        """The image, below the output folder."""
        assert self.record.stored is not None
        return self.record.stored.file


@dataclass(frozen=True, slots=True)
class Earlier:
    """An image that was rejected, and gave way.

    Attributes:
        remake: what was asked for in its place.
        file: where it is kept, below the output folder; empty if it isn't, on this machine.
        review: what was said of it, as far as that was taken in.
    """

    remake: Remake
    file: str
    review: Review | None = None


@asynccontextmanager
async def open_reviews(paths: Paths) -> AsyncIterator[Reviews]:
    """The reviews of an output folder, also while a run goes on in it.

    Raises:
        UsageError: there is no ledger.
    """
    ledger = await open_ledger(paths)
    try:
        yield Reviews(paths, ledger, simulated=await ledger.kind() == "simulated")
    finally:
        with anyio.CancelScope(shield=True):
            await ledger.close()


class Reviews:
    """The reviews of an output folder; of several manifests, each one's are beside it.

    Raises:
        UsageError: (any method) a line of a file is broken; the message names it.
        StorageError: (any method) a file can't be read or written.

    Attributes:
        paths: as given.
        simulated: whether the images are.
    """

    def __init__(self, paths: Paths, ledger: SqliteLedger, *, simulated: bool) -> None:
        self.paths = paths
        self.simulated = simulated
        self._ledger = ledger
        self._files: dict[Path, VerdictFile] = {}
        self._folders: dict[str, Path] = {}
        self._one_at_a_time = anyio.Lock()

    async def refresh(self) -> set[str]:
        """Take in what others said since. Returns the ids of the jobs that it is about."""
        about: set[str] = set()
        for manifest in await self._ledger.manifests():
            await self._file(manifest)
        async with self._one_at_a_time:
            for file in list(self._files.values()):
                about |= await anyio.to_thread.run_sync(file.refresh)
        return about

    async def files(self) -> list[Path]:
        """Where verdicts are kept."""
        for manifest in await self._ledger.manifests():
            await self._file(manifest)
        return [file.path for file in self._files.values()]

    async def images(self) -> AsyncIterator[Reviewed]:
        """The images that are there, in the order of the manifests, with what is said of each up to now."""
        await self.refresh()
        async for record in self._ledger.rows():
            if record.stored is not None:
                yield await self._reviewed(record)

    async def image(self, job_id: str) -> Reviewed | None:
        """The image of a job, if it has one, with what is said of it, as far as that was taken in."""
        return (await self.images_of([job_id])).get(job_id)

    async def images_of(self, job_ids: Sequence[str]) -> dict[str, Reviewed]:
        """The images of these jobs, as far as they have any, likewise."""
        records = await self._ledger.recall(job_ids)
        return {job_id: await self._reviewed(record) for job_id, record in records.items() if record.stored is not None}

    async def of(self, record: Record) -> Reviewed | None:
        """What is said of a row's image, as far as that was taken in; None if it has no image."""
        return None if record.stored is None else await self._reviewed(record)

    async def earlier(self, job_id: str) -> list[Earlier]:
        """The images of a job that were rejected and gave way to others, the first one first."""
        record = (await self._ledger.recall([job_id])).get(job_id)
        if record is None:
            return []
        file = await self._file(record.job.manifest)
        found = await anyio.to_thread.run_sync(_earlier, file.path.parent, self.paths.out, job_id)
        return [replace(one, review=file.verdicts.of(job_id, one.remake.sha256)) for one in found]

    async def counts(self) -> Counter[Standing]:
        """How many images stand how."""
        counts: Counter[Standing] = Counter(dict.fromkeys(Standing, 0))
        async for one in self.images():
            counts[one.standing] += 1
        return counts

    async def record(self, said: Sequence[Said], *, by: str) -> list[Review | Refused]:
        """Take down what somebody says; durable on return. In the order of ``said``, all that is not refused.

        Args:
            said: of images that they saw.
            by: their name, ``LONGEST_NAME`` characters at most.

        Raises:
            UsageError: a note or the name is too long or no valid Unicode; nothing was taken down.
        """
        _check_text("the name", by, LONGEST_NAME)
        for one in said:
            _check_text(f"[{one.id[:60]}] the note", one.note, LONGEST_NOTE)
        answers: list[Review | Refused | None] = [None] * len(said)
        by_file: dict[VerdictFile, list[int]] = {}
        for start in range(0, len(said), _PAGE):
            page = said[start : start + _PAGE]
            records = await self._ledger.recall([one.id for one in page])
            for number, one in enumerate(page, start):
                record = records.get(one.id)
                if why := _not_there(one, record):
                    answers[number] = Refused(one, why)
                else:
                    assert record is not None
                    by_file.setdefault(await self._file(record.job.manifest), []).append(number)
        async with self._one_at_a_time:
            for file, numbers in by_file.items():
                work = partial(file.append, [said[number] for number in numbers], by.strip(), SystemClock().now())
                with anyio.CancelScope(shield=True):
                    taken = await anyio.to_thread.run_sync(work)
                for number, answer in zip(numbers, taken, strict=True):
                    answers[number] = answer
        return [answer for answer in answers if answer is not None]

    async def _reviewed(self, record: Record) -> Reviewed:
        assert record.stored is not None
        verdicts = (await self._file(record.job.manifest)).verdicts
        sha256 = record.stored.sha256
        review = verdicts.of(record.job.id, sha256)
        if review is not None and review.verdict is not None:
            return Reviewed(record, review, Standing(review.verdict.value))
        outdated = review is None and verdicts.of_others(record.job.id, sha256)
        return Reviewed(record, review, Standing.OUTDATED if outdated else Standing.UNREVIEWED)

    async def _file(self, manifest: str) -> VerdictFile:
        folder = self._folders.get(manifest)
        if folder is None:
            find = partial(folder_of, self.paths, manifest, simulated=self.simulated)
            folder = self._folders[manifest] = await anyio.to_thread.run_sync(find)
        if folder not in self._files:
            self._files[folder] = VerdictFile(folder)
        return self._files[folder]


def _earlier(folder: Path, out: Path, job_id: str) -> list[Earlier]:
    file = RemakeFile(folder)
    file.refresh()
    return [Earlier(remake, earlier_file(out, remake.sha256)) for remake in file.remakes.rounds(job_id)]


def _not_there(said: Said, record: Record | None) -> str:
    """Why nothing can be said of an image, empty if it can."""
    if record is None:
        return "there is no such job"
    if record.stored is None:
        return "it has no image at the moment"
    return "" if record.stored.sha256 == said.sha256 else "the image has changed since: look at it again"


def _check_text(what: str, text: str, most: int) -> None:
    if len(text) > most:
        raise UsageError(f"{what} has {len(text):,} characters", remedy=f"{most:,} are the most")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{what} is not valid Unicode", remedy="write it anew") from None
