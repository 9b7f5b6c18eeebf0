"""Where steps are kept that the ledger can't take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from fluxbatch.model.job import Step

__all__ = ["Rescue"]


class Rescue(Protocol):
    """Keeps steps that the ledger can't take. Readable by its owner alone: it holds signed URLs."""

    async def keep(self, step: Step) -> None:
        """Keep one more step; it is durable on return.

        Raises:
            StorageError: there is no place that can be written.
        """
        ...

    async def kept(self) -> list[Step]:
        """All steps that are kept, of this run and of earlier ones, in order. What can't be read is left out."""
        ...

    async def clear(self) -> None:
        """The ledger has taken them all: forget them.

        Raises:
            StorageError: they can't be removed; that does no harm but for the URLs that stay there.
        """
        ...

    def where(self) -> str:
        """Where they are, for people; empty if nothing is kept."""
        ...
