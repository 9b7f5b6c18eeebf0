"""A file of lines that several processes append to at once, and that people merge, and mend, with other tools."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import time
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from fluxbatch.adapters.disk.faults import storage_error, unreadable
from fluxbatch.adapters.disk.folders import sync_folder
from fluxbatch.errors import StorageError, UsageError
from fluxbatch.planning.reviews import BadLine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

__all__ = ["Journal"]

T = TypeVar("T")

_PATIENCE_S: Final = 30.0
"""how long others may be at the file"""
_LOOK_EVERY_S: Final = 0.005
_NO_LOCKS: Final = frozenset({errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS})
"""what network filesystems say that can't lock a file: there, lines still come whole, but two may be said at once"""


class Journal(Generic[T]):
    """One reader and writer of such a file, which need not be there. Its methods block.

    What is half written when a process dies is no line: readers pass it over, and the next writer removes it. Anything
    else that can't be read is an error: nothing that somebody said is dropped in silence.

    Args:
        path: of the file.
        parse: makes something of a line; raises ``BadLine``.
    """

    def __init__(self, path: Path, parse: Callable[[bytes], T]) -> None:
        self.path = path
        self._parse = parse
        self._anew = False
        self._offset = 0
        self._forget()

    def news(self) -> tuple[bool, list[T]]:
        """What was appended since the last call; with True, all there is, since the file is another one now.

        Raises:
            UsageError: a line is broken.
            StorageError: the file can't be read.
        """
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except (FileNotFoundError, NotADirectoryError):
            self._forget()
            return self._whether_anew(), []
        except OSError as error:
            raise self._unreadable(error) from error
        try:
            return self._news(fd)
        except OSError as error:
            raise unreadable(self.path, error) from error
        finally:
            os.close(fd)

    def append(self, decide: Callable[[bool, list[T]], Sequence[bytes]]) -> None:
        """Append lines, all or none; they are durable on return.

        Args:
            decide: is given what ``news`` gives, and returns the lines. Nobody else writes in between.

        Raises:
            UsageError: a line is broken.
            StorageError: the file can't be written.
        """
        with self._locked() as fd:
            try:
                anew, news = self._news(fd)
                lines = decide(anew, news)
                if lines:
                    self._write(fd, lines)
            except OSError as error:
                raise storage_error(self.path, error) from error

    def _forget(self) -> None:
        """Begin at the first line; whoever asks next is told so, once lines can be read."""
        self._anew = self._anew or self._offset > 0
        self._file = (-1, -1)
        self._offset = 0
        self._lines = 0
        self._last = b""

    def _news(self, fd: int) -> tuple[bool, list[T]]:
        facts = os.fstat(fd)
        if not stat.S_ISREG(facts.st_mode):
            raise UsageError(f"{self.path} is no file", remedy="move it away")
        if self._offset and not self._is_the_same(fd, facts):
            self._forget()
        self._file = (facts.st_dev, facts.st_ino)
        whole, end, rest = _read(fd, self._offset).rpartition(b"\n")
        found: list[T] = []
        lines = whole.split(b"\n") if end else []
        for number, line in enumerate(lines, self._lines + 1):
            if line.strip():
                found.append(self._parsed(line, number))
        if lines:
            self._lines += len(lines)
            self._offset += len(whole) + 1
            self._last = lines[-1] + b"\n"
        if rest.strip(b"\0 \r"):
            # somebody's editor may have left out the end of the last line; else it is being written, or torn
            with contextlib.suppress(BadLine):
                found.append(self._parse(rest))
        return self._whether_anew(), found

    def _whether_anew(self) -> bool:
        anew, self._anew = self._anew, False
        return anew

    def _is_the_same(self, fd: int, facts: os.stat_result) -> bool:
        """Whether what was read so far still stands there: git puts another file in place, editors write it anew."""
        if (facts.st_dev, facts.st_ino) != self._file or facts.st_size < self._offset:
            return False
        return os.pread(fd, len(self._last), self._offset - len(self._last)) == self._last

    def _parsed(self, line: bytes, number: int) -> T:
        try:
            return self._parse(line)
        except BadLine as error:
            raise UsageError(f"{self.path}:{number}: {error.message}", remedy=error.remedy) from None

    @contextlib.contextmanager
    def _locked(self) -> Iterator[int]:
        """The file, made if need be, for this process alone."""
        end = time.monotonic() + _PATIENCE_S
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        while True:
            try:
                fd = os.open(self.path, flags, 0o666)
            except OSError as error:
                raise self._unreadable(error, to_write=True) from error
            try:
                if self._take(fd):
                    yield fd
                    return
            finally:
                os.close(fd)
            if time.monotonic() > end:
                raise StorageError(
                    f"{self.path} can't be written: for {_PATIENCE_S:g} s another process is at it",
                    remedy="end it, then try again",
                )
            time.sleep(_LOOK_EVERY_S)  # on a thread of its own

    def _take(self, fd: int) -> bool:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise storage_error(self.path, error) from error
        with contextlib.suppress(FileNotFoundError):
            return os.path.samestat(os.fstat(fd), self.path.lstat())
        return False  # another one was put in its place while we waited

    def _write(self, fd: int, lines: Sequence[bytes]) -> None:
        size = os.fstat(fd).st_size
        data = b"".join(line + b"\n" for line in lines)
        rest = _read(fd, self._offset)
        if rest:
            if self._is_torn(rest):
                size -= len(rest)
                os.ftruncate(fd, size)
            else:
                data = b"\n" + data
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
            os.fsync(fd)
            if not size:
                sync_folder(self.path.parent)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(fd, size)  # what isn't durable wasn't said
            raise

    def _is_torn(self, rest: bytes) -> bool:
        """Whether the last line, which has no end, is what a crash left: the beginning of one of ours, or zeros.

        Raises:
            UsageError: it is something else, which isn't ours to remove.
        """
        text = rest.strip(b"\0 \r")
        if not text:
            return True
        try:
            self._parse(text)
        except BadLine as error:
            if not text.startswith(b"{"):
                raise UsageError(f"{self.path}:{self._lines + 1}: {error.message}", remedy=error.remedy) from None
            return True
        return text != rest.strip(b" \r")

    def _unreadable(self, error: OSError, *, to_write: bool = False) -> StorageError | UsageError:
        if error.errno == errno.ELOOP:
            return UsageError(f"{self.path} is a link", remedy="put a file there, or nothing")
        return storage_error(self.path, error) if to_write else unreadable(self.path, error)


def _read(fd: int, offset: int) -> bytes:
    """All bytes from there on."""
    pieces: list[bytes] = []
    while piece := os.pread(fd, 1 << 20, offset):
        pieces.append(piece)
        offset += len(piece)
    return b"".join(pieces)
