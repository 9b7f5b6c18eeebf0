"""A run: one loop that decides what starts next, and tasks that act."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVarTuple, Unpack

import anyio

from fluxbatch.engine.delivery import Delivery
from fluxbatch.engine.queue import JobQueue
from fluxbatch.engine.sending import Sending
from fluxbatch.errors import StorageError
from fluxbatch.model.events import JobFailed
from fluxbatch.model.job import Step
from fluxbatch.model.state import Charge, JobState
from fluxbatch.model.summary import Stop
from fluxbatch.policy.admission import Load, may_order
from fluxbatch.policy.budget import Room
from fluxbatch.policy.retry import after_interruption

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from anyio.abc import TaskGroup

    from fluxbatch.engine.desk import Desk
    from fluxbatch.model.job import Record

__all__ = ["Engine"]

Ts = TypeVarTuple("Ts")

_ROOM_EVERY_S: Final = 1.0
"""how often the free space is looked at"""


class Engine:
    """Makes what a plan asks for. Only one at a time may hold a ledger.

    ``recover`` settles what an earlier run left behind; ``fetch_owed`` brings home what was paid for; ``run`` sends and
    delivers until nothing is left or there is a reason to stop.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._queue = JobQueue(desk.ledger, desk.run_id)
        self._delivery = Delivery(desk, self._remake)
        self._sending = Sending(desk, self._queue, self._delivery)
        self._too_dear: set[str] = set()
        self._room_checked = float("-inf")
        self._defect: Exception | None = None

    async def recover(self) -> int:
        """Settle requests that were under way when an earlier run died: their charge is unknown. Returns how many."""
        desk, after, count = self._desk, "", 0
        while page := await desk.ledger.in_state(JobState.SUBMITTED, after):
            for record in page:
                failure = after_interruption(record, if_unsure=desk.settings.if_unsure)
                to = JobState.PENDING if failure is None else JobState.FAILED
                step = Step(
                    record.job.id,
                    JobState.SUBMITTED,
                    to,
                    charge=Charge.UNKNOWN,
                    usd=record.job.price or 0.0,
                    attempts=1,
                    failure=failure,
                )
                await desk.ledger.advance(step)
                if failure is not None:
                    desk.note(
                        JobFailed(at=desk.clock.now(), job_id=record.job.id, failure=failure, charge=Charge.UNKNOWN)
                    )
            count += len(page)
            after = page[-1].job.id
        return count

    async def fetch_owed(self, seconds: float) -> int:
        """Bring home leases of any earlier run, for at most so long. Returns how many there were.

        What isn't stored by then is tried again in ``run``.
        """
        owed = await self._take_up()
        if owed:
            with anyio.move_on_after(seconds):
                async with anyio.create_task_group() as tasks:
                    while self._desk.owed:
                        since = self._desk.clock.monotonic()
                        self._start_deliveries(tasks)
                        await self._wait_for([self._delivery.next_due()], since)
            await self._delivery.abandon()
            self._desk.owed = 0
        self._raise_defect()
        return owed

    async def run(self) -> None:
        """Send and deliver until nothing is left, or nothing may be sent and nothing is under way."""
        await self._take_up()
        await self._queue.open()
        try:
            async with anyio.create_task_group() as tasks:
                while True:
                    await self._guard(self._prepare)
                    since = self._desk.clock.monotonic()
                    self._start_deliveries(tasks)
                    self._start_requests(tasks)
                    if self._is_done():
                        break
                    await self._wait_for(self._next_moments(since), since)
        finally:
            with anyio.CancelScope(shield=True):
                await self._delivery.abandon()
        self._raise_defect()

    async def _guard(self, act: Callable[[Unpack[Ts]], Awaitable[None]], *arguments: *Ts) -> None:
        """Have a defect of ours end the run, and not what others have paid for: it is raised once they are home."""
        try:
            await act(*arguments)
        except Exception as error:  # noqa: BLE001  # kept, not swallowed
            self._defect = self._defect or error
            self._desk.ask_to_stop(Stop("internal_error", f"a defect: {type(error).__name__}", exit_code=70))

    def _raise_defect(self) -> None:
        if self._defect is not None:
            raise self._defect

    async def _take_up(self) -> int:
        after, count = "", 0
        while page := await self._desk.ledger.in_state(JobState.GENERATED, after):
            for record in page:
                if record.lease is not None:
                    self._delivery.owe(record, record.lease)
            count += len(page)
            after = page[-1].job.id
        return count

    async def _prepare(self) -> None:
        desk = self._desk
        if desk.stop is not None:
            return
        try:
            await self._queue.fill()
            now = desk.clock.monotonic()
            if now - self._room_checked >= _ROOM_EVERY_S:
                self._room_checked = now
                await self._check_room()
        except StorageError as error:
            desk.stop_for_storage(error)

    async def _check_room(self) -> None:
        desk = self._desk
        room = await desk.sink.room()
        if room < desk.settings.free_space_floor:
            free, floor = room >> 20, desk.settings.free_space_floor >> 20
            desk.ask_to_stop(
                Stop(
                    "storage",
                    f"only {free} MB are free for images, {floor} MB is the least",
                    "free some space, then run the same command again",
                )
            )

    def _start_deliveries(self, tasks: TaskGroup) -> None:
        while (taken := self._delivery.take()) is not None:
            tasks.start_soon(self._guard, self._delivery.deliver, *taken)

    def _start_requests(self, tasks: TaskGroup) -> None:
        desk = self._desk
        self._too_dear.clear()
        while desk.stop is None and may_order(self._load()):
            record = self._queue.take(self._admits, desk.clock.monotonic())
            if record is None:
                break
            self._sending.reserve(record)
            tasks.start_soon(self._guard, self._sending.send, record)
        if self._too_dear and self._too_dear.issuperset(self._queue.models()) and not (desk.in_flight or desk.owed):
            cap = desk.settings.max_cost_usd or 0.0
            desk.ask_to_stop(
                Stop(
                    "budget",
                    f"${desk.budget.spent:.2f} of ${cap:.2f} are spent, and the next image would go beyond",
                    "the cap is one run's: the same command goes on with as much again, or raise --max-cost",
                )
            )

    def _admits(self, record: Record) -> bool:
        room = self._desk.budget.room(record.job.price or 0.0)
        if room is not Room.YES:
            if room is Room.NO:
                self._too_dear.add(record.job.model)
            return False
        return self._desk.limiter.admits(record.job.model, self._desk.clock.monotonic())

    def _load(self) -> Load:
        desk = self._desk
        return Load(
            in_flight=desk.in_flight,
            owed=desk.owed,
            slots=desk.settings.downloads,
            delivery_s=self._delivery.estimate_s(),
            life_s=desk.url_life_s,
        )

    def _is_done(self) -> bool:
        desk = self._desk
        if desk.in_flight or desk.owed:
            return False
        return desk.stop is not None or not self._queue.models()

    def _next_moments(self, now: float) -> list[float | None]:
        desk = self._desk
        moments = [self._delivery.next_due()]
        if desk.stop is None:
            moments += [
                self._queue.next_due(now),
                *(desk.limiter.resumes_at(model, now) for model in self._queue.models()),
            ]
        return moments

    async def _wait_for(self, moments: list[float | None], since: float) -> None:
        """Wait for a ring or the next moment. What was due before ``since`` was looked at: it waits for a ring."""
        ahead = [moment for moment in moments if moment is not None and moment > since]
        seconds = max(0.0, min(ahead) - self._desk.clock.monotonic()) if ahead else None
        await self._desk.bell.wait(seconds)

    def _remake(self, record: Record) -> None:
        self._queue.retry(record, self._desk.clock.monotonic())
