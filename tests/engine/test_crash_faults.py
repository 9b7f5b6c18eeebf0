"""A run with a fault on everything that it tries first dies at each of its awaits; the next one makes good."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from fluxbatch.engine import Engine
from fluxbatch.errors import StorageError, TargetBlocked
from fluxbatch.model.state import JobState, Reason
from fluxbatch.policy.verdict import Loss
from fluxbatch.testing import (
    Grant,
    Lose,
    MemoryLedger,
    MemoryRescue,
    MemorySink,
    Refuse,
    ScriptedFetcher,
    Send,
    Serving,
    VirtualClock,
    make_png,
)
from tests.engine.dying import GreedyProvider, Life, MortalWorld, check_money, in_virtual_time
from tests.engine.world import jobs

if TYPE_CHECKING:
    from collections.abc import Callable

    from fluxbatch.model.job import Lease, PlannedJob, Record, Step
    from fluxbatch.testing import Act

PLAN = jobs(4)
STEP = 5
"""of so many moments, one is tried at once; all of them in the slow tests"""
MOST = 100
"""moments of one life that are tried: what waits for a disk does the same for minutes"""


@dataclass(frozen=True)
class Window:
    """Seconds of a life in which something can't be written."""

    begin: float
    end: float

    def holds(self, clock: VirtualClock) -> bool:
        return self.begin <= clock.monotonic() < self.end


NEVER = Window(0.0, 0.0)
MANY = 12
"""runs: one that can't write ends early"""


class FickleSink(MemorySink):
    """Full for a while, or with something in the way."""

    def __init__(self, clock: VirtualClock, window: Window, blocked: Window) -> None:
        super().__init__(latency_s=0.003)
        self._clock, self._window, self._blocked = clock, window, blocked

    def put(self, file: str, data: bytes) -> int:
        if self._blocked.holds(self._clock):
            raise TargetBlocked(f"{file} is a folder", remedy="move it away")
        return super().put(file, data)

    def take(self, count: int) -> None:
        self.capacity = 0 if self._window.holds(self._clock) else None
        super().take(count)

    async def room(self) -> int:
        self.capacity = 0 if self._window.holds(self._clock) else None
        return await super().room()

    def reopen(self) -> FickleSink:
        found, same = FickleSink(self._clock, self._window, self._blocked), super().reopen()
        found._files, found._folders, found._clock_ns = same._files, same._folders, same._clock_ns
        return found


class FickleLedger(MemoryLedger):
    """Refuses writes for a while."""

    def __init__(self, clock: VirtualClock, window: Window) -> None:
        super().__init__(commit_s=0.007)
        self._clock, self._window = clock, window

    def _may_write(self) -> None:
        super()._may_write()
        if self._window.holds(self._clock):
            raise StorageError("the ledger can't be written", remedy="free space")

    def reopen(self) -> FickleLedger:
        found, same = FickleLedger(self._clock, self._window), super().reopen()
        vars(found).update({name: value for name, value in vars(same).items() if name != "_closed"})
        return found


class FickleRescue(MemoryRescue):
    """Refuses to keep anything for a while."""

    def __init__(self, clock: VirtualClock, window: Window) -> None:
        super().__init__()
        self._clock, self._window = clock, window

    async def keep(self, step: Step) -> None:
        self.broken = self._window.holds(self._clock)
        await super().keep(step)

    def reopen(self) -> FickleRescue:
        found = FickleRescue(self._clock, self._window)
        found.steps = list(self.steps)
        return found


def first(act: Act) -> Callable[[int], Act | None]:
    return lambda attempt: act if attempt == 1 else None


@dataclass(frozen=True)
class Fault:
    """What goes wrong.

    Attributes:
        act: of the API, on the n-th request of a job; None: it makes the image.
        serving: of the delivery host, on the n-th try for a URL; None: it serves.
        disk, ledger, rescue: when they can't be written.
        blocked: when something stands where the outputs belong.
        risked: how often a job may have been billed in a life without a death.
        ends: how such a life ends for each job.
        lost: images that were paid for and never came, of each job, at most.
        extra: ends that are right as well once something has died.
        runs: that it takes, beside those that die.
        adaptive: with the limiter that learns.
    """

    act: Callable[[int], Act | None] = lambda _attempt: None
    serving: Callable[[int], Serving | None] = lambda _attempt: None
    disk: Window = NEVER
    ledger: Window = NEVER
    rescue: Window = NEVER
    blocked: Window = NEVER
    risked: int = 1
    ends: JobState = JobState.STORED
    lost: int = 0
    extra: frozenset[Reason] = field(default_factory=frozenset)
    runs: int = 1
    adaptive: bool = False


def on_delivery(serving: Serving) -> Fault:
    return Fault(serving=lambda attempt: serving if attempt == 1 else None)


