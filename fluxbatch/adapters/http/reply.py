"""What an answer says: an image, its URL, or a complaint. Reading only; nothing is decided here."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from fluxbatch.policy.verdict import Complaint
from fluxbatch.telemetry.redact import clean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fluxbatch.adapters.http.answer import AnswerReader

__all__ = ["Found", "complaint_of", "find_image", "http_date", "request_id_of", "seconds_to_wait"]

_REQUEST_ID_HEADERS: Final = ("x-request-id", "request-id", "x-oneapi-request-id", "x-litellm-call-id")
_PLAIN_MESSAGE: Final = {
    "html": "the answer is a page of HTML, not of the API",
    "empty": "the answer is empty",
    "json": "the answer is no valid JSON",
}


@dataclass(frozen=True, slots=True)
class Found:
    """An image in an answer: a URL to fetch, base64 text, or a spooled string of base64."""

    url: str = ""
    text: str = ""
    spooled: bool = False


def find_image(value: Any, reader: AnswerReader) -> Found | None:
    """The first image of an OpenAI-style answer: one in the answer itself is preferred to a URL."""
    data = value.get("data") if isinstance(value, dict) else None
    item = data[0] if isinstance(data, list) and data else None
    if not isinstance(item, dict):
        return None
    for name in ("b64_json", "url"):
        text = item.get(name)
        if not isinstance(text, str) or not text:
            continue
        if reader.is_spooled(text):
            return Found(spooled=True)
        if name == "url" and text.startswith(("http://", "https://")):
            return Found(url=text)
        if name == "b64_json" or text.startswith("data:"):
            return Found(text=text)
    return None


def complaint_of(
    status: int, headers: Mapping[str, str], reader: AnswerReader, value: Any, *, now: float, secrets: tuple[str, ...]
) -> Complaint:
    """What an answer without an image complains of. ``now`` is epoch seconds, for a Retry-After that is a date."""
    error = value.get("error") if isinstance(value, dict) else None
    facts = error if isinstance(error, dict) else {"message": error} if isinstance(error, str) else {}
    message = facts.get("message") or facts.get("localized_message") or _plain_message(status, reader, value)
    if reader.is_spooled(message):
        message = reader.spooled_start()
    code = facts.get("code")
    retry_after = seconds_to_wait(headers, now)
    if retry_after is None:
        retry_after = _number(facts.get("retry_after", value.get("retry_after") if isinstance(value, dict) else None))
    return Complaint(
        status=status,
        code="" if code is None or isinstance(code, bool) else str(code),
        message=clean(str(message), secrets=secrets),
        retry_after=retry_after,
    )


def request_id_of(headers: Mapping[str, str], *, secrets: tuple[str, ...]) -> str:
    """The gateway's id of a request; empty if it gave none."""
    found = next((headers[name] for name in _REQUEST_ID_HEADERS if name in headers), "")
    return clean(found, limit=128, secrets=secrets)


@lru_cache(maxsize=16)
def http_date(text: str) -> float | None:
    """An HTTP date as epoch seconds; one that names no zone is meant in UTC."""
    try:
        date = parsedate_to_datetime(text)
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (TypeError, ValueError, IndexError, OverflowError):
        return None


def seconds_to_wait(headers: Mapping[str, str], now: float) -> float | None:
    """What ``Retry-After`` asks for, be it seconds or a date; None if it can't be read."""
    text = headers.get("Retry-After", "").strip()
    number = _number(text)
    if number is not None:
        return number
    date = http_date(text)
    return None if date is None else max(0.0, date - now)


def _plain_message(status: int, reader: AnswerReader, value: Any) -> str:
    text = reader.text().strip()
    if not text:
        kind = "empty"
    elif reader.is_json:
        if value is not None:
            return f"HTTP {status} without an image: {text[:200]}"
        kind = "json"
    elif text[:1] == "<":
        kind = "html"
    else:
        return f"HTTP {status}: {text[:200]}"
    return f"HTTP {status}: {_PLAIN_MESSAGE[kind]}"


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if 0 <= number < 1e9 else None
