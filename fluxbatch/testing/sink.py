"""A place for images in memory."""

from __future__ import annotations

import base64
import hashlib
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio

from fluxbatch.errors import DeliveryError, StorageError
from fluxbatch.formats import NotAnImage, inspect_image
from fluxbatch.model.job import Stored
from fluxbatch.model.state import Reason
from fluxbatch.ports import Presence

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["MemoryLanding", "MemorySink"]


@dataclass(slots=True)
class _File:
    data: bytes
    mtime_ns: int


class MemorySink:
    """The ``Sink`` port on a dictionary.

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

    async def taken(self, filenames: Sequence[str]) -> list[str]:
        """The outputs that are there under these names."""
        await anyio.sleep(self.latency_s)
        return [name for name in self.files() if name.rpartition(".")[0] in filenames]

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
        """Write an output as someone else would."""
        self._files[file] = _File(data, self._tick())

    def remove(self, file: str) -> None:
        """Remove an output as someone else would."""
        del self._files[file]

    def reopen(self) -> MemorySink:
        """A sink with the same outputs, as the next process finds them."""
        found = MemorySink(capacity=self.capacity, latency_s=self.latency_s)
        found._files, found._clock_ns = dict(self._files), self._clock_ns
        return found

    def take(self, count: int) -> None:
        """Make sure that so many more bytes fit.

        Raises:
            StorageError: they don't.
        """
        if self.capacity is not None and self._used() + count > self.capacity:
            raise StorageError("the sink can't be written: no space left", remedy="free space")

    def put(self, file: str, data: bytes) -> int:
        """Write an output and tell its time."""
        found = self._files[file] = _File(data, self._tick())
        return found.mtime_ns

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

    async def commit(self, filename: str) -> Stored:
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


def _corrupt(message: str) -> DeliveryError:
    return DeliveryError(message, reason=Reason.DOWNLOAD_FAILED, corrupt=True)
