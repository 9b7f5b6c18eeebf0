"""What can be found out again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Memo"]


class Memo(Protocol):
    """Remembers what can be found out again: digests, learned limits. Losing it costs time, never money."""

    def get(self, keys: Sequence[str]) -> dict[str, bytes]:
        """What is remembered of these keys."""
        ...

    def put(self, entries: Mapping[str, bytes]) -> None:
        """Remember. A failure to do so is silent."""
        ...

    def close(self) -> None:
        """Release the file."""
        ...
