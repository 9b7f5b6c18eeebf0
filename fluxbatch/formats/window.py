"""An open file as a window of bytes that moves over it, so that 20 MB never sit in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fluxbatch.formats.facts import NotAnImage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

__all__ = ["Window"]

_PIECE: Final = 16 * 1024
_LARGE_PIECE: Final = 256 * 1024


class Window:
    """Bytes of a seekable file by offset. ``size`` is its length in bytes."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = file.seek(0, 2)
        self._start = 0
        self._piece = b""

    def head(self, count: int = 64) -> bytes:
        """The first bytes, fewer if the file is shorter."""
        return self.at(0, min(count, self.size))

    def at(self, offset: int, count: int) -> bytes:
        """Exactly ``count`` bytes (at most 64 KB) from ``offset``.

        Raises:
            NotAnImage: the file ends before.
        """
        begin = offset - self._start
        if begin >= 0 and begin + count <= len(self._piece):
            return self._piece[begin : begin + count]
        if offset + count > self.size:
            raise self.cut_short()
        self._piece = self._read(offset, max(count, min(_PIECE, self.size - offset)))
        self._start = offset
        return self._piece[:count]

    def pieces(self, offset: int, count: int) -> Iterator[bytes]:
        """``count`` bytes from ``offset``, in order, in pieces of bounded size."""
        if offset + count > self.size:
            raise self.cut_short()
        if count <= _PIECE:
            yield self.at(offset, count)
            return
        while count:
            piece = self._read(offset, min(count, _LARGE_PIECE))
            offset += len(piece)
            count -= len(piece)
            yield piece

    def cut_short(self) -> NotAnImage:
        """The complaint that the file ends in the middle of something."""
        return NotAnImage(f"it is cut short: {self.size:,} bytes are not the whole image", kind="cut")

    def _read(self, offset: int, count: int) -> bytes:
        self._file.seek(offset)
        piece = self._file.read(count)
        while len(piece) < count:  # an unbuffered file may give less than asked
            more = self._file.read(count - len(piece))
            if not more:
                raise self.cut_short()
            piece += more
        return piece
