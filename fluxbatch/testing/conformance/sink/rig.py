"""A sink under test, and what its cases land in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from fluxbatch.testing.images import make_png

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from fluxbatch.model.job import Stored
    from fluxbatch.ports import Sink

__all__ = ["NEVER", "OTHER", "PNG", "Case", "Factory", "Rig", "store"]

PNG: Final = make_png(1, width=96, height=64)
NEVER: Final = 9e9
"""epoch seconds that no clock shows yet"""
OTHER: Final = make_png(2, width=32, height=32)


class Rig(Protocol):
    """A sink that is empty at first, and someone else who gets at its files."""

    @property
    def sink(self) -> Sink:
        """What is under test."""
        ...

    def read(self, file: str) -> bytes | None:
        """The bytes of an output, None if there is none."""
        ...

    def alter(self, file: str, data: bytes) -> None:
        """Write a file as someone else would, with its folders, at another time than what is there."""
        ...

    def remove(self, file: str) -> None:
        """Remove a file, and the folders that are empty without it."""
        ...

    def leftovers(self) -> int:
        """Temporary files that are there."""
        ...

    def spool(self, data: bytes) -> Path:
        """A file with these bytes, to be adopted."""
        ...

    def full(self) -> AbstractContextManager[None]:
        """While it is entered, nothing can be committed."""
        ...


Factory: TypeAlias = "Callable[[], AbstractContextManager[Rig]]"
Case: TypeAlias = "Callable[[Factory], Awaitable[None]]"


async def store(sink: Sink, name: str, data: bytes) -> Stored:
    """Land an image all at once."""
    landing = await sink.land()
    landing.write(data)
    return await landing.commit(name)
