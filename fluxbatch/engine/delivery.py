"""From a lease to an image on disk."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fluxbatch.engine.desk import FULL_DISK_S
from fluxbatch.engine.due import Due, DueQueue
from fluxbatch.errors import DeliveryError, StorageError
from fluxbatch.model.events import DeliveryRetried, JobFailed, JobLost, JobStored
from fluxbatch.model.job import Failure, Step
from fluxbatch.model.state import JobState, Reason
from fluxbatch.policy.backoff import delivery_delay_s
from fluxbatch.policy.redelivery import Outlook, outlook
from fluxbatch.policy.retry import after_loss

if TYPE_CHECKING:
    from collections.abc import Callable

    from fluxbatch.engine.desk import Desk
    from fluxbatch.model.job import Lease, Record

__all__ = ["Delivery"]

_FIRST_GUESS_S = 30.0
"""seconds that a delivery takes, as long as none has been seen"""
_MEMORY = 0.8
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
        self._busy: list[float] = []
        self._mean_s: float | None = None

    def owe(self, record: Record, lease: Lease, *, remake: bool = False) -> None:
        """Have a lease fetched; ``remake``: if it is lost, the image may be made once more in this run."""
        self._desk.owed += 1
        self._queue.put(Due(record, lease, remake))
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

    def next_due(self) -> float | None:
        """When a waiting retry is due, monotonic."""
        return self._queue.next_due()

    def estimate_s(self) -> float:
        """Seconds that a delivery holds its slot: as seen lately, or as those under way have already taken."""
        seen = _FIRST_GUESS_S if self._mean_s is None else self._mean_s
        if not self._busy:
            return seen
        now = self._desk.clock.monotonic()
        return max(seen, now - sum(self._busy) / len(self._busy))

    async def deliver(self, due: Due, begun: float) -> None:
        """One try. Whatever comes of it, the lease is stored, queued again, or settled."""
        desk = self._desk
        try:
            try:
                await self._try(due)
            except DeliveryError as error:
                await self._failed(due, error)
        except StorageError as error:
            await self._keep(due, error)
        except Exception:
            await self._settle(due)
            raise
        finally:
            self._busy.remove(begun)
            seconds = desk.clock.monotonic() - begun
            self._mean_s = seconds if self._mean_s is None else _MEMORY * self._mean_s + (1 - _MEMORY) * seconds
            desk.bell.ring()

    async def abandon(self) -> None:
        """Throw away half-landed bytes of what is left; the leases stay on record."""
        while (due := self._queue.take(wall=0.0, now=float("inf"))) is not None:
            if due.landing is not None:
                await due.landing.discard()

    async def _try(self, due: Due) -> None:
        desk = self._desk
        if due.landing is None:
            due.landing = await desk.sink.land()
        landing = due.landing
        try:
            if due.fetched_at is None:
                await desk.fetcher.fetch(due.lease, landing)
                due.fetched_at = desk.clock.now()
            age = due.fetched_at - due.lease.granted_at
            stored = await landing.commit(due.record.job.filename)
        except (DeliveryError, StorageError):
            raise
        except BaseException:
            await landing.discard()
            raise
        due.landing = due.fetched_at = None
        stored = replace(stored, fingerprint=due.record.job.fingerprint, url_age_s=max(0.0, age))
        await desk.advance(due.record, Step(due.record.job.id, JobState.GENERATED, JobState.STORED, stored=stored))
        await self._settle(due)
        desk.note(JobStored(at=desk.clock.now(), job_id=due.record.job.id, stored=stored))

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
                failure = Failure(Reason.DOWNLOAD_FAILED, f"{error} (after {due.tries} tries)")
                step = Step(due.record.job.id, JobState.GENERATED, JobState.FAILED, failure=failure, lease=due.lease)
                await desk.advance(due.record, step)
                await self._settle(due)
                desk.note(JobFailed(at=wall, job_id=due.record.job.id, failure=failure))

    async def _lost(self, due: Due, message: str) -> None:
        desk = self._desk
        record = due.record
        failure = after_loss(record, message)
        to = JobState.PENDING if failure is None else JobState.FAILED
        record = await desk.advance(record, Step(record.job.id, JobState.GENERATED, to, lost=True, failure=failure))
        await self._settle(due)
        again = failure is None and due.remake
        desk.note(JobLost(at=desk.clock.now(), job_id=record.job.id, message=message, again=again))
        if again:
            self._remake(record)
        elif failure is not None:
            desk.note(JobFailed(at=desk.clock.now(), job_id=record.job.id, failure=failure))

    async def _settle(self, due: Due) -> None:
        if not due.settled:
            due.settled = True
            self._desk.owed -= 1
        if due.landing is not None:
            await due.landing.discard()
            due.landing = None

    async def _keep(self, due: Due, error: StorageError) -> None:
        """Nothing can land: send nothing more, and try again as long as the URL lives."""
        desk = self._desk
        desk.stop_for_storage(error)
        if desk.clock.now() < due.lease.deadline:
            self._queue.put_later(due, desk.clock.monotonic() + FULL_DISK_S)
        else:
            await self._settle(due)
