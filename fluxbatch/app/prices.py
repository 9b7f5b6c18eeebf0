"""A price list of the user's own. Only a person names prices: a manifest, which may be somebody else's, can't."""

from __future__ import annotations

import difflib
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fluxbatch.errors import UsageError
from fluxbatch.model.flux import known_models

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["Prices", "is_price", "near_miss", "read_prices"]

_FORM = 'it looks like this: as_of = "2026-12", then a table [usd] with lines like flux-2-pro = 0.028'


@dataclass(frozen=True, slots=True)
class Prices:
    """A price list.

    Attributes:
        usd: of one image, by model.
        as_of: when it was true, as its owner wrote it; empty if not said.
    """

    usd: Mapping[str, float]
    as_of: str = ""


def read_prices(file: Path) -> Prices:
    """Read a price list in TOML. Blocks.

    Raises:
        UsageError: it can't be read, or holds something else than prices.
    """
    try:
        data = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        words = getattr(error, "strerror", None) or "it is no text in UTF-8"
        raise UsageError(f"--prices {file}: {words}", remedy="name a TOML file with your prices") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"--prices {file}: {error}", remedy=_FORM) from None
    unknown = data.keys() - {"as_of", "usd"}
    usd = data.get("usd")
    if unknown or not isinstance(usd, dict):
        found = f"unknown key {min(unknown)!r}" if unknown else "there is no table [usd]"
        raise UsageError(f"--prices {file}: {found}", remedy=_FORM)
    for model, amount in usd.items():
        _check(file, model, amount)
    return Prices({model: float(amount) for model, amount in usd.items()}, str(data.get("as_of", "")))


def is_price(amount: Any) -> bool:
    """Whether it can be the price of an image in USD."""
    return isinstance(amount, int | float) and not isinstance(amount, bool) and 0 <= amount < 1000


def near_miss(model: str) -> str:
    """The model that was probably meant, if this is none that is known; else empty: other hosts have others."""
    known = known_models()
    if model in known:
        return ""
    return next(iter(difflib.get_close_matches(model, known, n=1, cutoff=0.8)), "")


def _check(file: Path, model: str, amount: Any) -> None:
    if not is_price(amount):
        raise UsageError(f"--prices {file}: {model} = {amount!r} is no price", remedy="USD of an image, as in 0.028")
    near = near_miss(model)
    if near:
        raise UsageError(f"--prices {file}: no model is called {model}", remedy=f"did you mean {near}?")
