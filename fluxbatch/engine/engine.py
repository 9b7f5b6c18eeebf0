"""A run: one loop that decides what starts next, and tasks that act."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final, TypeVarTuple, Unpack

import anyio

from fluxbatch.engine.crew import Crew
from fluxbatch.engine.delivery import Delivery
from fluxbatch.engine.desk import FULL_DISK_S
from fluxbatch.engine.hours import Hours
from fluxbatch.engine.queue import JobQueue
from fluxbatch.engine.recovery import Recovery
from fluxbatch.engine.sending import Sending
from fluxbatch.engine.stranded import Stranded
from fluxbatch.engine.trouble import Trouble
from fluxbatch.errors import StorageError
from fluxbatch.model.state import JobState
from fluxbatch.model.summary import Stop
from fluxbatch.policy.admission import Load
from fluxbatch.policy.budget import Room
from fluxbatch.policy.canary import Canary
from fluxbatch.policy.failures import FailureCap
from fluxbatch.policy.runtime import drain_s

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fluxbatch.engine.desk import Desk
    from fluxbatch.model.job import Lease, Record

__all__ = ["Engine"]

Ts = TypeVarTuple("Ts")

_ROOM_EVERY_S: Final = 1.0
"""how often the free space is looked at"""
_LAST_WORDS_S: Final = 10.0
"""how long a run waits at its end for a ledger that can't be written; nothing is lost with it"""
_DELIVERY_GUESS_S: Final = 1.0


