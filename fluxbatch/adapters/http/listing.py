"""Asking an API for its models: the one question that costs nothing and needs the key."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import aiohttp
import anyio

from fluxbatch.adapters.http.answer import AnswerReader, TooLarge
from fluxbatch.adapters.http.losses import words_of
from fluxbatch.adapters.http.reply import complaint_of, http_date
from fluxbatch.policy.verdict import Complaint
from fluxbatch.telemetry.redact import clean

if TYPE_CHECKING:
    from collections.abc import Callable

    from yarl import URL

    from fluxbatch.adapters.http.connect import Network

__all__ = ["Listing", "list_models"]

_CAP: Final = 4 << 20
"""bytes of a list of models, generously: gateways list hundreds"""


@dataclass(frozen=True, slots=True)
class Listing:
    """What came of the question.

    Attributes:
        models: ids as listed, fit to be shown; None if there was no list.
        complaint: what came instead of one; None if there was no answer at all, or a list.
        lost: why there was no answer, in words; empty if there was one.
        date: the API's clock, epoch seconds; None if it did not tell.
        asked_at, heard_at: of our own clock, around the moment that ``date`` was written.
    """

    asked_at: float
    heard_at: float
    models: frozenset[str] | None = None
    complaint: Complaint | None = None
    lost: str = ""
    date: float | None = None


async def list_models(
    base_url: URL, key: str, *, network: Network, now: Callable[[], float], patience_s: float
) -> Listing:
    """``GET {base}/models``, within ``patience_s`` seconds from the name's resolution to the last byte.

    The key, if there is one, goes to this host alone: redirects are not followed.
    """
    url = base_url / "models"
    proxy = network.proxy(url)
    headers = {"Accept": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    asked_at = now()
    try:
        with anyio.fail_after(patience_s):
            async with (
                network.api_session() as session,
                session.get(
                    url, headers=headers, allow_redirects=False, proxy=proxy.url, proxy_headers=proxy.headers
                ) as response,
            ):
                heard_at = now()
                reader = AnswerReader(io.BytesIO, cap=_CAP)
                await _read(response, reader)
                date = http_date(response.headers.get("Date", ""))
    except TimeoutError:
        return Listing(asked_at, now(), lost=f"no answer within {patience_s:g} s")
    except (aiohttp.ClientError, OSError, ValueError) as error:  # ValueError: an answer that breaks the protocol
        return Listing(asked_at, now(), lost=clean(words_of(error), secrets=(key,)))
    except TooLarge:
        return Listing(asked_at, now(), complaint=Complaint(200, message=f"the answer is larger than {_CAP >> 20} MB"))
    value = _value(reader)
    ids = _ids(value) if response.status == 200 else None
    if ids is not None:
        shown = frozenset(clean(one, limit=100, secrets=(key,)) for one in ids)
        return Listing(asked_at, heard_at, models=shown, date=date)
    complaint = complaint_of(response.status, response.headers, reader, value, now=heard_at, secrets=(key,))
    return Listing(asked_at, heard_at, complaint=complaint, date=date)


async def _read(response: aiohttp.ClientResponse, reader: AnswerReader) -> None:
    """Until the JSON is complete, whatever the connection still does."""
    async for piece in response.content.iter_any():
        if reader.feed(piece):
            break
    if not response.content.at_eof():
        response.close()


def _value(reader: AnswerReader) -> object:
    try:
        return reader.value() if reader.complete else None
    except ValueError:
        return None


def _ids(value: object) -> list[str] | None:
    """The ids of a list as OpenAI's API words it; None if it is none."""
    entries = value.get("data") if isinstance(value, dict) else None
    if not isinstance(entries, list):
        return None
    return [entry["id"] for entry in entries if isinstance(entry, dict) and isinstance(entry.get("id"), str)]
