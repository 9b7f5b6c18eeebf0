"""The short form of a chain: prompts, each for the result of the one before."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import orjson

from fluxbatch.planning.flaw import Flaw, shown
from fluxbatch.planning.keys import unknown_key
from fluxbatch.planning.names import FIELDS, JOB_KEYS
from fluxbatch.planning.references import Reference, read_reference
from fluxbatch.planning.values import typed

if TYPE_CHECKING:
    from fluxbatch.model.job import Json

__all__ = ["ChainLink", "read_chain"]

_LONGEST: Final = 100


@dataclass(slots=True)
class ChainLink:
    """A step of a chain: the fields that it has beside those of the chain, and image 2 and on."""

    fields: dict[str, Json]
    images: list[Reference] = field(default_factory=list)


def read_chain(value: Any) -> tuple[list[ChainLink], list[Flaw]]:
    """The steps, and what is wrong with them; in a cell of a table they are JSON."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        with suppress(orjson.JSONDecodeError):
            value = orjson.loads(value)
    if not isinstance(value, list | tuple) or not value:
        remedy = "write [first prompt, second prompt]"
        return [], [Flaw("chain", f"{shown(value)} is not a list of prompts", remedy)]
    if len(value) > _LONGEST:
        return [], [Flaw("chain", f"has {len(value)} steps, {_LONGEST} is the most", "make several jobs of it")]
    links: list[ChainLink] = []
    flaws: list[Flaw] = []
    for number, step in enumerate(value, 1):
        link, found = _read_step(step)
        links.append(link)
        flaws += [replace(flaw, field=f"chain[{number}]{flaw.field and '.'}{flaw.field}") for flaw in found]
    return links, flaws


def _read_step(step: Any) -> tuple[ChainLink, list[Flaw]]:
    """A step; its flaws name its own fields."""
    if isinstance(step, str):
        step = {"prompt": step}
    if not isinstance(step, dict):
        return ChainLink({}), [Flaw("", f"{shown(step)} is not a prompt", "write text, or {prompt: …, model: …}")]
    flaws = [_no_field(key) for key in step if key not in FIELDS and key != "images"]
    fields, wrong = typed({key: value for key, value in step.items() if key in FIELDS and value is not None})
    flaws += wrong
    images = step.get("images") or []
    link = ChainLink(fields)
    for number, entry in enumerate(images if isinstance(images, list | tuple) else [images], 1):
        found = read_reference(f"images[{number}]", entry)
        if isinstance(found, Flaw):
            flaws.append(found)
        else:
            link.images.append(found)
    return link, flaws


def _no_field(key: Any) -> Flaw:
    if key in JOB_KEYS:
        return Flaw(key, f"{key!r} is of the whole chain", "write it beside 'chain'")
    return unknown_key(key) if isinstance(key, str) else Flaw("", f"the key {shown(key)} is not text")
