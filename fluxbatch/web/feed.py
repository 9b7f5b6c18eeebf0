"""What readers are told as it happens. A reader who doesn't keep up is told to look anew, and costs nothing more."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final

import anyio
import orjson

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["RESYNC", "Feed", "Reader"]

RESYNC: Final = b"event: resync\ndata: {}\n\n"
_MOST_READERS: Final = 32
_MOST_WAITING: Final = 64


def _message(name: str, facts: Any) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + orjson.dumps(facts) + b"\n\n"


class Reader:
    """One open page."""

    def __init__(self, standing: Mapping[str, bytes]) -> None:
        self._standing = dict(standing)
        self._waiting: deque[bytes] = deque()
        self._behind = False
        self._changed = anyio.Event()
        self._over = False

    def add(self, message: bytes) -> None:
        """Have it told, unless the reader is behind: then all that waits is replaced by the word to look anew."""
        if len(self._waiting) >= _MOST_WAITING:
            self._waiting.clear()
            self._behind = True
        if not self._behind:
            self._waiting.append(message)
        self._changed.set()

    def stand(self, name: str, message: bytes) -> None:
        """Have it told; an earlier one of this name that was not told yet is not told at all."""
        self._standing[name] = message
        self._changed.set()

    def end(self) -> None:
        """Nothing follows what waits."""
        self._over = True
        self._changed.set()

    @property
    def is_idle(self) -> bool:
        """Whether all was taken."""
        return not (self._waiting or self._standing or self._behind)

    async def take(self, patience_s: float) -> bytes | None:
        """All that waits, in the form of the wire; empty after so many seconds with nothing, None at the end."""
        if self.is_idle and not self._over:
            with anyio.move_on_after(patience_s):
                await self._changed.wait()
        self._changed = anyio.Event()
        if self.is_idle:
            return None if self._over else b""
        parts = [RESYNC] if self._behind else []
        parts += [*self._waiting, *self._standing.values()]
        self._waiting.clear()
        self._standing.clear()
        self._behind = False
        return b"".join(parts)


class Feed:
    """All open pages. Belongs to one event loop."""

    def __init__(self, *, most_readers: int = _MOST_READERS) -> None:
        self._most = most_readers
        self._readers: set[Reader] = set()
        self._standing: dict[str, bytes] = {}
        self._over = False

    @property
    def is_read(self) -> bool:
        """Whether anybody looks."""
        return bool(self._readers)

    def tell(self, name: str, facts: Any) -> None:
        """Tell all readers, in order."""
        if self._readers:
            message = _message(name, facts)
            for reader in self._readers:
                reader.add(message)

    def stand(self, name: str, facts: Any) -> None:
        """Tell how something stands now: also those who come later, and only the last word of it."""
        message = _message(name, facts)
        if self._standing.get(name) != message:
            self._standing[name] = message
            for reader in self._readers:
                reader.stand(name, message)

    def resync(self) -> None:
        """Have all readers look anew."""
        for reader in self._readers:
            reader.add(RESYNC)

    def open(self) -> Reader | None:
        """A new reader; None if there are too many, or all is over."""
        if self._over or len(self._readers) >= self._most:
            return None
        reader = Reader(self._standing)
        self._readers.add(reader)
        return reader

    def leave(self, reader: Reader) -> None:
        """He reads no more."""
        self._readers.discard(reader)

    def close(self) -> None:
        """Let readers take what waits; nothing follows."""
        self._over = True
        for reader in self._readers:
            reader.end()
