"""Where finished images are delivered."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    from fluxbatch.model.job import Stored

__all__ = ["Delivered", "Destination"]


class Delivered(StrEnum):
    """What became of an image that was to be delivered."""

    COPIED = "copied"
    THERE = "there"
    """it was there already, byte for byte"""
    IN_THE_WAY = "in the way"
    """something else has its name, and was left alone"""
    MISSING = "missing"
    """it is not in the output folder any more"""
    CHANGED = "changed"
    """what is in the output folder is not what was stored; nothing of it was delivered"""


class Destination(Protocol):
    """Where finished images are delivered, by their names in the output folder. Used by several tasks."""

    async def deliver(self, source: Path, stored: Stored, *, replace: bool) -> Delivered:
        """Put a copy of an image under its own name, all at once and durably, if it is what was stored.

        May be called again. ``replace``: take the place of another file. Whatever becomes of it, and if it is cancelled
        too, nothing half is left.

        Raises:
            StorageError: it can't be written, or ``source`` can't be read.
        """
        ...
