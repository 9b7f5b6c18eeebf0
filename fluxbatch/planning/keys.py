"""Keys of a job that are no fields: what is meant instead, what a manifest may never say."""

from __future__ import annotations

import difflib
import re
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Final

from fluxbatch.planning.flaw import Flaw
from fluxbatch.planning.names import JOB_KEYS

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["forbidden", "near_miss", "nearest", "unknown_column", "unknown_key"]

# Words that a table may well use for itself, though they look like a field.
_WORDS_OF_THEIR_OWN: Final = frozenset({"weight", "metal", "module", "side", "sized", "sizes", "need", "deed"})
_SYNONYMS: Final = {
    "image": "images",
    "imageurl": "images",
    "imageurls": "images",
    "inputimages": "images",
    "inputimage1": "input_image",
}

_KEY_REMEDY: Final = "set FLUXBATCH_API_KEY, or give --api-key-file"
_URL_REMEDY: Final = "give --base-url, or set FLUXBATCH_BASE_URL"
_PROXY_REMEDY: Final = "set HTTPS_PROXY"
_FORBIDDEN: Final = {
    "apikey": _KEY_REMEDY,
    "authorization": _KEY_REMEDY,
    "xkey": _KEY_REMEDY,
    "baseurl": _URL_REMEDY,
    "proxy": _PROXY_REMEDY,
    "httpproxy": _PROXY_REMEDY,
    "httpsproxy": _PROXY_REMEDY,
}
# A table of products may have columns of these names; a document that says them means settings of ours.
_FORBIDDEN_IN_DOCUMENTS: Final = {
    **_FORBIDDEN,
    "key": _KEY_REMEDY,
    "token": _KEY_REMEDY,
    "secret": _KEY_REMEDY,
    "password": _KEY_REMEDY,
    "headers": _KEY_REMEDY,
    "url": _URL_REMEDY,
    "endpoint": _URL_REMEDY,
    "proxies": _PROXY_REMEDY,
    "prices": "give --price MODEL=USD",
    "price": "give --price MODEL=USD",
    "command": "run commands yourself, before or after",
    "commands": "run commands yourself, before or after",
    "hooks": "run commands yourself, before or after",
}


def forbidden(key: str, *, row: bool = False) -> Flaw | None:
    """The complaint about a setting that a manifest, which may come from someone else, must not make.

    The value is never quoted: it may be a secret.
    """
    remedy = (_FORBIDDEN if row else _FORBIDDEN_IN_DOCUMENTS).get(_plain(key))
    if remedy is None:
        return None
    return Flaw(key, "a manifest can't set this, it may come from someone else", f"leave it out here; {remedy}")


@lru_cache(maxsize=4096)
def unknown_key(key: str) -> Flaw:
    """The complaint about a key of a job in a document, where every unknown key is an error."""
    flaw = forbidden(key)
    if flaw:
        return flaw
    meant = near_miss(key) or nearest(key, _job_keys().values())
    remedy = f"did you mean {meant!r}?" if meant else "new fields of the API go under 'extra', your own under 'meta'"
    return Flaw(key, f"{key!r} is not a field of a job", remedy)


@lru_cache(maxsize=4096)
def unknown_column(key: str) -> Flaw | None:
    """The complaint about a column (or a key of a JSONL row) that is no field; None if it is one of the user's own."""
    flaw = forbidden(key, row=True)
    if flaw:
        return flaw
    meant = near_miss(key)
    if not meant:
        return None
    return Flaw(key, f"{key!r} is not a field", f"did you mean {meant!r}? A column of your own: 'meta.{key}'")


def near_miss(key: str) -> str:
    """The job key that ``key`` was probably meant to be, empty if it looks like a name of its own."""
    plain = _plain(key)
    if not plain or plain in _WORDS_OF_THEIR_OWN:
        return ""
    if plain in _SYNONYMS:
        return _SYNONYMS[plain]
    by_plain = _job_keys()
    if plain in by_plain:
        return by_plain[plain]
    found = difflib.get_close_matches(plain, by_plain, n=1, cutoff=0.82)
    return by_plain[found[0]] if found else ""


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word that is most like ``word``, empty if none is."""
    by_lower = {name.lower(): name for name in sorted(known)}
    found = difflib.get_close_matches(word.lower()[:200], by_lower, n=1, cutoff=0.7)
    return by_lower[found[0]] if found else ""


@cache
def _job_keys() -> dict[str, str]:
    """All that a job may say, by its plain form."""
    return {_plain(name): name for name in sorted(JOB_KEYS)}


def _plain(key: str) -> str:
    return re.sub(r"[\s_\-]", "", key).casefold()
