"""Signed URLs in the style of Azure Blob Storage, checked byte for byte.

The query carries `%3A` (in the deadline) and `%2F` (in the content type), so a client that rewrites percent-encoding
is refused, as the real delivery hosts do.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from datetime import UTC, datetime
from typing import Literal
from urllib.parse import quote

Verdict = Literal["ok", "expired", "mismatch"]

_SE = re.compile(r"[?&]se=([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}%3A[0-9]{2}%3A[0-9]{2}Z)&")


class Signer:
    """Signs and checks request targets (path and query) with one secret."""

    def __init__(self, secret: bytes) -> None:
        """`secret` is kept in the data folder, so that URLs outlive a restart."""
        self._secret = secret

    def sign(self, path: str, mime: str, deadline: int) -> str:
        """The target to request: `path?se=…&sig=…`; `deadline` is epoch seconds, `se` its ISO form."""
        se = quote(datetime.fromtimestamp(deadline, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), safe="")
        return self._with_signature(f"{path}?se={se}&sp=r&sr=b&sv=2024-11-04&rsct={quote(mime, safe='')}")

    def check(self, target: str, now: float) -> Verdict:
        """Judge a raw request target; the deadline itself is still in time."""
        unsigned, separator, _ = target.partition("&sig=")
        match = _SE.search(unsigned)
        expected = self._with_signature(unsigned)
        if not separator or not match or not hmac.compare_digest(expected.encode(), target.encode("utf-8", "replace")):
            return "mismatch"
        return "ok" if now <= deadline_of(target) else "expired"

    def _with_signature(self, unsigned: str) -> str:
        digest = hmac.new(self._secret, unsigned.encode("utf-8", "replace"), hashlib.sha256).digest()
        return f"{unsigned}&sig={quote(base64.b64encode(digest).decode(), safe='')}"


def deadline_of(target: str) -> float:
    """Epoch seconds of the `se` in a target that was signed here.

    :raises ValueError: there is none.
    """
    match = _SE.search(target)
    if not match:
        raise ValueError("no deadline in the query")
    return datetime.fromisoformat(match[1].replace("%3A", ":")).timestamp()
