"""Addresses in object stores, as users write them: ``s3://bucket/prefix``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Self

__all__ = ["STORE_SCHEMES", "StoreAddress", "is_store_address"]

STORE_SCHEMES: Final = ("s3", "oss", "gs", "az")
_ADDRESS: Final = re.compile(rf"({'|'.join(STORE_SCHEMES)})://([^/?#]*)/?(.*)", re.DOTALL)
_BUCKET: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,221}")
_UNSENDABLE: Final = re.compile(r"[\x00-\x1f\x7f\\]")


def is_store_address(text: str) -> bool:
    """Whether text is meant as an address in an object store, right or wrong."""
    return text.startswith(tuple(f"{scheme}://" for scheme in STORE_SCHEMES))


@dataclass(frozen=True, slots=True)
class StoreAddress:
    """A place in an object store.

    Attributes:
        scheme: one of ``STORE_SCHEMES``.
        bucket: bucket or container.
        key: of an object, or what the keys of several begin with; no slash at either end.
    """

    scheme: str
    bucket: str
    key: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an address.

        Raises:
            ValueError: it is none; says why.
        """
        found = _ADDRESS.fullmatch(text)
        if found is None:
            raise ValueError(f"it doesn't begin with {', '.join(f'{scheme}://' for scheme in STORE_SCHEMES)}")
        scheme, bucket, key = found[1], found[2], found[3].strip("/")
        if "@" in bucket or ":" in bucket:
            raise ValueError("it holds credentials or a port, which belong into the environment")
        if not _BUCKET.fullmatch(bucket):
            raise ValueError(f"{bucket!r} is no name of a bucket" if bucket else "it names no bucket")
        if _UNSENDABLE.search(key):
            raise ValueError("it holds a backslash or control characters")
        if any(part in {"", ".", ".."} for part in key.split("/")) and key:
            raise ValueError("a part of its path is empty, '.' or '..'")
        return cls(scheme, bucket, key)

    @property
    def url(self) -> str:
        """As the user would write it."""
        return f"{self.scheme}://{self.bucket}" + (f"/{self.key}" if self.key else "")

    def __str__(self) -> str:
        return self.url
