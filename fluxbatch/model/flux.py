"""The FLUX models that the API offers: limits, prices, and where each fact comes from (``models.toml``)."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

__all__ = ["DEFAULT_MODEL", "FluxModel", "known_models", "prices_as_of"]

DEFAULT_MODEL: Final = "flux-2-pro"


@dataclass(frozen=True, slots=True)
class FluxModel:
    """One model.

    Attributes:
        id: the API's name for it.
        max_images: reference images that it takes; upstream silently ignores more.
        usd: of one image, by the price list of ``prices_as_of``; None = unknown.
        latency_s: seconds that the provider promises at most.
        concurrency: requests in flight that the provider allows for this model alone, if documented.
        max_total_megapixels: of inputs and output together, if limited.
        steps, guidance: inclusive ranges, for a model that takes these fields.
        aspect_range: smallest and largest width:height, for a model that takes any ratio between them.
    """

    id: str
    max_images: int
    usd: float | None = None
    latency_s: float = 30.0
    concurrency: int | None = None
    max_total_megapixels: float | None = None
    steps: tuple[int, int] | None = None
    guidance: tuple[float, float] | None = None
    aspect_range: tuple[tuple[int, int], tuple[int, int]] | None = None


@cache
def _data() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name("models.toml").read_text(encoding="utf-8"))


@cache
def known_models() -> dict[str, FluxModel]:
    """All known models by id."""
    return {name: _model(name, facts) for name, facts in _data()["models"].items()}


def prices_as_of() -> str:
    """The month that the price list is of, ``YYYY-MM``."""
    return str(_data()["prices_as_of"])


def _model(name: str, facts: dict[str, Any]) -> FluxModel:
    pairs: dict[str, Any] = {key: tuple(facts[key]) for key in ("steps", "guidance") if key in facts}
    if "aspect_range" in facts:
        pairs["aspect_range"] = tuple(tuple(ratio) for ratio in facts["aspect_range"])
    return FluxModel(**{"id": name, **facts, **pairs})
