"""What is to be sent next: retries that are due, then the ledger's jobs, page by page; those that came free first."""

from __future__ import annotations

import heapq
from collections import deque
from typing import TYPE_CHECKING, Final

from fluxbatch.model.state import JobState

if TYPE_CHECKING:
    from collections.abc import Callable

    from fluxbatch.model.job import Record, Step
    from fluxbatch.ports import Ledger

__all__ = ["JobQueue"]

_PAGE: Final = 128
_MOST_WAITING: Final = 1024
"""retries of one model in memory; beyond that they come before new jobs"""


class JobQueue:
    """The ledger is the queue; here is only its front. One lane a model, so that no model holds another back."""

    def __init__(self, ledger: Ledger, run_id: str) -> None:
        self._ledger = ledger
        self._run_id = run_id
        self._lanes: dict[str, _Lane] = {}
        self._waiting = 0

    @property
    def has_chains(self) -> bool:
        """Whether there are jobs that waited for others when the run began, and have not been handed out since."""
        return self._waiting > 0

    async def open(self) -> None:
        """Find out which models there is work for."""
        for model in await self._ledger.pending_models(self._run_id):
            self._lanes[model] = _Lane(model)
        self._waiting = await self._ledger.waiting(self._run_id)

    def heed(self, step: Step) -> None:
        """A job has taken a step: once it is stored, others may have come free."""
        if step.to is JobState.STORED and self._waiting:
            for lane in self._lanes.values():
                lane.ask = not lane.dropped

    async def fill(self) -> None:
        """Bring up the next pages where a lane runs low."""
        for lane in list(self._lanes.values()):
            if not lane.drained and len(lane.ready) < _PAGE // 2:
                page = await self._ledger.pending(self._run_id, lane.model, lane.cursor, _PAGE)
                lane.ready.extend(page)
                lane.drained = len(page) < _PAGE
                lane.cursor = page[-1].job.position if page else lane.cursor
            if lane.ask and len(lane.freed) < _PAGE // 2:
                lane.ask = False  # before the question: what comes free meanwhile is asked for again
                page = await self._ledger.freed(self._run_id, lane.model, _PAGE)
                lane.freed.extend(page)
                lane.ask = lane.ask or len(page) == _PAGE
                self._waiting -= len(page)

    def take(self, admits: Callable[[Record], bool], now: float) -> Record | None:
        """The next job that may be sent, ``now`` in monotonic seconds.

        A retry that is due, else one that came free (chains are finished before others are begun), else the first of
        the plan.
        """
        heads = [head for lane in self._lanes.values() if (head := lane.head(now)) is not None]
        for _, _, lane, record in sorted(heads, key=lambda head: head[:2]):
            if admits(record):
                lane.pop(now)
                return record
        return None

    def retry(self, record: Record, at: float) -> None:
        """Have a job that this queue gave out sent again, not before ``at`` (monotonic)."""
        lane = self._lanes[record.job.model]
        if not lane.dropped:
            heapq.heappush(lane.waiting, (at, record.job.position, record))

    def drop(self, model: str) -> None:
        """Send nothing more to a model; its jobs stay pending in the ledger."""
        self._lanes[model] = _Lane(model, drained=True, dropped=True)

    def next_due(self, now: float) -> float | None:
        """When the next retry comes due after ``now``, monotonic; those that are overdue wait for something else."""
        moments = (lane.waiting[0][0] for lane in self._lanes.values() if lane.waiting)
        return min((moment for moment in moments if moment > now), default=None)

    def has_retries(self) -> bool:
        """Whether jobs wait to be sent again."""
        return any(lane.waiting for lane in self._lanes.values())

    def models(self) -> list[str]:
        """Models with work left, but for what waits for others."""
        return [lane.model for lane in self._lanes.values() if not lane.is_empty]


class _Lane:
    def __init__(self, model: str, *, drained: bool = False, dropped: bool = False) -> None:
        self.model = model
        self.ready: deque[Record] = deque()
        self.freed: deque[Record] = deque()
        self.waiting: list[tuple[float, int, Record]] = []
        self.cursor = -1
        self.drained = drained
        self.dropped = dropped
        self.ask = False

    @property
    def is_empty(self) -> bool:
        return self.drained and not (self.ask or self.ready or self.freed or self.waiting)

    def head(self, now: float) -> tuple[int, int, _Lane, Record] | None:
        if self._is_due(now):
            _, position, record = self.waiting[0]
            return 0, position, self, record
        if len(self.waiting) < _MOST_WAITING:
            for rank, jobs in enumerate((self.freed, self.ready), 1):
                if jobs:
                    return rank, jobs[0].job.position, self, jobs[0]
        return None

    def pop(self, now: float) -> None:
        if self._is_due(now):
            heapq.heappop(self.waiting)
        else:
            (self.freed or self.ready).popleft()

    def _is_due(self, now: float) -> bool:
        return bool(self.waiting) and self.waiting[0][0] <= now
