"""When a result URL dies, read off the URL itself.

Order of trust: Azure ``se``; ``X-Amz-Date`` + ``X-Amz-Expires``; ``X-Goog-Date`` + ``X-Goog-Expires``; ``Expires``
(epoch); else 600 seconds from the answer. Real URLs carry ``se`` = end of generation + 600 s (seen in public samples).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_plus

from fluxbatch.model.job import Lease

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["URL_LIFE_S", "lease_of", "signed_until"]

URL_LIFE_S: Final = 600.0
"""seconds that a result URL lives, by the API reference"""

_TOLD: Final = re.compile(
    r"(?:^|(?<=&))(se|x-amz-date|x-amz-expires|x-goog-date|x-goog-expires|expires)=([^&]*)", re.ASCII | re.IGNORECASE
)
_FARTHEST: Final = datetime(2100, 1, 1, tzinfo=UTC).timestamp()
"""what claims to live longer is a number that means something else"""


def lease_of(url: str, *, received_at: float, server_date: float | None = None, request_id: str = "") -> Lease:
    """The lease that a URL grants, on our own clock.

    Args:
        url: as it came.
        received_at: epoch seconds of our clock when the answer arrived.
        server_date: the answer's ``Date`` header, epoch seconds; corrects for a clock that is off.
        request_id: the gateway's id, to be kept with the lease.
    """
    until = signed_until(url)
    if until is None:
        return Lease(url, deadline=received_at + URL_LIFE_S, granted_at=received_at, request_id=request_id)
    skew = 0.0 if server_date is None else received_at - server_date
    deadline = until + skew
    # generation ended before the answer came, and no URL is known to live longer than it says
    granted_at = min(received_at, max(deadline - URL_LIFE_S, received_at - URL_LIFE_S))
    return Lease(url, deadline=deadline, granted_at=granted_at, request_id=request_id)


def signed_until(url: str) -> float | None:
    """The deadline that the URL's query carries, epoch seconds of the server's clock; None if it carries none."""
    text = url.partition("#")[0].partition("?")[2]
    query = {name.casefold(): _unquoted(value) for name, value in _TOLD.findall(text) if value}
    if not query:
        return None
    for read in (_azure, _amazon, _google, _plain):
        until = read(query)
        if until is not None and 0 < until < _FARTHEST:
            return until
    return None


def _unquoted(value: str) -> str:
    # this is done for each answer, and taking nothing away from a text takes unquote_plus as long as all else here
    return unquote_plus(value) if "%" in value or "+" in value else value


def _azure(query: Mapping[str, str]) -> float | None:
    return _iso(query.get("se", ""))


def _amazon(query: Mapping[str, str]) -> float | None:
    return _from_start(query, "x-amz-date", "x-amz-expires")


def _google(query: Mapping[str, str]) -> float | None:
    return _from_start(query, "x-goog-date", "x-goog-expires")


def _plain(query: Mapping[str, str]) -> float | None:
    value = query.get("expires", "")
    return float(value) if value.isascii() and value.isdigit() and len(value) < 12 else None


def _from_start(query: Mapping[str, str], date: str, life: str) -> float | None:
    start, seconds = query.get(date, ""), query.get(life, "")
    if not (seconds.isascii() and seconds.isdigit() and len(seconds) < 9):
        return None
    begun = _iso(start)
    return None if begun is None else begun + int(seconds)


def _iso(text: str) -> float | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
