"""Which result is fetched next: the one whose URL dies first; what can't be met any more goes last."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fluxbatch.model.job import Lease, Record
    from fluxbatch.ports import Landing

__all__ = ["Due", "DueQueue"]


@dataclass(slots=True)
class Due:
    """A lease to be fetched.

    Attributes:
        remake: this run bought it, so it may buy it once more should it be lost. What an earlier run bought waits for
            the next plan: nobody was asked about that price, and the job may have changed since.
        landing: bytes of an earlier try, if it left any.
        fetched_at: epoch seconds when the last byte came, None while it hasn't.
        settled: nothing is owed any more.
        tries, late_tries: failed tries so far, and those of them that ended past the deadline.
    """

    record: Record
    lease: Lease
    remake: bool = False
    landing: Landing | None = None
    fetched_at: float | None = None
    settled: bool = False
    tries: int = 0
    late_tries: int = 0


class DueQueue:
    """Leases by deadline (epoch seconds); retries wait for their moment (monotonic seconds)."""

    def __init__(self) -> None:
        self._alive: list[tuple[float, int, Due]] = []
        self._late: list[tuple[float, int, Due]] = []
        self._waiting: list[tuple[float, int, Due]] = []
        self._count = 0

    def __len__(self) -> int:
        return len(self._alive) + len(self._late) + len(self._waiting)

    def put(self, due: Due) -> None:
        """Have a lease fetched as its deadline says."""
        self._push(self._alive, due.lease.deadline, due)

    def put_later(self, due: Due, at: float) -> None:
        """The same, not before ``at`` (monotonic)."""
        self._push(self._waiting, at, due)

    def take(self, *, wall: float, now: float) -> Due | None:
        """The next lease to fetch."""
        while self._waiting and self._waiting[0][0] <= now:
            self.put(heapq.heappop(self._waiting)[2])
        while self._alive and self._alive[0][0] <= wall:
            heapq.heappush(self._late, heapq.heappop(self._alive))
        for heap in (self._alive, self._late):
            if heap:
                return heapq.heappop(heap)[2]
        return None

    def next_due(self) -> float | None:
        """When the next waiting retry is due, monotonic."""
        return self._waiting[0][0] if self._waiting else None

    def _push(self, heap: list[tuple[float, int, Due]], key: float, due: Due) -> None:
        self._count += 1
        heapq.heappush(heap, (key, self._count, due))