class Engine:
    """Makes what a plan asks for. Only one at a time may hold a ledger.

    ``recover`` settles what an earlier run left behind; ``fetch_owed`` brings home what was paid for; ``run`` sends and
    delivers until nothing is left or there is a reason to stop.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._queue = JobQueue(desk.ledger, desk.run_id)
        self._delivery = Delivery(desk, self._remake)
        self._trouble = Trouble(desk)
        self._failures = FailureCap(desk.settings.stop_after_failures)
        self._sending = Sending(desk, self._queue, self._delivery, self._trouble, self._failures.count)
        self._canary = Canary(desk.settings.canary, desk.settings.canary_share)
        desk.listeners += [self._queue.heed, self._canary.heed, self._failures.heed]
        self._hours = Hours(desk)
        self._too_dear: dict[str, float] = {}
        self._room_checked = float("-inf")
        self._defect: Exception | None = None

    @property
    def answer_s(self) -> float:
        """Seconds that an answer takes, as the slower ones of late."""
        return self._sending.answer_s(self._desk.answer_s)

    @property
    def first_to_die(self) -> Lease | None:
        """The lease owed whose URL dies first."""
        return self._delivery.first_to_die()

    async def recover(self) -> int:
        """Settle what an earlier run left behind. Returns how many requests were under way when it died.

        Raises:
            StorageError: an image that is here can't be put in place; it is left for another time.
        """
        return await Recovery(self._desk).settle()

    async def fetch_owed(self, seconds: float) -> int:
        """Bring home leases of any earlier run, for at most so long. Returns how many there were.

        What isn't stored by then is tried again in ``run``.
        """
        owed = await self._take_up()
        if owed:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds), Crew() as crew:
                    while self._desk.owed:
                        since = self._desk.clock.monotonic()
                        self._start_deliveries(crew)
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
            async with Crew() as crew:
                while True:
                    await self._guard(self._prepare)
                    since = self._desk.clock.monotonic()
                    self._start_deliveries(crew)
                    self._start_requests(crew)
                    if self._is_done():
                        break
                    await self._wait_for(self._next_moments(since), since)
            await self._close_books()
            if self._queue.has_chains:
                await Stranded(self._desk).fail()
        finally:
            with anyio.CancelScope(shield=True):
                await self._delivery.abandon()
        self._raise_defect()

    async def _close_books(self) -> None:
        """Give the ledger a while to take what it could not; what it lacks then is left to the next run."""
        give_up_at = self._desk.clock.monotonic() + _LAST_WORDS_S
        while self._desk.books.behind:
            try:
                await self._desk.books.catch_up()
            except StorageError:
                if self._desk.clock.monotonic() >= give_up_at:
                    return
                await anyio.sleep(FULL_DISK_S)

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

    def _start_deliveries(self, crew: Crew) -> None:
        while (taken := self._delivery.take()) is not None:
            crew.start(self._guard(self._delivery.deliver, *taken))

    def _start_requests(self, crew: Crew) -> None:
        desk = self._desk
        self._too_dear.clear()
        self._heed_canary()
        while (
            self._hours.open(self._queue.models)
            and self._has_time()
            and desk.stop is None
            and desk.admission(self._load())
        ):
            record = self._queue.take(self._admits, desk.clock.monotonic())
            if record is None:
                break
            self._canary.chosen(record.job.id)
            crew.start(self._guard(self._sending.send, record, self._sending.reserve(record)))
        if self._too_dear and not (desk.in_flight or desk.owed) and self._is_stuck():
            self._stop_for_budget()

    def _is_stuck(self) -> bool:
        """Whether what is too dear is all that is left, or all that may be sent while the others are held back."""
        return self._canary.holds or self._too_dear.keys() >= set(self._queue.models())

    def _heed_canary(self) -> None:
        desk = self._desk
        if self._canary.holds and not (desk.in_flight or desk.owed or self._queue.has_retries()):
            self._canary.give_up()
        stop = self._canary.stop() or self._failures.stop()
        if stop is not None and desk.stop is None and self._queue.models():
            desk.ask_to_stop(stop)

    def _stop_for_budget(self) -> None:
        budget, cap = self._desk.budget, self._desk.settings.max_cost_usd or 0.0
        period = budget.period_stop(min(self._too_dear.values()), self._desk.clock.now())
        if period is not None:
            self._desk.ask_to_stop(period)
            return
        before = f", ${budget.carried:.2f} of it by runs before this one that did not finish" if budget.carried else ""
        self._desk.ask_to_stop(
            Stop(
                "budget",
                f"${budget.carried + budget.spent:.2f} of ${cap:.2f} are spent{before}; the next image would go beyond",
                "to go on, run the same command with a higher --max-cost: it counts what is spent until a run finishes",
            )
        )

    def _has_time(self) -> bool:
        """Whether one more request, too, would land before the run must be over; if not, that is a reason to stop."""
        desk = self._desk
        if desk.ends_at is None or not self._queue.models():
            return True
        if desk.clock.monotonic() < desk.ends_at - self._drain_s():
            return True
        words = f"the rest of --max-runtime ({desk.settings.max_runtime_s:g} s) is for what is under way"
        if not desk.account.requests:
            words = f"--max-runtime ({desk.settings.max_runtime_s:g} s) leaves no time for a request and its image"
            words += f", about {self._drain_s():.0f} s"
        desk.ask_to_stop(Stop("runtime", words, "run the same command again to go on"))
        return False

    def _drain_s(self) -> float:
        """Seconds until all that is under way has landed, one more request included."""
        # a delivery's first guess is hopeful: a careful one would take up all of a short run
        load = replace(self._load(), delivery_s=self._delivery.estimate_s(_DELIVERY_GUESS_S))
        return drain_s(load, self.answer_s)

    def _admits(self, record: Record) -> bool:
        if not self._canary.admits(record.job.id):
            return False
        room = self._desk.budget.room(record.job.price or 0.0, self._desk.clock.now())
        if room is not Room.YES:
            if room is Room.NO:
                self._too_dear[record.job.model] = record.job.price or 0.0
            return False
        return self._trouble.may_start(record.job.model)

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
                None if desk.ends_at is None else desk.ends_at - self._drain_s(),
                self._hours.closes(now),
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
