"""The ``Landing`` port on one temporary file of a ``FolderSink``."""

from __future__ import annotations

import base64
import contextlib
import errno
import hashlib
import io
import itertools
import os
from typing import TYPE_CHECKING, Final

from fluxbatch.adapters.disk.faults import corrupt, storage_error, target_blocked
from fluxbatch.formats import NotAnImage, inspect_image
from fluxbatch.model.job import Stored

if TYPE_CHECKING:
    from pathlib import Path

    from fluxbatch.adapters.disk.sink import FolderSink
    from fluxbatch.errors import TargetBlocked
    from fluxbatch.formats import ImageFacts
    from fluxbatch.model.job import PlannedJob

__all__ = ["FileLanding"]

_READ: Final = 1 << 20
_MOST_AT_ONCE: Final = 1 << 20
"""bytes of a file that is read once for all that is to be found out about it; of a larger one, a piece at a time"""
_MOST_WAITING: Final = 1 << 20
"""bytes of one image that wait in memory for their commit: making a file waits for whatever else its filesystem does,
which a thread may and the event loop must not"""
_MOST_HELD: Final = 8 << 20
"""the same of all images together; what is beyond goes to a file at once"""
_MOST_DURABLE: Final = 4096
"""folders that are remembered; a job may have one of its own"""
_IN_THE_WAY: Final = frozenset({errno.EEXIST, errno.EISDIR, errno.ENOTDIR, errno.ELOOP})
"""what the system says of a path on which something of another kind stands"""


