"""What all parts of a run share."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, TypeVar, TypeVarTuple, Unpack

import anyio

from fluxbatch.engine.account import Account
from fluxbatch.engine.books import Books
from fluxbatch.errors import StorageError, TargetBlocked
from fluxbatch.model.events import RunStopping
from fluxbatch.model.state import JobState
from fluxbatch.model.summary import Stop
from fluxbatch.policy.admission import may_order
from fluxbatch.policy.doubt import Doubt
from fluxbatch.policy.transition import after

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from random import Random

    from fluxbatch.model.events import Event
    from fluxbatch.model.job import PlannedJob, Record, Step, Stored
    from fluxbatch.policy.admission import Load
    from fluxbatch.policy.budget import Budget
    from fluxbatch.policy.outage import Outage
    from fluxbatch.policy.window import Window
    from fluxbatch.ports import (
        Clock,
        Fetcher,
        Fitter,
        Ledger,
        Limiter,
        ObjectSource,
        Observer,
        Provider,
        Rescue,
        Sink,
    )
    from fluxbatch.settings import Settings

__all__ = ["FULL_DISK_S", "Bell", "Desk", "made_for"]

FULL_DISK_S: Final = 5.0
"""how often writing is tried again while sink or ledger can't take anything"""

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


def made_for(job: PlannedJob, stored: Stored, url_age_s: float | None = None) -> Stored:
    """An image that landed, with what it was made from, and how old its URL was (seconds)."""
    seed = job.fields.get("seed")
    return replace(
        stored,
        fingerprint=job.fingerprint,
        model=job.model,
        seed=seed if isinstance(seed, int) else None,
        url_age_s=url_age_s,
    )


class Bell:
    """Wakes the one task that waits, however often it is rung."""

    def __init__(self) -> None:
        self._rung = False
        self._waiter: asyncio.Future[None] | None = None

    def ring(self) -> None:
        """Something has changed."""
        self._rung = True
        if self._waiter is not None:
            _wake(self._waiter)

    async def wait(self, seconds: float | None) -> None:
        """Wait for a ring since the last wait, or for so long."""
        if not self._rung:
            loop = asyncio.get_running_loop()
            self._waiter = loop.create_future()
            timer = None if seconds is None else loop.call_later(seconds, _wake, self._waiter)
            try:
                await self._waiter
            finally:
                self._waiter = None
                if timer is not None:
                    timer.cancel()
        # what happens at the same moment is looked at in one go; anyio's checkpoint takes a shielded scope to get there
        await asyncio.sleep(0)  # noqa: TID251
        self._rung = False


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


@dataclass(slots=True)
class Desk:
    """The ports, rules and state of one run.

    Attributes:
        run_id: the run's id.
        url_life_s: seconds that a result URL of this API lives.
        admission: whether one more image may be ordered, given what is under way.
        ends_at: when everything should have landed, monotonic; None for no such moment.
        window: the hours in which something may be sent; None for all.
        answer_s: seconds that an answer takes, as far as is known before the first one.
        in_flight, owed: requests under way, leases not yet stored.
        doubts: unknown outcomes in a row, by model.
        listeners: are told of each step that was taken.
        stop: why nothing new is sent, once there is a reason.
        models_out: models that turned out to be unavailable, with what was said.
    """

    run_id: str
    ledger: Ledger
    provider: Provider
    fetcher: Fetcher
    sink: Sink
    clock: Clock
    observer: Observer
    settings: Settings
    limiter: Limiter
    budget: Budget
    outage: Outage
    rng: Random
    rescue: Rescue
    fitter: Fitter
    objects: ObjectSource | None = None
    url_life_s: float = 600.0
    admission: Callable[[Load], bool] = may_order
    ends_at: float | None = None
    window: Window | None = None
    answer_s: float = 1.0
    in_flight: int = 0
    owed: int = 0
    stop: Stop | None = None
    models_out: dict[str, str] = field(default_factory=dict)
    doubts: defaultdict[str, Doubt] = field(default_factory=lambda: defaultdict(Doubt))
    listeners: list[Callable[[Step], None]] = field(default_factory=list)
    account: Account = field(default_factory=Account)
    bell: Bell = field(default_factory=Bell)
    books: Books = field(init=False)

    def __post_init__(self) -> None:
        self.books = Books(self.ledger, self.rescue, self.stop_for_storage)

    def note(self, event: Event) -> None:
        """Tell of an event."""
        self.observer.note(event)

    async def advance(self, record: Record, step: Step) -> Record:
        """Take a durable step and return the record as it is now.

        Raises:
            StorageError: it can't be written. Once a request is on record, that is not given up lightly.
        """
        if step.frm is JobState.PENDING:
            await self.ledger.advance(step)
        else:
            await self.insist(self.books.take, step)
        self.account.add(step)
        for told in self.listeners:
            told(step)
        return after(record, step, self.run_id)

    async def insist(self, write: Callable[[Unpack[Ts]], Awaitable[T]], *arguments: *Ts) -> T:
        """Write what money was spent on: with no room for it, send nothing more and try for as long as a URL lives.

        Raises:
            StorageError: there was no room in all that time.
            TargetBlocked: something stands where the output belongs.
        """
        give_up_at = self.clock.monotonic() + self.url_life_s
        while True:
            try:
                return await write(*arguments)
            except TargetBlocked:  # one job's matter: waiting for it would not help the others
                raise
            except StorageError as error:
                self.stop_for_storage(error)
                if self.clock.monotonic() >= give_up_at:
                    raise
            await anyio.sleep(FULL_DISK_S)

    def stop_for_storage(self, error: StorageError) -> None:
        """Send nothing new: sink or ledger can't be written."""
        self.ask_to_stop(Stop(error.stop_reason, error.message, error.remedy))

    def ask_to_stop(self, stop: Stop) -> None:
        """Send nothing new; finish what is in flight or owed. The first reason stands, unless a person interrupts."""
        if self.stop is not None and (self.stop.exit_code > 100 or stop.exit_code < 100):
            return
        if self.stop is not None:
            stop = replace(stop, before=self.stop.message, remedy=self.stop.remedy or stop.remedy)
        self.stop = stop
        self.note(
            RunStopping(
                at=self.clock.now(),
                stop_reason=stop.reason,
                message=stop.message,
                remedy=stop.remedy,
                in_flight=self.in_flight,
                owed=self.owed,
            )
        )
        self.bell.ring()
