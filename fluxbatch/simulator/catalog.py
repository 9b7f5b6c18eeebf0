"""What the simulator knows of each model: its own table, so that a wrong table in the client shows."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

IMAGE_FIELDS = ("input_image", *(f"input_image_{n}" for n in range(2, 9)))
"""The reference image fields in the order that "image 1", "image 2"… of a prompt refer to (api reference)."""


@dataclass(frozen=True, slots=True)
class Model:
    """One model of the API reference."""

    name: str
    family: Literal["flux2", "kontext"]
    max_images: int
    """Reference images at most (api reference)."""
    latency_s: tuple[float, float]
    """Seconds a generation takes at scale 1.0, least and most (within what apiyi documents)."""
    total_megapixels: float | None = None
    """Limit on inputs and output together, in megapixels; seen for pro, None: no such limit is known."""
    own_fields: frozenset[str] = frozenset()
    """Fields that only this model takes (api reference)."""


MODELS = {
    model.name: model
    for model in (
        Model("flux-2-pro", "flux2", 8, (4.0, 9.5), total_megapixels=9),
        Model("flux-2-max", "flux2", 8, (7.0, 14.5)),
        Model("flux-2-flex", "flux2", 8, (12.0, 28.0), own_fields=frozenset({"steps", "guidance"})),
        Model("flux-2-klein-9b", "flux2", 4, (0.5, 0.95)),
        Model("flux-2-klein-4b", "flux2", 4, (0.3, 0.7)),
        Model("flux-kontext-max", "kontext", 1, (6.0, 13.0)),
        Model("flux-kontext-pro", "kontext", 1, (4.0, 9.0)),
    )
}


def _default_prices() -> Mapping[str, float]:
    text = resources.files(__package__).joinpath("prices.json").read_text("utf-8")
    return MappingProxyType({str(name): float(usd) for name, usd in json.loads(text)["usd_per_image"].items()})


PRICES = _default_prices()
"""USD an image by model, from `prices.json` beside this file; read at import, as reading blocks."""