PNG = make_png(9)
DAMAGED = PNG[:-20] + bytes([PNG[-20] ^ 0xFF]) + PNG[-19:]
ETAG = '"one"'
BLOCKED = "something in the way of images in the answers"
FAULTS: dict[str, Fault] = {
    "none": Fault(),
    # the API
    "429": Fault(act=first(Refuse(status=429, latency_s=0.31))),
    "429 with Retry-After": Fault(act=first(Refuse(status=429, latency_s=0.31, retry_after=7.0))),
    "500 billed": Fault(act=first(Refuse(status=500, latency_s=0.51, billed=True)), risked=2),
    "502": Fault(act=first(Refuse(status=502, latency_s=0.51))),
    "503 no channel": Fault(act=first(Refuse(status=503, message="无可用渠道", latency_s=0.51)), runs=3),
    "504 billed": Fault(act=first(Refuse(status=504, latency_s=0.77, billed=True)), risked=2),
    "no connection": Fault(act=first(Lose(loss=Loss.CONNECT, latency_s=0.21))),
    "lost before the body": Fault(act=first(Lose(loss=Loss.UPLOAD, latency_s=0.61))),
    "lost after the body": Fault(act=first(Lose(loss=Loss.LOST, latency_s=0.61, billed=True)), risked=2),
    "timeout": Fault(act=first(Lose(loss=Loss.TIMEOUT, latency_s=360.0, billed=True)), risked=2, runs=3),
    "truncated answer": Fault(act=first(Refuse(status=200, message="the answer is no JSON", billed=True)), risked=2),
    "moderation": Fault(
        act=lambda _attempt: Refuse(status=400, code="content_policy_violation", latency_s=0.41),
        risked=0,
        ends=JobState.FAILED,
        extra=frozenset({Reason.MODERATED}),
    ),
    "image in the answer": Fault(act=lambda _attempt: Send(latency_s=0.91)),
    "no image in the answer": Fault(act=first(Send(data=b"<html>", latency_s=0.91)), risked=2),
    "429, learning limiter": Fault(act=first(Refuse(status=429, latency_s=0.31)), adaptive=True),
    "502, learning limiter": Fault(act=first(Refuse(status=502, latency_s=0.51)), adaptive=True),
    # the delivery host
    "403 early": on_delivery(Serving(status=403, latency_s=0.43)),
    "404": on_delivery(Serving(status=404, latency_s=0.43)),
    "503": on_delivery(Serving(status=503, latency_s=0.43, retry_after=3.0)),
    "cut with ETag": Fault(serving=lambda n: Serving(latency_s=0.43, etag=ETAG, cut_after=30 if n == 1 else None)),
    "cut without ETag": on_delivery(Serving(latency_s=0.43, cut_after=30)),
    "stall": on_delivery(Serving(latency_s=0.43, etag=ETAG, stall_after=20)),
    "corrupt bytes": on_delivery(Serving(latency_s=0.43, etag=ETAG, data=DAMAGED)),
    "HTML": on_delivery(Serving(latency_s=0.43, data=b"<html>Sign in</html>")),
    "expired": Fault(act=first(Grant(latency_s=1.13, life_s=0.2)), risked=2, lost=1, extra=frozenset({Reason.EXPIRED})),
    # what is ours
    "full disk": Fault(disk=Window(1.5, 40.0), runs=MANY),
    "full disk with images in the answers": Fault(
        act=lambda _attempt: Send(latency_s=0.91), disk=Window(0.5, 40.0), runs=MANY
    ),
    "full disk beyond the URLs' life": Fault(
        act=lambda _attempt: Grant(latency_s=1.13, life_s=30.0),
        disk=Window(1.5, 50.0),
        risked=2,
        lost=2,
        extra=frozenset({Reason.EXPIRED}),
        runs=MANY,
    ),
    "something in the way": Fault(blocked=Window(1.5, 20.0), runs=MANY),
    BLOCKED: Fault(act=lambda _attempt: Send(latency_s=0.91), blocked=Window(1.5, 2.4), risked=2, lost=1, runs=3),
    "ledger can't be written for a moment": Fault(ledger=Window(1.0, 1.5), runs=3),
    "ledger can't be written": Fault(ledger=Window(1.2, 40.0), runs=MANY),
    "ledger can't be written for long": Fault(ledger=Window(1.2, 200.0), runs=MANY),
    "ledger and disk": Fault(disk=Window(1.5, 30.0), ledger=Window(1.2, 60.0), runs=MANY),
    "ledger and rescue": Fault(ledger=Window(1.2, 40.0), rescue=Window(1.2, 40.0), runs=MANY),
    # its image is on disk all the while, but nothing says so
    "ledger and rescue beyond the URLs' life": Fault(
        ledger=Window(1.2, 900.0),
        rescue=Window(1.2, 900.0),
        risked=2,
        lost=1,
        extra=frozenset({Reason.EXPIRED}),
        runs=MANY,
    ),
    "ledger with images in the answers": Fault(
        act=lambda _attempt: Send(latency_s=0.91), ledger=Window(0.5, 40.0), runs=MANY
    ),
}
SPOOL = tempfile.TemporaryDirectory(prefix="fluxbatch-spool-")


