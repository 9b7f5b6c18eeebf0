"""A settled run, job by job, with the place of each in its manifest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import anyio.to_thread

from fluxbatch.app.durations import Durations
from fluxbatch.model.problem import Where
from fluxbatch.report.case import Case

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from fluxbatch.model.job import Record
    from fluxbatch.model.summary import Summary
    from fluxbatch.planning.intake import Intake
    from fluxbatch.ports import Ledger

__all__ = ["Aftermath"]

_BATCH: Final = 200


@dataclass(frozen=True, slots=True)
class Aftermath:
    """What a run came to, to be looked at while its folder is still held.

    Attributes:
        summary: its account.
        out: the output folder.
        unusable: rows that have no usable id, and so are no case.
        begun_at: of the run, epoch seconds.
    """

    summary: Summary
    out: Path
    unusable: int
    begun_at: float
    _events: Path
    _ledger: Ledger
    _intake: Intake

    async def cases(self) -> AsyncIterator[list[Case]]:
        """The jobs of the run in manifest order, in batches; what it left out is not among them."""
        batch: list[Record] = []
        with Durations() as durations:
            await anyio.to_thread.run_sync(durations.read, self._events, self.summary.run_id)
            async for record in self._ledger.rows():
                if record.run_id != self.summary.run_id or not record.selected:
                    continue
                batch.append(record)
                if len(batch) == _BATCH:
                    yield await self._placed(batch, durations)
                    batch = []
            if batch:
                yield await self._placed(batch, durations)

    async def _placed(self, records: list[Record], durations: Durations) -> list[Case]:
        def look() -> tuple[dict[str, Where], dict[str, float]]:
            ids = [record.job.id for record in records]
            return self._intake.where(ids), durations.of(ids)

        places, took = await anyio.to_thread.run_sync(look)
        return [
            Case(
                record,
                places.get(record.job.id) or Where(record.job.manifest),
                self.summary.run_id,
                took.get(record.job.id, 0.0),
            )
            for record in records
        ]
