"""From a lease to an image on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import anyio

from fluxbatch.engine.desk import FULL_DISK_S, made_for
from fluxbatch.engine.due import Due, DueQueue
from fluxbatch.errors import DeliveryError, StorageError, TargetBlocked
from fluxbatch.model.events import DeliveryRetried, JobFailed, JobLost, JobStored
from fluxbatch.model.job import Failure, Step
from fluxbatch.model.state import JobState, Reason
from fluxbatch.policy.backoff import delivery_delay_s
from fluxbatch.policy.redelivery import Outlook, outlook
from fluxbatch.policy.retry import after_loss

if TYPE_CHECKING:
    from collections.abc import Callable

    from fluxbatch.engine.desk import Desk
    from fluxbatch.model.job import Lease, Record, Stored

__all__ = ["Delivery"]

_FIRST_GUESS_S: Final = 30.0
"""seconds that a delivery takes, as long as none has been seen: on the safe side of what can be ordered"""
_CLOCK_SLACK_S: Final = 2.0
"""by which the moment that an image was made at may be off"""
_MEMORY: Final = 0.8
"""weight of the past in the mean time that a delivery takes"""


class Delivery:
    """Fetches what is owed, earliest deadline first.

    Args:
        remake: called with a job whose image is lost and may be made once more.
    """

    def __init__(self, desk: Desk, remake: Callable[[Record], None]) -> None:
        self._desk = desk
        self._remake = remake
        self._queue = DueQueue()
        self._open: dict[int, Due] = {}
        self._busy: list[float] = []
        self._mean_s: float | None = None

    def owe(self, record: Record, lease: Lease, *, remake: bool = False) -> None:
        """Have a lease fetched; ``remake``: if it is lost, the image may be made once more in this run."""
        self._desk.owed += 1
        due = Due(record, lease, remake)
        self._open[id(due)] = due
        self._queue.put(due)
        self._desk.bell.ring()

    def take(self) -> tuple[Due, float] | None:
        """The next lease to fetch and the moment, if there is a slot for it; the caller has it delivered."""
        if len(self._busy) >= self._desk.settings.downloads:
            return None
        now = self._desk.clock.monotonic()
        due = self._queue.take(wall=self._desk.clock.now(), now=now)
        if due is None:
            return None
        self._busy.append(now)
        return due, now

    def first_to_die(self) -> Lease | None:
        """The lease owed whose URL dies first, fetched right now or not."""
        return min((due.lease for due in self._open.values()), key=lambda lease: lease.deadline, default=None)

    def next_due(self) -> float | None:
        """When a waiting retry is due, monotonic."""
        return self._queue.next_due()

    def estimate_s(self, guess: float = _FIRST_GUESS_S) -> float:
        """Seconds that a delivery holds its slot: as seen lately, or as those under way have already taken.

        ``guess`` stands for what was seen as long as nothing was.
        """
        seen = guess if self._mean_s is None else self._mean_s
        if not self._busy:
            return seen
        now = self._desk.clock.monotonic()
        return max(seen, now - sum(self._busy) / len(self._busy))

    async def deliver(self, due: Due, begun: float) -> None:
        """One try. Whatever comes of it, the lease is stored, queued again, or settled."""
        desk = self._desk
        try:
            await self._try(due)
        except StorageError as error:
            await self._keep(due, error)
        except Exception:
            await self._settle(due)
            raise
        except BaseException:
            # cancelled: the lease stays on record, half-landed bytes don't
            if due.landing is not None:
                with anyio.CancelScope(shield=True):
                    await due.landing.discard()
            raise
        finally:
            self._busy.remove(begun)
            seconds = desk.clock.monotonic() - begun
            self._mean_s = seconds if self._mean_s is None else _MEMORY * self._mean_s + (1 - _MEMORY) * seconds
            desk.bell.ring()

    async def _try(self, due: Due) -> None:
        try:
            await self._land(due)
        except DeliveryError as error:
            await self._failed(due, error)
        except TargetBlocked as error:
            await self._give_up(due, Failure(Reason.STORAGE_FAILED, error.message))

    async def abandon(self) -> None:
        """Throw away half-landed bytes of what is left; the leases stay on record."""
        self._open.clear()
        while (due := self._queue.take(wall=0.0, now=float("inf"))) is not None:
            if due.landing is not None:
                await due.landing.discard()

    async def _land(self, due: Due) -> None:
        desk = self._desk
        if due.landing is None:
            due.landing = await desk.sink.land()
        if due.fetched_at is None:
            await desk.fetcher.fetch(due.lease, due.landing)
            due.fetched_at = desk.clock.now()
        age = due.fetched_at - due.lease.granted_at
        stored = await due.landing.commit(due.record.job.filename, due.record.job)
        due.landing = due.fetched_at = None
        await self._store(due, stored, max(0.0, age))

    async def _failed(self, due: Due, error: DeliveryError) -> None:
        desk = self._desk
        wall = desk.clock.now()
        due.tries += 1
        due.late_tries += wall >= due.lease.deadline
        due.fetched_at = None
        if error.corrupt and due.landing is not None:
            due.landing.restart()
        match outlook(refused=error.refused, now=wall, deadline=due.lease.deadline, late_tries=due.late_tries):
            case Outlook.AGAIN:
                delay = delivery_delay_s(due.tries, desk.rng, asked=error.retry_after)
                self._queue.put_later(due, desk.clock.monotonic() + delay)
                desk.note(
                    DeliveryRetried(
                        at=wall,
                        job_id=due.record.job.id,
                        delay_s=delay,
                        seconds_left=due.lease.deadline - wall,
                        message=str(error),
                    )
                )
            case Outlook.EXPIRED:
                await self._lost(due, f"its URL expired before it could be fetched ({error})")
            case Outlook.GIVE_UP:
                await self._give_up(due, Failure(Reason.DOWNLOAD_FAILED, f"{error} (after {due.tries} tries)"))

    async def _give_up(self, due: Due, failure: Failure) -> None:
        """Failed for this run; the URL stays on record for the next."""
        desk, job = self._desk, due.record.job
        await desk.advance(
            due.record, Step(job.id, JobState.GENERATED, JobState.FAILED, failure=failure, lease=due.lease)
        )
        await self._settle(due)
        desk.note(JobFailed(at=desk.clock.now(), job_id=job.id, failure=failure))

    async def _lost(self, due: Due, message: str) -> None:
        desk, record = self._desk, due.record
        landed = await desk.sink.landed(record.job.filename, due.lease.granted_at - _CLOCK_SLACK_S, record.job)
        if landed is not None and (record.stored is None or record.stored.sha256 != landed.sha256):
            # an earlier run died between putting it in place and writing that down
            await self._store(due, landed)
            return
        failure = after_loss(record, message, remake=due.remake)
        to = JobState.PENDING if failure is None else JobState.FAILED
        record = await desk.advance(record, Step(record.job.id, JobState.GENERATED, to, lost=True, failure=failure))
        await self._settle(due)
        desk.note(JobLost(at=desk.clock.now(), job_id=record.job.id, message=message, again=failure is None))
        if failure is None:
            self._remake(record)
        else:
            desk.note(JobFailed(at=desk.clock.now(), job_id=record.job.id, failure=failure))

    async def _store(self, due: Due, stored: Stored, url_age_s: float | None = None) -> None:
        desk, job = self._desk, due.record.job
        stored = made_for(job, stored, url_age_s)
        await desk.advance(due.record, Step(job.id, JobState.GENERATED, JobState.STORED, stored=stored))
        await self._settle(due)
        desk.note(JobStored(at=desk.clock.now(), job_id=job.id, stored=stored))

    async def _settle(self, due: Due) -> None:
        if not due.settled:
            due.settled = True
            self._open.pop(id(due), None)
            self._desk.owed -= 1
        if due.landing is not None:
            await due.landing.discard()
            due.landing = None

    async def _keep(self, due: Due, error: StorageError) -> None:
        """Nothing can land: send nothing more, and try again as long as the URL lives, or its bytes are at hand."""
        desk = self._desk
        desk.stop_for_storage(error)
        if due.landing is not None and not due.landing.size:
            due.fetched_at = None
        until = due.lease.deadline if due.fetched_at is None else due.fetched_at + desk.url_life_s
        if desk.clock.now() < until:
            self._queue.put_later(due, desk.clock.monotonic() + FULL_DISK_S)
        else:
            await self._settle(due)
