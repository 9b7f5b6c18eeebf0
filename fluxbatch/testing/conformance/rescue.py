"""What every ``Rescue`` holds to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

import anyio

from fluxbatch.errors import StorageError
from fluxbatch.model.job import Failure, Lease, Step, Stored
from fluxbatch.model.state import Charge, JobState, Reason
from fluxbatch.testing.conformance.expect import equal, expect, raises

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from fluxbatch.ports import Rescue

__all__ = ["CASES", "Case", "Factory", "Rig"]

_LEASE: Final = Lease("https://delivery.example/a?sig=s%2F+é", deadline=1600.25, granted_at=1e9 + 1 / 3, request_id="r")
_STORED: Final = Stored("a/ü.png", "ab" * 32, 2**40, 64, 48, 1_700_000_000_123_456_789, "fingerprint", 12.5)
_STEPS: Final = [
    Step("plain", JobState.PENDING, JobState.SUBMITTED),
    Step(
        "é 中 \U0001f426 \ud800",
        JobState.SUBMITTED,
        JobState.GENERATED,
        charge=Charge.CHARGED,
        usd=0.1 + 0.2,
        attempts=1,
        lease=_LEASE,
        request_id="req-1",
    ),
    Step("b", JobState.GENERATED, JobState.STORED, stored=_STORED),
    Step("c", JobState.SUBMITTED, JobState.STORED, charge=Charge.CHARGED, usd=0.5, stored=Stored("c.jpg", "", 0, 1, 1)),
    Step("d", JobState.GENERATED, JobState.PENDING, lost=True),
    Step(
        "e\n\u2028",
        JobState.GENERATED,
        JobState.FAILED,
        charge=Charge.UNKNOWN,
        usd=1e-9,
        lease=_LEASE,
        failure=Failure(Reason.DOWNLOAD_FAILED, 'no "image"\n\x00\x1b[1m', 403),
    ),
    Step("f", JobState.PENDING, JobState.FAILED, failure=Failure(Reason.MODERATED, "")),
]


class Rig(Protocol):
    """A rescue that keeps nothing at first."""

    @property
    def rescue(self) -> Rescue:
        """What is under test."""
        ...

    async def reopen(self) -> None:
        """Take up what is there, as the next process does."""
        ...

    async def break_off(self) -> None:
        """Take every place away."""
        ...

    async def mend(self) -> None:
        """Give them back, with what was kept there."""
        ...


Factory: TypeAlias = "Callable[[], AbstractAsyncContextManager[Rig]]"
Case: TypeAlias = "Callable[[Factory], Awaitable[None]]"


async def nothing_is_kept_at_first(make: Factory) -> None:
    """And to forget it is no error."""
    async with make() as rig:
        equal(await rig.rescue.kept(), [], "steps at first")
        equal(rig.rescue.where(), "", "where they are")
        await rig.rescue.clear()
        equal(await rig.rescue.kept(), [], "steps after forgetting none")


async def steps_come_back_as_they_were(make: Factory) -> None:
    """Every field, in order, over as many processes as it takes."""
    async with make() as rig:
        for count, step in enumerate(_STEPS, start=1):
            await rig.rescue.keep(step)
            if count % 3 == 0:
                await rig.reopen()
        equal(await rig.rescue.kept(), _STEPS, "steps kept")
        equal(await rig.rescue.kept(), _STEPS, "steps kept, asked once more")
        await rig.reopen()
        equal(await rig.rescue.kept(), _STEPS, "steps kept by an earlier process")
        equal([step.lease for step in await rig.rescue.kept()], [step.lease for step in _STEPS], "leases")


async def the_same_step_may_come_twice(make: Factory) -> None:
    """A job that is sent again takes the same way again."""
    async with make() as rig:
        for _ in range(3):
            await rig.rescue.keep(_STEPS[0])
        equal(await rig.rescue.kept(), [_STEPS[0]] * 3, "equal steps")


async def it_says_where_they_are(make: Factory) -> None:
    """While there are any."""
    async with make() as rig:
        await rig.rescue.keep(_STEPS[0])
        expect(rig.rescue.where(), "it is said where a step is")
        await rig.reopen()
        await rig.rescue.kept()
        expect(rig.rescue.where(), "it is said where steps of an earlier process are, once they were read")
        await rig.rescue.clear()
        equal(rig.rescue.where(), "", "where they are, once forgotten")


async def what_is_forgotten_is_gone(make: Factory) -> None:
    """Also for the next process; what comes afterwards is kept."""
    async with make() as rig:
        await rig.rescue.keep(_STEPS[0])
        await rig.reopen()
        await rig.rescue.keep(_STEPS[1])
        await rig.rescue.clear()
        equal(await rig.rescue.kept(), [], "steps after forgetting")
        await rig.reopen()
        equal(await rig.rescue.kept(), [], "steps after forgetting, for the next process")
        await rig.rescue.keep(_STEPS[2])
        equal(await rig.rescue.kept(), [_STEPS[2]], "steps afterwards")


async def many_at_a_time_are_all_kept(make: Factory) -> None:
    """Each once, and those of one task in order."""
    async with make() as rig:

        async def keep(task: int) -> None:
            for number in range(5):
                await rig.rescue.keep(Step(f"{task}", JobState.PENDING, JobState.SUBMITTED, attempts=number))

        async with anyio.create_task_group() as tasks:
            for task in range(10):
                tasks.start_soon(keep, task)
        kept = await rig.rescue.kept()
        equal(len(kept), 50, "steps")
        for task in range(10):
            equal([step.attempts for step in kept if step.job_id == f"{task}"], [0, 1, 2, 3, 4], "steps of a task")


async def without_a_place_it_says_so(make: Factory) -> None:
    """And what was kept before is still there once the place is."""
    async with make() as rig:
        await rig.rescue.keep(_STEPS[0])
        await rig.break_off()
        with raises(StorageError, "keeping without a place"):
            await rig.rescue.keep(_STEPS[1])
        await rig.mend()
        await rig.rescue.keep(_STEPS[2])
        equal(await rig.rescue.kept(), [_STEPS[0], _STEPS[2]], "steps kept")


CASES: Final[list[Case]] = [
    nothing_is_kept_at_first,
    steps_come_back_as_they_were,
    the_same_step_may_come_twice,
    it_says_where_they_are,
    what_is_forgotten_is_gone,
    many_at_a_time_are_all_kept,
    without_a_place_it_says_so,
]
