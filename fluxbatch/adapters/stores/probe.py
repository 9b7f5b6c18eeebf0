"""Finding out, before anything is paid for, whether images could land in a store, and what it holds to."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

from fluxbatch.adapters.stores.bucket import Seen
from fluxbatch.errors import StorageError

if TYPE_CHECKING:
    from fluxbatch.adapters.stores.bucket import Bucket

__all__ = ["probe"]

_NO_ETAG: Final = '"00000000000000000000000000000000"'
_DOUBTFUL: Final = "see how the store is, or use another place (-o)"


async def probe(bucket: Bucket) -> None:
    """Write a tiny object, read it and remove it; ``bucket.creates`` and ``updates`` say what was found out on the way.

    Raises:
        StorageError: it can't be written, read, listed or removed.
    """
    name, said, data = f".fluxbatch-probe-{secrets.token_hex(8)}", {"fluxbatch": "probe"}, b"fluxbatch was here\n"
    written = await bucket.put(name, data, instead_of=None, mime="text/plain", said=said)
    try:
        bucket.creates = await bucket.holds_to(name, data, instead_of=None)
        other = Seen(len(data), _NO_ETAG, "1" if written.version else "")
        bucket.updates = await bucket.holds_to(name, data, instead_of=other)
        found = await bucket.read(name)
        if found is None:
            raise StorageError(f"{bucket.address}: what was just written is not there", remedy=_DOUBTFUL)
        read = b"".join([piece async for piece in found[1]])
        kept = bucket.creates and bucket.updates  # else the object was written over, without metadata
        if read != data or (kept and found[0].metadata.get("fluxbatch") != "probe"):
            raise StorageError(f"{bucket.address}: what was just written reads otherwise", remedy=_DOUBTFUL)
    finally:
        await bucket.delete(name)
