"""What every ``Clock`` holds to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

import anyio

from fluxbatch.testing.conformance.expect import equal, expect

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fluxbatch.ports import Clock

__all__ = ["CASES", "Case", "Factory"]

_YEAR_2020: Final = 1_577_836_800.0

Factory: TypeAlias = "Callable[[], Clock]"
Case: TypeAlias = "Callable[[Factory], Awaitable[None]]"


async def it_never_goes_back(make: Factory) -> None:
    """However often it is asked."""
    clock = make()
    seen = [clock.monotonic() for _ in range(1000)]
    expect(seen == sorted(seen), "monotonic time went back")


async def it_agrees_with_sleep(make: Factory) -> None:
    """Who sleeps until a moment wakes up no earlier: waits and decisions are by the same clock."""
    clock = make()
    for _ in range(20):
        before, wall = clock.monotonic(), clock.now()
        await anyio.sleep(0.002)
        expect(clock.monotonic() - before >= 0.0019, f"{clock.monotonic() - before} s passed in a sleep of 0.002 s")
        expect(clock.now() >= wall, "the wall clock went back")
    equal(round(clock.monotonic() - anyio.current_time(), 2), 0.0, "distance from the loop's clock")


async def the_wall_clock_is_in_epoch_seconds(make: Factory) -> None:
    """Not in milliseconds, and not since the start."""
    expect(_YEAR_2020 < make().now() < 10 * _YEAR_2020, "now() is no epoch time")


CASES: Final[list[Case]] = [it_never_goes_back, it_agrees_with_sleep, the_wall_clock_is_in_epoch_seconds]
