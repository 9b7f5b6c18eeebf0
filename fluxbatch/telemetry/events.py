"""Events as JSON: one flat object, ``event`` names it."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from fluxbatch.model.events import Event

__all__ = ["to_dict", "to_json"]

_KINDS: dict[str, tuple[tuple[str, ...], attrgetter[tuple[Any, ...]]]] = {}
"""by the names of events: those of their fields, and what reads all of them. What each kind has does not change."""


def to_dict(event: Event, *, run_id: str = "") -> dict[str, Any]:
    """An event by name: ``event``, ``at`` (ISO 8601, UTC), ``run_id``, then its own fields as they are."""
    kind = _KINDS.get(event.name)
    if kind is None:
        names = tuple(field.name for field in fields(event))
        kind = _KINDS[event.name] = names, attrgetter(*names)
    names, values = kind
    facts = dict(zip(names, values(event), strict=True))
    at = datetime.fromtimestamp(facts.pop("at"), UTC).isoformat(timespec="milliseconds")
    return {"event": event.name, "at": at, "run_id": facts.pop("run_id", run_id), **facts}


def to_json(event: Event, *, run_id: str = "") -> bytes:
    """The same as one line of JSON, without its line end."""
    return orjson.dumps(to_dict(event, run_id=run_id))
