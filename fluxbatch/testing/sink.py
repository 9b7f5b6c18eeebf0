"""A place for images in memory."""

from __future__ import annotations

import base64
import hashlib
import io
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import anyio
from blake3 import blake3

from fluxbatch.errors import DeliveryError, PhotoChanged, PhotoError, StorageError, TargetBlocked
from fluxbatch.formats import EXTENSIONS, NotAnImage, inspect_image
from fluxbatch.model.job import Photo, Stored
from fluxbatch.model.state import Reason
from fluxbatch.ports import Presence
from fluxbatch.testing.virtual_time import VirtualClock

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fluxbatch.model.job import PlannedJob

__all__ = ["MemoryLanding", "MemorySink"]


@dataclass(slots=True)
class _File:
    data: bytes
    mtime_ns: int


class MemorySink:
    """The ``Sink`` port on a dictionary. Folders are there as long as they hold a file.

    Attributes:
        capacity: bytes that fit, landings included; None for no end. May be set at any time.
        free: what ``room`` says if there is no capacity.
        landings: those begun and neither committed nor discarded.
        latency_s: seconds that a call takes.
    """

    def __init__(self, *, capacity: int | None = None, latency_s: float = 0.0) -> None:
        self.latency_s = latency_s
        self.capacity = capacity
        self.free = 1 << 40
        self.landings: set[MemoryLanding] = set()
        self._files: dict[str, _File] = {}
        self._folders: Counter[str] = Counter()
        self._clock_ns = 0

    async def land(self) -> MemoryLanding:
        """Begin a landing."""
        await anyio.sleep(self.latency_s)
        self.take(0)
        landing = MemoryLanding(self)
        self.landings.add(landing)
        return landing

    async def adopt(self, path: Path) -> MemoryLanding:
        """Begin a landing with the bytes of a local file, which is consumed."""
        landing = await self.land()
        try:
            landing.consume(path)
        except BaseException:
            await landing.discard()
            raise
        return landing

    async def check(self, stored: Sequence[Stored]) -> list[Presence]:
        """What became of outputs since they were stored."""
        await anyio.sleep(self.latency_s)
        return [self._presence(one) for one in stored]

    async def taken(self, filenames: Sequence[str]) -> dict[str, str]:
        """What stands in the way of new outputs under these names."""
        await anyio.sleep(self.latency_s)
        found = {filename: self._in_the_way(filename) for filename in filenames}
        return {filename: obstacle for filename, obstacle in found.items() if obstacle}

    async def known(self, jobs: Sequence[PlannedJob]) -> dict[str, Stored]:  # noqa: ARG002  # the port's signature
        """Nothing: what is known of images is in the ledger."""
        return {}

    async def landed(self, filename: str, since: float, job: PlannedJob | None = None) -> Stored | None:  # noqa: ARG002
        """The whole image that was put under this name since then."""
        await anyio.sleep(self.latency_s)
        for name in (f"{filename}.{extension}" for extension in EXTENSIONS):
            file = self._files.get(name)
            if file is None or file.mtime_ns < since * 1e9:
                continue
            try:
                facts = inspect_image(io.BytesIO(file.data))
            except NotAnImage:
                continue
            digest = hashlib.sha256(file.data).hexdigest()
            return Stored(name, digest, len(file.data), facts.width, facts.height, file.mtime_ns)
        return None

    async def unrecorded(self, job: PlannedJob, since: float) -> None:  # the port's signature
        """Nothing: an image that landed is in its place at once."""

    async def photo(self, stored: Stored) -> Photo:
        """An output as a reference image, as it is now."""
        await anyio.sleep(self.latency_s)
        file = self._there(stored)
        try:
            facts = inspect_image(io.BytesIO(file.data))
        except NotAnImage as error:
            raise PhotoError(f"{stored.file} can't be used: {error}") from error
        return Photo(
            ref=stored.file,
            path=f"/sink/{stored.file}",
            mime=facts.mime,
            size=len(file.data),
            mtime_ns=file.mtime_ns,
            inode=file.mtime_ns,
            width=facts.width,
            height=facts.height,
            digest=blake3(file.data).hexdigest(),
        )

    async def copy(self, stored: Stored, filename: str, job: PlannedJob | None = None) -> Stored:
        """Put a copy of an output under another name."""
        landing = await self.land()
        try:
            data = self._there(stored).data
            if hashlib.sha256(data).hexdigest() != stored.sha256:
                raise PhotoChanged(f"{stored.file} has changed since it was stored")
            landing.write(data)
            placed = await landing.commit(filename, job)
        finally:
            await landing.discard()
        return replace(placed, fingerprint=stored.fingerprint, model=stored.model, seed=stored.seed)

    async def remove(self, stored: Stored) -> bool:
        """Remove an output, unless it is not what was stored."""
        await anyio.sleep(self.latency_s)
        presence = self._presence(stored)
        if presence is Presence.SAME:
            self.lose(stored.file)
        return presence is not Presence.ALTERED

    async def room(self) -> int:
        """Free bytes for new images."""
        await anyio.sleep(self.latency_s)
        return self.free if self.capacity is None else max(0, self.capacity - self._used())

    def files(self) -> list[str]:
        """The outputs that are there."""
        return sorted(self._files)

    def read(self, file: str) -> bytes | None:
        """The bytes of an output, None if there is none."""
        found = self._files.get(file)
        return None if found is None else found.data

    def alter(self, file: str, data: bytes) -> None:
        """Write a file as someone else would."""
        self.put(file, data)

    def lose(self, file: str) -> None:
        """Remove a file as someone else would."""
        del self._files[file]
        self._folders.subtract(_folders(file))

    def reopen(self) -> MemorySink:
        """A sink with the same outputs, as the next process finds them."""
        found = MemorySink(capacity=self.capacity, latency_s=self.latency_s)
        found._files, found._clock_ns = dict(self._files), self._clock_ns
        found._folders = self._folders.copy()
        return found

    def take(self, count: int) -> None:
        """Make sure that so many more bytes fit.

        Raises:
            StorageError: they don't.
        """
        if self.capacity is not None and self._used() + count > self.capacity:
            raise StorageError("the sink can't be written: no space left", remedy="free space")

    def put(self, file: str, data: bytes) -> int:
        """Write a file and tell its time.

        Raises:
            TargetBlocked: a folder is there, or a file where one of its folders belongs.
        """
        if self._folders[file]:
            raise _blocked(file, "folder")
        for folder in reversed(_folders(file)):
            if folder in self._files:
                raise _blocked(folder, "file")
        if file not in self._files:
            self._folders.update(_folders(file))
        found = self._files[file] = _File(data, self._tick())
        return found.mtime_ns

    def _in_the_way(self, filename: str) -> str:
        for folder in reversed(_folders(filename)):
            if folder in self._files:
                return folder
        names = (f"{filename}.{extension}" for extension in EXTENSIONS)
        return next((name for name in names if name in self._files or self._folders[name]), "")

    def _there(self, stored: Stored) -> _File:
        found = self._files.get(stored.file)
        if found is None:
            raise PhotoChanged(f"{stored.file} is gone since it was stored")
        return found

    def _presence(self, stored: Stored) -> Presence:
        found = self._files.get(stored.file)
        if found is None:
            return Presence.MISSING
        if len(found.data) == stored.bytes and found.mtime_ns == stored.mtime_ns:
            return Presence.SAME
        return Presence.SAME if hashlib.sha256(found.data).hexdigest() == stored.sha256 else Presence.ALTERED

    def _used(self) -> int:
        landings = sum(landing.size for landing in self.landings)
        return landings + sum(len(file.data) for file in self._files.values())

    def _tick(self) -> int:
        """Nanoseconds of the running loop's clock, never the same twice."""
        with suppress(RuntimeError):  # no loop
            self._clock_ns = max(self._clock_ns, int(VirtualClock().now() * 1e9))
        self._clock_ns += 1
        return self._clock_ns


