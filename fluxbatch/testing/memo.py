"""A memory that forgets with its process."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["MemoryMemo"]


class MemoryMemo:
    """The ``Memo`` port on a dictionary."""

    def __init__(self) -> None:
        self._entries: dict[str, bytes] = {}
        self._closed = False

    def get(self, keys: Sequence[str]) -> dict[str, bytes]:
        """What is remembered of these keys."""
        if self._closed:
            return {}
        return {key: self._entries[key] for key in keys if key in self._entries}

    def put(self, entries: Mapping[str, bytes]) -> None:
        """Remember."""
        if not self._closed:
            self._entries |= entries

    def close(self) -> None:
        """Forget."""
        self._closed = True
