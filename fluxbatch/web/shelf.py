"""What a site serves, as it sees it: the app hands these in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from fluxbatch.errors import FluxbatchError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence
    from pathlib import Path

__all__ = ["Door", "Refused", "Shelf"]

Door: TypeAlias = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]
"""Something that a reader may do: takes a JSON object, answers with one. Raises ``Refused`` for what it won't do."""


class Refused(FluxbatchError):
    """A door stays shut; the message says why, to the reader.

    Attributes:
        facts: what the page is told beside that.
    """

    exit_code = 1

    def __init__(self, message: str, **facts: Any) -> None:
        super().__init__(message)
        self.facts = facts


class Shelf(Protocol):
    """Jobs with their pictures, and the page that shows them."""

    @property
    def files(self) -> Mapping[str, bytes]:
        """The page (``index.html``) and its scripts and styles, by name."""
        ...

    async def about(self) -> dict[str, Any]:
        """What holds for all jobs.

        Raises:
            FluxbatchError: it can't be read now.
        """
        ...

    def jobs(self) -> AsyncGenerator[Sequence[dict[str, Any]], None]:
        """All jobs, some at a time.

        Raises:
            FluxbatchError: they can't be read now.
        """
        ...

    async def more(self, job_id: str) -> dict[str, Any]:
        """What is known of one job beyond the list.

        Raises:
            FluxbatchError: it can't be read now.
        """
        ...

    async def picture(self, job_id: str, place: int, *, small: bool) -> tuple[Path, str] | None:
        """The file of a picture and its MIME type; None if there is none, or none that a browser should get.

        Args:
            job_id: whose.
            place: 0 for its output, 1 for its first input, and so on; -1 for the output before
                this one, and so on.
            small: a thumbnail of it, made if need be.
        """
        ...
