"""Several observers as one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fluxbatch.model.events import Event
    from fluxbatch.ports import Observer

__all__ = ["Observers"]


class Observers:
    """The ``Observer`` port, passed on to several. One that fails (a closed pipe, a full disk) is heard no more.

    What watches a run must not end it: images that are paid for hang on it.
    """

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = list(observers)

    def note(self, event: Event) -> None:
        """Tell all of them."""
        for observer in tuple(self._observers):
            try:
                observer.note(event)
            except Exception:  # noqa: BLE001  # whatever it is, it is not the run's business
                self._observers.remove(observer)
