"""Who may see the page and who may act on it. Pure decisions."""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["HEADERS", "Guard", "Refusal", "Visit"]

HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""with every answer"""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An HTTP status, and words for whoever reads it."""

    status: int
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """What a request says of itself; empty where it says nothing.

    Attributes:
        host, origin: the headers.
        fetched_from: ``Sec-Fetch-Site``.
        cookie: the value of our cookie.
        kind: MIME type of the body.
        acts: it would change something (POST).
    """

    host: str
    origin: str = ""
    fetched_from: str = ""
    cookie: str = ""
    kind: str = ""
    acts: bool = False


@dataclass(frozen=True, slots=True)
class Guard:
    """The rules of one site.

    Attributes:
        answers_to: whether a Host header is one of ours.
        token: what the printed link carries. It opens the door once for each browser, and is exchanged for a cookie.
        session: what that cookie holds.
    """

    answers_to: Callable[[str], bool]
    token: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    session: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)

    def admits(self, token: str) -> bool:
        """Whether this is the token of the link."""
        return _same(token, self.token)

    def judge_host(self, visit: Visit) -> Refusal | None:
        """What holds for every request, one that brings the token included."""
        if not self.answers_to(visit.host):
            return Refusal(403, "this Host is not served: use the address that was printed")
        return None

    def judge(self, visit: Visit) -> Refusal | None:
        """Why a request is refused, if it is."""
        refusal = self.judge_host(visit)
        if refusal is not None:
            return refusal
        if not _same(visit.cookie, self.session):
            return Refusal(401, "open the link that was printed when this page began to be served")
        if visit.fetched_from not in {"", "same-origin", "none"}:
            # another port of this machine is the same site to a browser, and would bring the cookie
            return Refusal(403, "another page asked for this")
        if visit.acts and not self._is_own(visit):
            return Refusal(403, "only the page itself may do this")
        return None

    @staticmethod
    def _is_own(visit: Visit) -> bool:
        """A browser always names the origin of a POST. A form can't send JSON."""
        return urlsplit(visit.origin).netloc == visit.host != "" and visit.kind == "application/json"


def _same(said: str, meant: str) -> bool:
    return hmac.compare_digest(said.encode("utf-8", "surrogateescape"), meant.encode())
