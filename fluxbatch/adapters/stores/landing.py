"""The ``Landing`` port on an object store: through a file on the local disk."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fluxbatch.adapters.disk.landing import FileLanding
    from fluxbatch.adapters.stores.sink import StoreSink
    from fluxbatch.model.job import PlannedJob, Stored

__all__ = ["StoreLanding", "spool_name"]


class StoreLanding:
    """One image on its way to a store.

    It lands on the local disk first, as in an output folder: verified and durable. From there it is uploaded, as often
    as that takes; once it is in the store the local file goes. What could not be uploaded stays there when the landing
    is given up, and the sink finds it again (``Sink.landed``), after the death of URL and process too.
    """

    def __init__(self, sink: StoreSink, spooling: FileLanding) -> None:
        self._sink = sink
        self._spooling = spooling
        self._spooled: Stored | None = None

    @property
    def size(self) -> int:
        """Bytes so far."""
        return self._spooling.size

    @property
    def etag(self) -> str:
        """Of the bytes so far."""
        return self._spooling.etag

    @etag.setter
    def etag(self, etag: str) -> None:
        self._spooling.etag = etag

    @property
    def md5(self) -> str:
        """Base64 of the whole image's MD5 as the host gave it."""
        return self._spooling.md5

    @md5.setter
    def md5(self, md5: str) -> None:
        self._spooling.md5 = md5

    def write(self, piece: bytes) -> None:
        """Append."""
        self._spooling.write(piece)

    def restart(self) -> None:
        """Throw away what came so far."""
        self._spooling.restart()

    async def commit(self, filename: str, job: PlannedJob | None = None) -> Stored:
        """Verify, make durable here, put in place there."""
        if self._spooled is None:
            self._spooled = await self._spooling.commit(spool_name(filename))
        return await self._sink.place(self._spooled, filename, job)

    async def discard(self) -> None:
        """Give up. What is verified and not uploaded stays in the spool."""
        await self._spooling.discard()


def spool_name(filename: str) -> str:
    """The name of an output's file in the spool, without extension: flat, and short enough for any disk."""
    return hashlib.sha256(filename.encode()).hexdigest()
