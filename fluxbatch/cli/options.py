"""Option types and look-ups that commands share."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from fluxbatch.errors import UsageError
from fluxbatch.settings import DEFAULT_BASE_URL, KEY_VARIABLES

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "Seconds",
    "base_url_option",
    "ca_file_option",
    "download_proxy_option",
    "find_key",
    "is_duration",
    "key_file_option",
    "key_place",
    "price_file_option",
    "prices_of",
]

base_url_option = click.option(
    "--base-url",
    envvar="FLUXBATCH_BASE_URL",
    default=DEFAULT_BASE_URL,
    show_default=True,
    metavar="URL",
    help="Of the API.",
)
key_file_option = click.option(
    "--api-key-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Holds the key; else FLUXBATCH_API_KEY or APIYI_API_KEY.",
)
ca_file_option = click.option(
    "--ca-file",
    envvar="FLUXBATCH_CA_FILE",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Certificates to trust beside the system's.",
)

download_proxy_option = click.option(
    "--download-proxy",
    envvar="FLUXBATCH_DOWNLOAD_PROXY",
    metavar="URL",
    default="",
    help="Fetch results through this proxy, or `direct`; requests go by HTTPS_PROXY, and without this, results too"
    " (or FLUXBATCH_DOWNLOAD_PROXY).",
)
price_file_option = click.option(
    "--prices",
    "price_file",
    envvar="FLUXBATCH_PRICES",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Your own price list, in TOML (`fluxbatch models --help` shows one).",
)

_DURATION: Final = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m(?:in)?)?(?:(\d+(?:\.\d+)?)s?)?")
_PRINTABLE_KEY: Final = re.compile(r"[\x21-\x7e]+")


class Seconds(click.ParamType[float]):
    """A duration: ``90``, ``90s``, ``5m``, ``1h30m``."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds."""
        if isinstance(value, int | float):
            return float(value)
        found = _DURATION.fullmatch(str(value).strip().lower())
        if not found or not any(found.groups()):
            self.fail(f"{value!r} is no duration: write 90, 90s, 5m or 1h30m", param, ctx)
        hours, minutes, seconds = (float(part or 0) for part in found.groups())
        return hours * 3600 + minutes * 60 + seconds


def is_duration(text: str) -> bool:
    """Whether ``Seconds`` takes it."""
    found = _DURATION.fullmatch(text.strip().lower())
    return found is not None and any(found.groups())


def find_key(file: Path | None) -> str:
    """The API key: from a file if one is named, else from the environment; empty if there is none.

    Raises:
        UsageError: the file can't be read, or what it holds is no key. The key itself is never shown.
    """
    if file is not None:
        try:
            text, place = file.read_text(encoding="utf-8").strip(), str(file)
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"--api-key-file {file}: {_words(error)}", remedy="it must hold the key alone") from None
        if not text:
            raise UsageError(f"--api-key-file {file} is empty", remedy="it must hold the key alone")
    else:
        place = key_place(None)
        text = os.environ.get(place, "").strip() if place else ""
    if text and not _PRINTABLE_KEY.fullmatch(text):
        raise UsageError(f"the key in {place} holds spaces or unprintable characters", remedy="it looks like sk-…")
    return text


def key_place(file: Path | None) -> str:
    """Where the key is looked for: the file, else the first variable that holds something; empty if none does."""
    if file is not None:
        return str(file)
    return next((name for name in KEY_VARIABLES if os.environ.get(name, "").strip()), "")


def prices_of(texts: Sequence[str], file: Path | None = None) -> dict[str, float]:
    """Prices, USD of an image by model: from a price list, and over that from ``MODEL=USD``.

    Raises:
        UsageError: the list can't be read, or a text is not of that form.
    """
    from fluxbatch.app.prices import is_price, near_miss, read_prices

    prices = {} if file is None else dict(read_prices(file).usd)
    for text in texts:
        model, _, amount = text.partition("=")
        try:
            usd = float(amount)
        except ValueError:
            usd = -1.0
        if not model or not is_price(usd):
            raise UsageError(f"--price {text}", remedy="write MODEL=USD, as in --price flux-2-pro=0.03")
        near = near_miss(model)
        if near:
            raise UsageError(f"--price {text}: no model is called {model}", remedy=f"did you mean {near}?")
        prices[model] = usd
    return prices


def _words(error: Exception) -> str:
    return getattr(error, "strerror", None) or type(error).__name__
