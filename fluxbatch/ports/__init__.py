"""The doors between the engine and the world. Each contract stands here; ``fluxbatch.testing.conformance`` checks it.

Whoever writes an adapter reads the module of its port and nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fluxbatch.ports.api import Fetcher, Provider
    from fluxbatch.ports.clock import Clock
    from fluxbatch.ports.destination import Delivered, Destination
    from fluxbatch.ports.ledger import Ledger
    from fluxbatch.ports.limiter import Limiter, Outcome, Place
    from fluxbatch.ports.memo import Memo
    from fluxbatch.ports.observer import Observer
    from fluxbatch.ports.photos import Decoder, Fitter, ObjectIndex, ObjectSource, PhotoReader, Source
    from fluxbatch.ports.plans import Disposition, Enlisted, RunRow, Tally
    from fluxbatch.ports.rescue import Rescue
    from fluxbatch.ports.sink import Landing, Presence, Sink

__all__ = [
    "Clock",
    "Decoder",
    "Delivered",
    "Destination",
    "Disposition",
    "Enlisted",
    "Fetcher",
    "Fitter",
    "Landing",
    "Ledger",
    "Limiter",
    "Memo",
    "ObjectIndex",
    "ObjectSource",
    "Observer",
    "Outcome",
    "PhotoReader",
    "Place",
    "Presence",
    "Provider",
    "Rescue",
    "RunRow",
    "Sink",
    "Source",
    "Tally",
]

_HOME = {
    "api": ("Fetcher", "Provider"),
    "clock": ("Clock",),
    "destination": ("Delivered", "Destination"),
    "ledger": ("Ledger",),
    "limiter": ("Limiter", "Outcome", "Place"),
    "memo": ("Memo",),
    "observer": ("Observer",),
    "photos": ("Decoder", "Fitter", "ObjectIndex", "ObjectSource", "PhotoReader", "Source"),
    "plans": ("Disposition", "Enlisted", "RunRow", "Tally"),
    "rescue": ("Rescue",),
    "sink": ("Landing", "Presence", "Sink"),
}


def __getattr__(name: str) -> Any:
    # imported when asked for: most contracts are read by people and type checkers alone
    import importlib

    for module, names in _HOME.items():
        if name in names:
            return getattr(importlib.import_module(f"fluxbatch.ports.{module}"), name)
    raise AttributeError(f"module 'fluxbatch.ports' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
