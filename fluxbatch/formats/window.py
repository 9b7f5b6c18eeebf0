"""An open file as a window of bytes that moves over it, so that 20 MB never sit in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fluxbatch.formats.facts import NotAnImage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

__all__ = ["Window"]

_PIECE: Final = 16 * 1024
_LARGE_PIECE: Final = 256 * 1024


class Window:
    """Bytes of a seekable file by offset. ``size`` is its length in bytes.

    Args:
        file: open for reading in binary.
        along: is handed all bytes of the file, in order, each once, most of them when they are looked at anyway;
            ``finish`` hands out the others.
    """

    def __init__(self, file: BinaryIO, along: Callable[[memoryview], object] | None = None) -> None:
        self._file = file
        self._along = along
        self.size = file.seek(0, 2)
        self._start = 0
        self._piece = b""
        self._passed = 0

    def head(self, count: int = 64) -> bytes:
        """The first bytes, fewer if the file is shorter."""
        return self.at(0, min(count, self.size))

    def at(self, offset: int, count: int) -> bytes:
        """Exactly ``count`` bytes (at most 64 KB) from ``offset``.

        Raises:
            NotAnImage: the file ends before.
        """
        begin = offset - self._start
        if begin < 0 or begin + count > len(self._piece):
            if offset + count > self.size:
                raise self.cut_short()
            self._move(offset, count)
            begin = 0
        return self._piece[begin : begin + count]

    def pieces(self, offset: int, count: int) -> Iterator[memoryview]:
        """``count`` bytes from ``offset``, in order, in pieces of bounded size."""
        if offset + count > self.size:
            raise self.cut_short()
        while count:
            if not 0 <= offset - self._start < len(self._piece):
                self._move(offset, min(count, _LARGE_PIECE))
            begin = offset - self._start
            piece = memoryview(self._piece)[begin : begin + count]
            offset += len(piece)
            count -= len(piece)
            yield piece

    def finish(self) -> None:
        """Hand out what has not been looked at."""
        while self._along is not None and self._passed < self.size:
            self._move(self._passed, 1)

    def cut_short(self) -> NotAnImage:
        """The complaint that the file ends in the middle of something."""
        return NotAnImage(f"it is cut short: {self.size:,} bytes are not the whole image", kind="cut")

    def _move(self, offset: int, count: int) -> None:
        # what is handed out as well is read anyway: then in large pieces
        ahead = self._along is not None and offset <= self._passed
        self._piece = self._read(offset, min(max(count, _LARGE_PIECE if ahead else _PIECE), self.size - offset))
        self._start = offset
        if ahead and self._along is not None:
            self._along(memoryview(self._piece)[self._passed - offset :])
            self._passed = max(self._passed, offset + len(self._piece))

    def _read(self, offset: int, count: int) -> bytes:
        self._file.seek(offset)
        piece = self._file.read(count)
        while len(piece) < count:  # an unbuffered file may give less than asked
            more = self._file.read(count - len(piece))
            if not more:
                raise self.cut_short()
            piece += more
        return piece
