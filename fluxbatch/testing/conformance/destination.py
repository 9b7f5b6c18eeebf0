"""What every ``Destination`` holds to."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

import anyio

from fluxbatch.model.job import Stored
from fluxbatch.ports import Delivered
from fluxbatch.testing.conformance.expect import equal
from fluxbatch.testing.images import make_png

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from fluxbatch.ports import Destination

__all__ = ["CASES", "Case", "Factory", "Rig"]

_PNG: Final = make_png(1, width=96, height=64)


class Rig(Protocol):
    """A place that is empty at first, and someone else who gets at what is there."""

    @property
    def destination(self) -> Destination:
        """What is under test, as an export opens it."""
        ...

    def source(self, data: bytes) -> Path:
        """A file of the local disk with these bytes."""
        ...

    def put(self, file: str, data: bytes) -> None:
        """Write a file as someone else would, with its folders."""
        ...

    def files(self) -> dict[str, bytes]:
        """All that is there, by name."""
        ...


Factory: TypeAlias = "Callable[[], AbstractContextManager[Rig]]"
Case: TypeAlias = "Callable[[Factory], Awaitable[None]]"


async def an_image_is_delivered_once(make: Factory) -> None:
    """Untouched, under its name, with its folders; the next time it is there."""
    with make() as rig:
        first, source = rig.destination, rig.source(_PNG)
        for wanted in (Delivered.COPIED, Delivered.THERE):
            equal(await first.deliver(source, _stored("a/cat.png"), replace=False), wanted, "an image")
        for replace in (False, True):
            became = await rig.destination.deliver(source, _stored("a/cat.png"), replace=replace)
            equal(became, Delivered.THERE, "an image, by the next export")
        equal(rig.files(), {"a/cat.png": _PNG}, "what is there")


async def what_somebody_else_put_there_is_the_image_too(make: Factory) -> None:
    """If it is, byte for byte."""
    with make() as rig:
        rig.put("cat.png", _PNG)
        became = await rig.destination.deliver(rig.source(_PNG), _stored("cat.png"), replace=False)
        equal(became, Delivered.THERE, "an image that somebody else put there")


async def what_is_in_the_way_stays(make: Factory) -> None:
    """Unless it may be replaced; of the same length too."""
    longer, same = _PNG + b"!", bytes(reversed(_PNG))
    with make() as rig:
        rig.put("longer.png", longer)
        rig.put("same.png", same)
        destination, source = rig.destination, rig.source(_PNG)
        for file in ("longer.png", "same.png"):
            equal(await destination.deliver(source, _stored(file), replace=False), Delivered.IN_THE_WAY, file)
        equal(rig.files(), {"longer.png": longer, "same.png": same}, "what is there")
        for file in ("longer.png", "same.png"):
            equal(await destination.deliver(source, _stored(file), replace=True), Delivered.COPIED, f"{file}, replaced")
        equal(rig.files(), {"longer.png": _PNG, "same.png": _PNG}, "what is there once it was replaced")


async def no_other_kind_of_thing_is_replaced(make: Factory) -> None:
    """A file where a folder belongs, a folder where the file belongs."""
    with make() as rig:
        rig.put("way", b"mine")
        rig.put("cat.png/mine.txt", b"mine too")
        destination, source = rig.destination, rig.source(_PNG)
        for file in ("way/cat.png", "way/further/cat.png", "cat.png"):
            for replace in (False, True):
                became = await destination.deliver(source, _stored(file), replace=replace)
                equal(became, Delivered.IN_THE_WAY, f"{file}, replace: {replace}")
        equal(rig.files(), {"way": b"mine", "cat.png/mine.txt": b"mine too"}, "what is there")


async def nothing_but_what_was_stored_is_delivered(make: Factory) -> None:
    """Neither an image that was edited since, nor one that is gone."""
    with make() as rig:
        destination = rig.destination
        edited = rig.source(bytes(reversed(_PNG)))
        became = await destination.deliver(edited, _stored("cat.png"), replace=True)
        equal(became, Delivered.CHANGED, "an image that was edited")
        for gone in (edited.with_name("gone"), edited / "gone"):
            became = await destination.deliver(gone, _stored("cat.png"), replace=True)
            equal(became, Delivered.MISSING, "an image that is gone")
        equal(rig.files(), {}, "what is there")


async def many_come_at_a_time(make: Factory) -> None:
    """Each is there in the end."""
    with make() as rig:
        destination, source = rig.destination, rig.source(_PNG)
        became: list[Delivered] = []

        async def deliver(number: int) -> None:
            became.append(await destination.deliver(source, _stored(f"{number % 3}/{number}.png"), replace=False))

        async with anyio.create_task_group() as tasks:
            for number in range(12):
                tasks.start_soon(deliver, number)
        equal(became, [Delivered.COPIED] * 12, "images delivered at the same time")
        equal(rig.files(), {f"{number % 3}/{number}.png": _PNG for number in range(12)}, "what is there")


def _stored(file: str) -> Stored:
    return Stored(file, hashlib.sha256(_PNG).hexdigest(), len(_PNG), 96, 64)


CASES: Final[list[Case]] = [
    an_image_is_delivered_once,
    what_somebody_else_put_there_is_the_image_too,
    what_is_in_the_way_stays,
    no_other_kind_of_thing_is_replaced,
    nothing_but_what_was_stored_is_delivered,
    many_come_at_a_time,
]