class FileLanding:
    """The ``Landing`` port on one temporary file, made at commit, or before if there is much to land.

    Args:
        part: a file that is there already, its descriptor and bytes.
    """

    def __init__(self, sink: FolderSink, part: tuple[Path, int, int] | None = None) -> None:
        self.etag = ""
        self.md5 = ""
        self._sink = sink
        self._path, self._fd, self._size = part or (sink.root, -1, 0)
        self._pieces: list[bytes] = []
        self._placed = False
        self._gone = False
        self._unsynced = ""

    @property
    def size(self) -> int:
        """Bytes so far."""
        return self._size

    def write(self, piece: bytes) -> None:
        """Append."""
        if self._fd < 0:
            size = len(piece)
            if self._size + size <= _MOST_WAITING and self._sink.held + size <= _MOST_HELD:
                self._pieces.append(piece)
                self._size += size
                self._sink.held += size
                return
            self._to_file()
        self._append(piece)

    def restart(self) -> None:
        """Throw away what came so far."""
        self.etag = self.md5 = self._unsynced = ""
        if self._placed or self._gone:  # the one that is in place already must not be seen half-written
            os.close(self._fd)
            self._fd, self._placed, self._gone = -1, False, False
        if self._fd < 0:
            self._let_go()
            self._size = 0
        if not self._size:
            return
        try:
            os.ftruncate(self._fd, 0)
            os.lseek(self._fd, 0, os.SEEK_SET)
        except OSError as error:
            raise storage_error(self._path, error) from error
        self._size = 0

    async def commit(self, filename: str, job: PlannedJob | None = None) -> Stored:  # noqa: ARG002  # the port's
        """Verify, make durable, put in place.

        Raises:
            TargetBlocked: a folder is there, or a file where one of its folders belongs.
        """
        try:
            return await self._sink.hands.do(self._commit, filename)
        finally:
            if self._fd >= 0 or self._placed:
                self._let_go()

    async def discard(self) -> None:
        """Give up and leave nothing behind."""
        self._let_go()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            if not self._placed:
                with contextlib.suppress(OSError):  # what a failing disk keeps is swept away by a later run
                    self._path.unlink()

    def _let_go(self) -> None:
        """Of what waits in memory. On the event loop alone: the sink counts what all landings hold."""
        self._sink.held -= sum(map(len, self._pieces))
        self._pieces = []

    def _to_file(self) -> None:
        """Go on in a file. If not all that waits goes in, ``size`` says where the transfer is to be resumed."""
        self._path, self._fd = self._sink.open_part()
        pieces = self._pieces
        self._let_go()
        self._size = 0
        for piece in pieces:
            self._append(piece)

    def _append(self, piece: bytes) -> None:
        view = memoryview(piece)
        try:
            while view:
                written = os.write(self._fd, view)
                self._size += written
                view = view[written:]
        except OSError as error:
            raise storage_error(self._path, error) from error

    def _make_file(self, data: bytes) -> None:
        """All of it in a file, or none: what waits in memory stays there as long as there is no room for it."""
        path, fd = self._sink.open_part()
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(fd, view) :]
        except OSError:
            os.close(fd)
            path.unlink(missing_ok=True)
            raise
        self._path, self._fd = path, fd

    def _commit(self, filename: str) -> Stored:
        target = self._sink.root / filename
        try:
            facts, size, sha256 = self._inspect()
            name = f"{filename}.{facts.extension}"
            target = self._sink.root / name
            self._put(target, sha256)
            mtime_ns = os.fstat(self._fd).st_mtime_ns
        except NotAnImage as error:
            raise corrupt(f"what was delivered is no complete image: {error}") from error
        except OSError as error:
            if self._fd >= 0 and os.fstat(self._fd).st_nlink == 0:
                self._gone, self._size = True, 0  # removed with its folder: these bytes can't land any more
            raise self._blocked(target, error) or storage_error(target, error) from error
        with contextlib.suppress(OSError):  # its bytes are safe: nothing is lost with the descriptor
            os.close(self._fd)
        self._fd = -1
        return Stored(name, sha256, size, facts.width, facts.height, mtime_ns)

    def _inspect(self) -> tuple[ImageFacts, int, str]:
        """What it is, its bytes, and their digest. What has waited in memory is in a file after that."""
        if self._fd < 0:
            data = b"".join(self._pieces)
            facts = self._facts(data)
            self._make_file(data)
            return facts, len(data), hashlib.sha256(data).hexdigest()
        if self._size <= _MOST_AT_ONCE:
            data = os.pread(self._fd, self._size + 1, 0)
            if len(data) == self._size:
                return self._facts(data), len(data), hashlib.sha256(data).hexdigest()
        with os.fdopen(os.dup(self._fd), "rb") as file:
            file.seek(0)
            facts = inspect_image(file)
        return facts, *self._digest()

    def _facts(self, data: bytes) -> ImageFacts:
        facts = inspect_image(io.BytesIO(data))
        self._check(hashlib.md5(data, usedforsecurity=False) if self.md5 else None)
        return facts

    def _digest(self) -> tuple[int, str]:
        sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
        size = 0
        while piece := os.pread(self._fd, _READ, size):
            sha256.update(piece)
            if self.md5:
                md5.update(piece)
            size += len(piece)
        self._check(md5)
        return size, sha256.hexdigest()

    def _check(self, md5: hashlib._Hash | None) -> None:
        if md5 is not None and self.md5 and base64.b64encode(md5.digest()).decode() != self.md5:
            raise corrupt("the bytes don't match the host's checksum")

    def _put(self, target: Path, sha256: str) -> None:
        durable = self._sink.durable
        below = self._folders(target)
        for folder in reversed(below):
            if not folder.is_dir():
                durable.discard(folder)  # it may be known from before someone removed it
                folder.mkdir(exist_ok=True)
        self._sync(sha256)
        if not self._placed:
            os.replace(self._path, target)  # noqa: PTH105  # this is done for each image
            self._placed = True
        self._sink.folders.sync(target.parent)
        for folder in below:
            # a folder is there after a power cut only once the one above it was synced, whoever made it
            if folder not in durable:
                self._sink.folders.sync(folder.parent)
                self._remember(folder)

    def _folders(self, target: Path) -> list[Path]:
        """Those between the output folder and a target, the inner ones first."""
        return list(itertools.takewhile(lambda folder: folder != self._sink.root, target.parents))

    def _sync(self, sha256: str) -> None:
        """Bring the bytes to the disk.

        A failed fsync may leave pages marked as written that never were, so that the next fsync succeeds over bytes
        that are lost: they are written once more before that.
        """
        if self._unsynced:
            if self._unsynced != sha256:
                raise corrupt("the disk has lost what was written to it")
            self._write_again()
        try:
            os.fsync(self._fd)
        except OSError:
            self._unsynced = sha256
            raise

    def _write_again(self) -> None:
        at = 0
        while piece := os.pread(self._fd, _READ, at):
            at += os.pwrite(self._fd, piece, at)

    def _remember(self, folder: Path) -> None:
        durable = self._sink.durable
        if len(durable) >= _MOST_DURABLE:
            durable.clear()  # they are synced once more each, that is all
        durable.add(folder)

    def _blocked(self, target: Path, error: OSError) -> TargetBlocked | None:
        """What stands in the way of this output alone, if that is what went wrong."""
        if error.errno not in _IN_THE_WAY:
            return None
        for path in reversed(self._folders(target)):
            if os.path.lexists(path) and not os.path.isdir(path):  # noqa: PTH112  # raises for nothing
                return target_blocked(path, "file" if path.exists() else "broken link")
        return target_blocked(target, "folder") if os.path.isdir(target) else None  # noqa: PTH112
