"""Finding flags, a page of rows at a time; what took work to find out is remembered, and may be forgotten.

Nothing of this is done while images land: a look at a picture costs as much as all the rest of a small job. Sizes are
on record, images of the same bytes are found by the ledger in one pass, and only files that are suspiciously small, or
as large as an input of theirs, are opened at all.
"""

from __future__ import annotations

from collections import Counter
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import anyio
import anyio.to_thread

from fluxbatch.adapters.digests import blake3_of
from fluxbatch.adapters.disk import SqliteMemo
from fluxbatch.errors import StorageError
from fluxbatch.model.flags import Flag
from fluxbatch.model.job import JobOutput
from fluxbatch.model.state import JobState
from fluxbatch.policy.flags import may_be_blank, same_size_inputs, size_asked, wrong_size

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from pathlib import Path

    from fluxbatch.app.folder import Paths
    from fluxbatch.model.flags import Flags
    from fluxbatch.model.job import Json, Record, Stored
    from fluxbatch.ports import Ledger, Memo

__all__ = ["FlagFinder", "finding_flags"]

_MOST_TWINS: Final = 50_000
"""images of which there are several; beyond it, more of them would tell nobody more"""
_KEYS: Final = {Flag.BLANK: "blank:", Flag.SAME_AS_INPUT: "blake3:"}


@dataclass(slots=True)
class FlagFinder:
    """Finds the flags of a folder's jobs.

    Attributes:
        ledger: of the folder.
        memo: remembers what was seen in an image, by its digest.
        out: the output folder.
        run_id: whose jobs are counted.
        counts: so far, jobs of that run by flag.
    """

    ledger: Ledger
    memo: Memo
    out: Path
    run_id: str = ""
    counts: Counter[str] = field(default_factory=Counter)
    _twins: dict[str, tuple[str, str]] | None = None

    async def find(self, page: Sequence[Record]) -> list[Flags]:
        """The flags of each of these rows, as far as they can be found: a hint is no reason for an error."""
        twins = await self._all_twins()
        stored = {record.job.id: record.stored for record in page if record.stored and record.state is JobState.STORED}
        fed = [record for record in page if record.job.needs and _sha256(stored, record) in twins]
        above = await self._recalled({need for record in fed for need in record.job.needs}) if fed else {}
        seen = await anyio.to_thread.run_sync(self._look_into, [record for record in page if record.job.id in stored])
        found: list[Flags] = [
            dict(self._of(record, image, above, seen)) if (image := stored.get(record.job.id)) else {}
            for record in page
        ]
        for record, flags in zip(page, found, strict=True):
            if flags and record.run_id == self.run_id and record.selected:
                self.counts.update(flag.value for flag in flags)
        return found

    async def _all_twins(self) -> Mapping[str, tuple[str, str]]:
        if self._twins is None:
            self._twins = {}
            with suppress(StorageError):  # to sort takes room as well
                self._twins = await self.ledger.twins(_MOST_TWINS)
        return self._twins

    async def _recalled(self, job_ids: set[str]) -> Mapping[str, Record]:
        with suppress(StorageError):
            return await self.ledger.recall(list(job_ids))
        return {}

    def _of(
        self, record: Record, stored: Stored, above: Mapping[str, Record], seen: Mapping[str, str]
    ) -> dict[Flag, Mapping[str, Json]]:
        flags: dict[Flag, Mapping[str, Json]] = {}
        asked = size_asked(record.job.fields)
        if asked and wrong_size(asked, stored.width, stored.height):
            flags[Flag.SIZE] = {"asked": asked, "got": f"{stored.width}x{stored.height}"}
        if colour := seen.get(_KEYS[Flag.BLANK] + stored.sha256):
            flags[Flag.BLANK] = {"colour": colour}
        digest = seen.get(_KEYS[Flag.SAME_AS_INPUT] + stored.sha256)
        same = [number for number, photo in same_size_inputs(record).items() if photo.digest == digest]
        for number, image in enumerate(record.job.images, 1):
            if isinstance(image, JobOutput) and image.job in above:
                output = above[image.job].stored
                if output is not None and output.sha256 == stored.sha256:
                    same.append(number)
        if same:
            number = min(same)
            flags[Flag.SAME_AS_INPUT] = {"image": number, "input": record.job.images[number - 1].ref}
        first, last = (self._twins or {}).get(stored.sha256, ("", ""))
        twin = last if record.job.id == first else first
        if twin:
            flags[Flag.SAME_AS_OUTPUT] = {"job": twin}
        return flags

    def _look_into(self, page: Sequence[Record]) -> dict[str, str]:
        """What there is to see in the files of some rows, by key: remembered, or found out now. Blocks."""
        wanted: dict[str, Stored] = {}
        for record in page:
            if record.stored is None:
                continue
            if may_be_blank(record.stored):
                wanted[_KEYS[Flag.BLANK] + record.stored.sha256] = record.stored
            if same_size_inputs(record):
                wanted[_KEYS[Flag.SAME_AS_INPUT] + record.stored.sha256] = record.stored
        known = self.memo.get(list(wanted)) if wanted else {}
        seen = {key: value.decode("ascii", "replace") for key, value in known.items()}
        new = {}
        for key, stored in wanted.items():
            if key not in seen and (fact := self._fact(key, stored)) is not None:
                new[key] = fact
        self.memo.put({key: fact.encode() for key, fact in new.items()})
        return seen | new

    def _fact(self, key: str, stored: Stored) -> str | None:
        """None if the file is not there any more as it was stored, or can't be read."""
        from fluxbatch.adapters.fitting.blank import colour_if_blank

        path = self.out / stored.file
        try:
            if path.stat().st_size != stored.bytes:
                return None
            if key.startswith(_KEYS[Flag.BLANK]):
                return colour_if_blank(path)
            with path.open("rb") as file:
                return blake3_of(file)
        except OSError:
            return None


@asynccontextmanager
async def finding_flags(paths: Paths, ledger: Ledger) -> AsyncIterator[FlagFinder]:
    """For who looks at a folder from outside: with what its runs remember."""
    memo = await anyio.to_thread.run_sync(SqliteMemo, paths.memo)
    try:
        yield FlagFinder(ledger, memo, paths.out)
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(memo.close)


def _sha256(stored: Mapping[str, Stored], record: Record) -> str:
    image = stored.get(record.job.id)
    return image.sha256 if image is not None else ""
