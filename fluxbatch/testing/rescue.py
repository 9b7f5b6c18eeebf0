"""A rescue that forgets with its process, unless it is handed on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio.lowlevel

from fluxbatch.errors import StorageError

if TYPE_CHECKING:
    from fluxbatch.model.job import Step

__all__ = ["MemoryRescue"]


class MemoryRescue:
    """The ``Rescue`` port on a list.

    Attributes:
        broken: there is no place that can be written.
        steps: all that are kept.
    """

    def __init__(self) -> None:
        self.broken = False
        self.steps: list[Step] = []

    async def keep(self, step: Step) -> None:
        """Keep one more step."""
        if self.broken:
            raise StorageError("there is no place to rescue to", remedy="mend it")
        self.steps.append(step)
        await anyio.lowlevel.checkpoint()

    async def kept(self) -> list[Step]:
        """All steps that are kept."""
        await anyio.lowlevel.checkpoint()
        return list(self.steps)

    async def clear(self) -> None:
        """Forget them."""
        self.steps.clear()
        await anyio.lowlevel.checkpoint()

    def where(self) -> str:
        """Where they are; empty if nothing is kept."""
        return "memory" if self.steps else ""

    def reopen(self) -> MemoryRescue:
        """A rescue with the same steps, as the next process finds them."""
        found = MemoryRescue()
        found.steps = list(self.steps)
        return found
