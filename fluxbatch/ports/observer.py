"""Who hears of what happens in a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from fluxbatch.model.events import Event

__all__ = ["Observer"]


class Observer(Protocol):
    """Hears of everything that happens in a run. Must be quick, must not raise."""

    def note(self, event: Event) -> None:
        """Take one event."""
        ...