def world_of(fault: Fault) -> MortalWorld:
    clock = VirtualClock()

    def script(job: PlannedJob, attempt: int) -> Act:
        return fault.act(attempt) or Grant(latency_s=1.13 + job.position / 10)

    def serve(_lease: Lease, attempt: int) -> Serving:
        return fault.serving(attempt) or Serving(latency_s=0.43, etag=ETAG)

    return MortalWorld(
        clock=clock,
        provider=GreedyProvider(clock, script, spool=Path(SPOOL.name)),
        fetcher=ScriptedFetcher(clock, serve),
        # each call takes a time of its own, so that each await can be told from the others
        ledger=FickleLedger(clock, fault.ledger),
        sink=FickleSink(clock, fault.disk, fault.blocked),
        rescue=FickleRescue(clock, fault.rescue),
        ceiling=2,
        adaptive=fault.adaptive,
    )


def check(fault: Fault, world: MortalWorld, records: dict[str, Record]) -> None:
    check_money(world, records, most_lost=fault.lost)
    for record in records.values():
        if record.state is fault.ends is JobState.STORED:
            continue
        assert record.failure is not None
        if record.failure.reason is Reason.UNKNOWN_OUTCOME or record.failure.reason is Reason.EXPIRED:
            assert record.charged + record.unknown == 2, "held, or lost for good, before it had to be"
        assert record.failure.reason in {Reason.UNKNOWN_OUTCOME, *fault.extra}


def check_undisturbed(fault: Fault, world: MortalWorld, records: dict[str, Record]) -> None:
    check(fault, world, records)
    for record in records.values():
        assert record.state is fault.ends
        assert record.charged + record.unknown <= fault.risked


@cache
def life_of(name: str) -> tuple[Life, list[float]]:
    fault = FAULTS[name]
    world = partial(world_of, fault)
    moments = Life(PLAN, world, partial(check_undisturbed, fault), most_runs=fault.runs).moments()
    return Life(PLAN, world, partial(check, fault), most_runs=fault.runs), thinned(moments, MOST)


def thinned(moments: list[float], most: int) -> list[float]:
    """At most so many: all of the first half, and some of what follows."""
    head, tail = moments[: most // 2], moments[most // 2 :]
    return head + tail[:: max(1, -(-len(tail) // (most - len(head))))] if tail else head


def each_fault() -> list[Any]:
    return [pytest.param(name, number, id=name) for number, name in enumerate(FAULTS)]


@pytest.mark.parametrize(("name", "number"), each_fault())
def test_death_at_some_awaits(name: str, number: int) -> None:
    life, moments = life_of(name)
    assert len(moments) >= 15
    for moment in moments[number % STEP :: STEP]:
        in_virtual_time(life.die_and_go_on, [moment])


@pytest.mark.slow
@pytest.mark.parametrize(("name", "number"), each_fault())
def test_death_at_every_await(name: str, number: int) -> None:
    life, moments = life_of(name)
    for moment in moments:
        in_virtual_time(life.die_and_go_on, [moment])


@pytest.mark.slow
@pytest.mark.parametrize(("name", "number"), each_fault())
def test_cancelled_at_every_await(name: str, number: int) -> None:
    life, moments = life_of(name)
    for moment in moments:
        in_virtual_time(partial(life.die_and_go_on, [moment], politely=True))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "number"), each_fault())
def test_death_at_two_awaits(name: str, number: int) -> None:
    life, moments = life_of(name)
    for n, one in enumerate(moments[number % 7 :: 7]):
        for other in moments[(n + number) % 13 :: 13]:
            in_virtual_time(life.die_and_go_on, [one, other])


def test_a_blocked_place_is_not_paid_for_a_third_time() -> None:
    """In its smallest form: the folder stays where it is, the command is run three times."""

    async def three_runs() -> int:
        world = world_of(replace(FAULTS[BLOCKED], blocked=Window(0.0, 1e9)))
        for number in range(3):
            world.run_id = f"run-{number}"
            await world.plan(PLAN[:1])
            await Engine(world.desk()).run()
        return sum(world.provider.billed.values())

    assert in_virtual_time(three_runs) <= 2


def test_a_loss_that_is_cancelled_leaves_no_landing() -> None:
    """In its smallest form: the run is cancelled while the ledger writes that an image is lost."""

    async def cancelled() -> int:
        world = world_of(FAULTS["expired"])
        world.ledger.commit_s = 0.2  # so that there is time to cancel it
        with anyio.move_on_after(1e9) as scope:
            async with anyio.create_task_group() as tasks:

                async def cancel_at_the_loss() -> None:
                    while not any(step.lost for step in world.ledger.steps):
                        await anyio.sleep(0.01)
                    scope.cancel()

                tasks.start_soon(cancel_at_the_loss)
                await world.plan(PLAN[:1])
                await Engine(world.desk()).run()
        return len(world.sink.landings)

    assert in_virtual_time(cancelled) == 0
