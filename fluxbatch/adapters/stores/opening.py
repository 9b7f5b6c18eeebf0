"""Opening a bucket with what the environment says."""

from __future__ import annotations

import atexit
import os
import time
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from fluxbatch.adapters.stores.bucket import Bucket
from fluxbatch.adapters.stores.environment import s3_place
from fluxbatch.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from obstore.store import AzureStore, ClientConfig, GCSStore, RetryConfig, S3Store

    from fluxbatch.model.address import StoreAddress

__all__ = ["open_bucket"]

_PATIENCE_S: Final = 60.0
"""how long a request is tried again while the store is in trouble; then the caller hears of it"""
_STALL: Final = timedelta(seconds=30)
_REQUEST: Final = timedelta(seconds=300)
"""a whole image over a slow line"""
_CONNECT: Final = timedelta(seconds=5)
_LEAVE_S: Final = 0.1


def open_bucket(address: StoreAddress, *, ca_file: Path | None = None, patience_s: float = _PATIENCE_S) -> Bucket:
    """A bucket; nothing is asked of it yet.

    Args:
        address: what the names of its objects are relative to.
        ca_file: certificates to trust beside the system's.
        patience_s: for how long what fails for reasons that pass is tried again.

    Raises:
        UsageError: obstore is not installed, or the environment doesn't say enough.
    """
    try:
        from obstore.exceptions import BaseError
    except ImportError:
        raise UsageError(
            f"{address}: object stores need a package that is not installed", remedy="pip install 'fluxbatch[stores]'"
        ) from None
    retry: RetryConfig = {
        "max_retries": max(1, int(patience_s / 5)),
        "retry_timeout": timedelta(seconds=patience_s),
        "backoff": {"init_backoff": timedelta(seconds=0.1), "max_backoff": timedelta(seconds=5)},
    }
    _take_leave()
    try:
        return Bucket(address, _store(address, _client(ca_file), retry))
    except (BaseError, ValueError) as error:
        words = str(error).partition("\n")[0][:200]
        raise UsageError(f"{address} can't be opened: {words}", remedy="check the variables of its cloud") from None


@cache
def _take_leave() -> None:
    """Have the process wait a moment at its end.

    obstore's own threads let go of what they answered with shortly after the answer. One that does so while the
    interpreter is torn down aborts the process: seen as exit code -6 after a command that had done all it should.
    """
    atexit.register(time.sleep, _LEAVE_S)


def _store(address: StoreAddress, client: ClientConfig, retry: RetryConfig) -> S3Store | GCSStore | AzureStore:
    from obstore import store

    prefix = address.key or None
    match address.scheme:
        case "gs":
            if os.environ.get("GOOGLE_BASE_URL", "").startswith("http://"):
                client["allow_http"] = True
            return store.GCSStore(address.bucket, prefix=prefix, client_options=client, retry_config=retry)
        case "az":
            endpoint = os.environ.get("AZURE_STORAGE_ENDPOINT", "")
            if endpoint.startswith("http://") or os.environ.get("AZURE_STORAGE_USE_EMULATOR"):
                client["allow_http"] = True
            return store.AzureStore(address.bucket, prefix=prefix, client_options=client, retry_config=retry)
        case _:
            place = s3_place(address, os.environ)
            if place.endpoint.startswith("http://"):
                client["allow_http"] = True
            given: dict[str, Any] = {
                "endpoint": place.endpoint,
                "access_key_id": place.key_id,
                "secret_access_key": place.secret,
                "session_token": place.token,
            }
            return store.S3Store(
                address.bucket,
                prefix=prefix,
                client_options=client,
                retry_config=retry,
                region=place.region,
                virtual_hosted_style_request=place.virtual,
                disable_bulk_delete=True,  # OSS has none, and objects are removed one by one
                **{name: value for name, value in given.items() if value},
            )


def _client(ca_file: Path | None) -> ClientConfig:
    client: ClientConfig = {"connect_timeout": _CONNECT, "read_timeout": _STALL, "timeout": _REQUEST}
    if ca_file is not None:
        try:
            client["root_certificate"] = ca_file.read_bytes()
        except OSError as error:
            raise UsageError(f"--ca-file {ca_file}: {error.strerror}", remedy="name a file of certificates") from None
    return client
