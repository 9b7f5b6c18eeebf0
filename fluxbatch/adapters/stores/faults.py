"""What an object store says, in our words.

Answers of stores may echo key ids, signatures and whole requests: only their error code is ever shown.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from fluxbatch.errors import StorageError, UsageError
from fluxbatch.telemetry.redact import clean

if TYPE_CHECKING:
    from fluxbatch.model.address import StoreAddress

__all__ = ["Conflict", "Unsigned", "is_about_bucket", "is_unsupported", "no_credentials", "storage_error"]

_CODE: Final = re.compile(r"<Code>([A-Za-z0-9_.]{1,60})</Code>")
_STATUS: Final = re.compile(r"status code: (\d{3})")
_REASON: Final = re.compile(r"[Rr]eason\W{1,4}([A-Za-z]{3,40})")
_ODD_NAME: Final = re.compile(r'(?s)object with invalid path: (?:Error parsing )?Path "(.{1,1024}?)"(?: contained|: )')
_CREDENTIAL_SERVICES: Final = ("169.254.169.254", "metadata.google", "metadata/identity", "nstance metadata")
_NO_SUCH_PLACE: Final = frozenset({"NoSuchBucket", "ContainerNotFound"})
_WRONG_KEY: Final = frozenset(
    {"SignatureDoesNotMatch", "InvalidAccessKeyId", "AuthenticationFailed", "ExpiredToken", "InvalidToken"}
)
_VARIABLES: Final = {
    "s3": "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION and AWS_ENDPOINT_URL",
    "oss": "OSS_ACCESS_KEY_ID, OSS_ACCESS_KEY_SECRET, OSS_REGION and OSS_ENDPOINT",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}
_AGAIN: Final = "run the same command again"


class Conflict(Exception):
    """An object is not (any more) what it was taken for; nothing was written."""


class Unsigned:
    """Marks errors that come of having no credentials at all: wrong ones are another matter."""


class _NoCredentials(Unsigned, UsageError):
    pass


class _NoneFound(Unsigned, StorageError):
    pass


def storage_error(address: StoreAddress, error: Exception, *, doing: str) -> StorageError:
    """What went wrong while ``doing`` (``written``, ``read`` …) something at an address, with what to do about it."""
    text = str(error)
    code = found[1] if (found := _CODE.search(text)) else ""
    status = found[1] if (found := _STATUS.search(text)) else ""
    variables = _VARIABLES[address.scheme]
    if any(word in text for word in _CREDENTIAL_SERVICES):
        return _NoneFound(f"{address} can't be {doing}: there are no credentials", remedy=f"set {variables}")
    if (odd := _ODD_NAME.search(text)) is not None:
        what = f"an object there has the name '{clean(odd[1])}', which can't be read"
        remedy = "rename it (no part may be empty, '.' or '..', or hold control characters), or use another place (-o)"
    elif code in _NO_SUCH_PLACE or (not code and status == "404" and doing != "read"):
        what, remedy = f"there is no bucket {address.bucket!r}", f"make it, or name another one, then {_AGAIN}"
    elif code in _WRONG_KEY or status == "401":
        what, remedy = "the store refuses the credentials", f"check {variables}"
    elif status == "403":
        what, remedy = "it is forbidden with these credentials", "give them the right to list, read, write and delete"
    elif status:
        what, remedy = f"the store answers {status}", f"see how the store is, then {_AGAIN}"
    else:
        what, remedy = _unheard(text), f"check the network and the endpoint, then {_AGAIN}"
    return StorageError(f"{address} can't be {doing}: {what}{f' ({code})' if code else ''}", remedy=remedy)


def is_about_bucket(error: Exception) -> bool:
    """Whether what is not there is the whole bucket, as far as the answer says so."""
    text = str(error)
    return any(code in text for code in _NO_SUCH_PLACE) or "bucket does not exist" in text


def no_credentials(address: StoreAddress) -> UsageError:
    """There is nothing to sign with."""
    return _NoCredentials(f"{address}: there are no credentials for it", remedy=f"set {_VARIABLES[address.scheme]}")


def is_unsupported(error: StorageError) -> bool:
    """Whether a store says that it can't do what was asked, whatever the circumstances."""
    text = str(error.__cause__)
    found = _STATUS.search(text)
    return (found is not None and found[1] in {"400", "405", "501"}) or "NotImplemented" in text


def _unheard(text: str) -> str:
    if "timed out" in text or "TimedOut" in text:
        return "the store doesn't answer"
    if "kind: Connect" in text:
        return "the store can't be reached"
    found = _REASON.search(text)
    return f"the connection broke off ({found[1]})" if found else "the connection broke off"
