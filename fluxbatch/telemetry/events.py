"""Events as JSON: one flat object, ``event`` names it."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from fluxbatch.model.events import Event

__all__ = ["to_dict", "to_json"]

_NAMES: dict[str, tuple[str, ...]] = {}
"""of the fields of events, by the event's own: what each kind has does not change"""


def to_dict(event: Event, *, run_id: str = "") -> dict[str, Any]:
    """An event by name: ``event``, ``at`` (ISO 8601, UTC), ``run_id``, then its own fields as they are."""
    names = _NAMES.get(event.name)
    if names is None:
        names = _NAMES[event.name] = tuple(field.name for field in fields(event))
    facts = {name: getattr(event, name) for name in names}
    at = datetime.fromtimestamp(facts.pop("at"), UTC).isoformat(timespec="milliseconds")
    return {"event": event.name, "at": at, "run_id": facts.pop("run_id", run_id), **facts}


def to_json(event: Event, *, run_id: str = "") -> bytes:
    """The same as one line of JSON, without its line end."""
    return orjson.dumps(to_dict(event, run_id=run_id))