class MemoryLanding:
    """The ``Landing`` port on a buffer."""

    def __init__(self, sink: MemorySink) -> None:
        self.etag = ""
        self.md5 = ""
        self._sink = sink
        self._data = bytearray()

    @property
    def size(self) -> int:
        """Bytes so far."""
        return len(self._data)

    @property
    def data(self) -> bytes:
        """The bytes so far."""
        return bytes(self._data)

    def write(self, piece: bytes) -> None:
        """Append."""
        self._sink.take(len(piece))
        self._data += piece

    def consume(self, path: Path) -> None:
        """Append a file and remove it."""
        self.write(path.read_bytes())
        path.unlink()

    def restart(self) -> None:
        """Throw away what came so far."""
        self.etag = self.md5 = ""
        self._data.clear()

    async def commit(self, filename: str, job: PlannedJob | None = None) -> Stored:  # noqa: ARG002  # the port's
        """Verify and put in place."""
        await anyio.sleep(self._sink.latency_s)
        data = bytes(self._data)
        try:
            facts = inspect_image(io.BytesIO(data))
        except NotAnImage as error:
            raise _corrupt(f"what was delivered is no complete image: {error}") from error
        md5 = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
        if self.md5 and self.md5 != md5:
            raise _corrupt("the bytes don't match the host's checksum")
        self._sink.take(0)
        file = f"{filename}.{facts.extension}"
        mtime_ns = self._sink.put(file, data)
        self._sink.landings.discard(self)
        return Stored(file, hashlib.sha256(data).hexdigest(), len(data), facts.width, facts.height, mtime_ns)

    async def discard(self) -> None:
        """Give up and leave nothing behind."""
        self._sink.landings.discard(self)
        self._data.clear()


def _folders(file: str) -> list[str]:
    """The folders of a file, the innermost first."""
    return [str(folder) for folder in PurePosixPath(file).parents[:-1]]


def _blocked(path: str, what: str) -> TargetBlocked:
    return TargetBlocked(f"{path} is a {what}", remedy="move it away, or give the job another file name")


def _corrupt(message: str) -> DeliveryError:
    return DeliveryError(message, reason=Reason.DOWNLOAD_FAILED, corrupt=True)
