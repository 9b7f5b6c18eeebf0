"""Finding out, before anything is paid for, whether images could land in a store, and what it holds to."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

from fluxbatch.adapters.stores.bucket import Seen
from fluxbatch.adapters.stores.faults import is_unsupported
from fluxbatch.errors import StorageError

if TYPE_CHECKING:
    from fluxbatch.adapters.stores.bucket import Bucket

__all__ = ["probe"]

_NO_ETAG: Final = '"00000000000000000000000000000000"'
_SAID: Final = {"fluxbatch": "probe"}
_DOUBTFUL: Final = "see how the store is, or use another place (-o)"


async def probe(bucket: Bucket) -> None:
    """Write a tiny object, read it and remove it; what the store holds to is found out on the way.

    Raises:
        StorageError: it can't be written, read or removed.
    """
    name, data = f".fluxbatch-probe-{secrets.token_hex(8)}", b"fluxbatch was here\n"
    bucket.creates = bucket.updates = True
    written = await _write(bucket, name, data)
    try:
        found = await bucket.read(name)
        read = b"" if found is None else b"".join([piece async for piece in found[1]])
        if found is None or read != data or found[0].metadata.get("fluxbatch") != _SAID["fluxbatch"]:
            raise StorageError(f"{bucket.address}: what was just written reads otherwise", remedy=_DOUBTFUL)
        creates = bucket.creates and await bucket.attempt(name, data, instead_of=None) is None
        bucket.updates = await _updates(bucket, name, written if creates else found[0].seen)
        bucket.creates = creates
    finally:
        await bucket.delete(name)


async def _write(bucket: Bucket, name: str, data: bytes) -> Seen:
    """The first object; a store that refuses conditions altogether gets it without one."""
    try:
        return await bucket.put(name, data, instead_of=None, mime="text/plain", said=_SAID)
    except StorageError as error:
        if not is_unsupported(error):
            raise
        bucket.creates = False
        return await bucket.put(name, data, instead_of=None, mime="text/plain", said=_SAID)


async def _updates(bucket: Bucket, name: str, written: Seen) -> bool:
    """Whether the object that was seen is replaced, and another one isn't."""
    for bare in (False, True):
        bucket.bare_etags = bare
        replaced = await bucket.attempt(name, b"once more\n", instead_of=written)
        if replaced is not None:
            other = Seen(written.size, _NO_ETAG, "1" if written.version else "")
            return await bucket.attempt(name, b"never\n", instead_of=other) is None
    return False
