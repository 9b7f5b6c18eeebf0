"""Text from outside, made fit to be shown: no keys, no signed queries, no control characters, not too long."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["clean", "is_clean", "printable", "printable_facts"]

_KEY: Final = re.compile(r"\b(sk-|Bearer\s+)[A-Za-z0-9_\-.]{4,}", re.IGNORECASE)
# in JSON that is shown as it came, slashes may be escaped
_SCHEME: Final = r"\b[a-z][a-z0-9+.\-]{0,15}:(?:\\?/){2}"
_QUERY: Final = re.compile(rf"({_SCHEME}[^\s?\"'<>]*)\?[^\s\"'<>]*", re.IGNORECASE)
_USERINFO: Final = re.compile(rf"({_SCHEME})[^\s/@\"'<>\\]+@", re.IGNORECASE)
_DATA_URL: Final = re.compile(
    r"(data:[a-z0-9.+\\/\-]{1,80}(?:;[a-z0-9=._\-]{1,40}){0,3};base64,)[a-z0-9+/=_\\%\-]{16,}", re.IGNORECASE
)
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
# As ids of requests are: no other pattern here could be found in it.
_HARMLESS: Final = re.compile(r"(?:(?!sk-)[A-Za-z0-9_.\-])*", re.IGNORECASE)
_SPACE: Final = re.compile(r"\s+")


def clean(text: str, *, limit: int = 300, secrets: tuple[str, ...] = ()) -> str:
    """One line of text from an answer or an error, fit for logs, results and terminals."""
    if len(text) <= limit and _HARMLESS.fullmatch(text) and not any(secret and secret in text for secret in secrets):
        return text
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    text = _SPACE.sub(" ", printable(_without_secrets(text[: limit * 20]))).strip()
    return text if len(text) <= limit else text[: limit - 1] + "…"


def is_clean(text: str) -> bool:
    """Whether text is fit to be shown as it is, on one line."""
    return "\n" not in text and text == printable(_without_secrets(text))


def printable(text: str) -> str:
    """Text without escape codes and characters that turn a line around; line breaks and tabs stay."""
    return _CONTROL.sub("", text)


def printable_facts(facts: Mapping[str, object]) -> dict[str, object]:
    """Facts for a line of JSON: what was typed may be no UTF-8, and an error quotes it."""
    return {name: printable(said) if isinstance(said, str) else said for name, said in facts.items()}


def _without_secrets(text: str) -> str:
    text = _KEY.sub(r"\1***", _DATA_URL.sub(r"\1…", text))
    return _QUERY.sub(r"\1?…", _USERINFO.sub(r"\1***@", text))
