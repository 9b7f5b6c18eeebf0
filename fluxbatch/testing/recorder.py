"""An observer with a memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from fluxbatch.model.events import Event

__all__ = ["Recorder"]

E = TypeVar("E")


class Recorder:
    """The ``Observer`` port on a list.

    Attributes:
        events: all that was noted, in order.
    """

    def __init__(self) -> None:
        self.events: list[Event] = []

    def note(self, event: Event) -> None:
        """Take one event."""
        self.events.append(event)

    def of(self, kind: type[E]) -> list[E]:
        """The events of one kind, in order."""
        return [event for event in self.events if isinstance(event, kind)]
