"""One entry as the user wrote it, sorted into its parts and typed; nothing is filled in."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final

import orjson

from fluxbatch.planning.chain import read_chain
from fluxbatch.planning.fit_wishes import read_fit
from fluxbatch.planning.flaw import Flaw, shown
from fluxbatch.planning.keys import forbidden, unknown_column, unknown_key
from fluxbatch.planning.names import FIELDS, IMAGE_FIELDS, JOB_KEYS
from fluxbatch.planning.references import read_reference
from fluxbatch.planning.values import typed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fluxbatch.model.job import Json
    from fluxbatch.planning.chain import ChainLink
    from fluxbatch.planning.prompt_files import PromptFiles
    from fluxbatch.planning.references import Reference

__all__ = ["Spec", "read_spec"]

_FIELDS: Final = frozenset(FIELDS)
_MOST_IMAGES: Final = len(IMAGE_FIELDS)
_IMAGE_FIELD: Final = re.compile(r"input_image(?:_(\d{1,6}))?")


@dataclass(slots=True)
class Spec:
    """An entry as written: one job, or several by ``chain`` and ``variants``.

    Attributes:
        id: as written, None if it has none.
        fields: of the request, typed, as far as they are written; no images, no extras.
        images: references as written, image 1 first.
        numbered: the images were written as ``input_image…``, not as ``images``.
        extra: request fields that this version does not know.
        meta: echoed into the results.
        fit: as keywords of ``model.job.Fit``; empty for what happens by itself.
        variants: how many images.
        chain: its steps; empty if it is none.
        flaws: what is wrong so far; a field with a flaw is left out of ``fields``.
    """

    id: str | None = None
    fields: dict[str, Json] = field(default_factory=dict)
    images: list[Reference] = field(default_factory=list)
    numbered: bool = False
    extra: dict[str, Json] = field(default_factory=dict)
    meta: dict[str, Json] = field(default_factory=dict)
    fit: dict[str, Json] = field(default_factory=dict)
    variants: int = 1
    chain: list[ChainLink] = field(default_factory=list)
    flaws: list[Flaw] = field(default_factory=list)


def read_spec(values: Mapping[str, Any], *, row: bool = False, prompts: PromptFiles | None = None) -> Spec:
    """Sort and type the values of one entry; None is the same as absent, and in a table so is an empty cell.

    Args:
        values: keys as the user wrote them.
        row: of a table, where unknown keys are the user's own columns and a cell of images holds several.
        prompts: reads the files that ``prompt_file`` names; None leaves them alone.
    """
    spec = Spec()
    written: dict[str, Any] = {}
    numbered: dict[str, Any] = {}
    for key, value in values.items():
        if value is None or (row and value == ""):
            continue
        if key in _FIELDS:
            written[key] = value
        elif key == "images":
            _take_images(spec, value, split=row)
        elif key == "prompt_file":
            _take_prompt_file(spec, written, values, prompts)
        elif key in JOB_KEYS:
            _take_part(spec, key, value, numbered)
        else:
            _take_unknown(spec, key, value, row=row)
    spec.fields, wrong = typed(written)
    spec.flaws += wrong
    if spec.chain and "prompt" in written:
        spec.flaws.append(Flaw("chain", "both a prompt and 'chain' are given", "keep one of them"))
    if numbered:
        _take_numbered(spec, numbered, both="images" in values and values["images"] is not None)
    return spec


def _take_unknown(spec: Spec, key: Any, value: Any, *, row: bool) -> None:
    if not isinstance(key, str):
        spec.flaws.append(Flaw("", f"the key {shown(key)} is not text"))
    elif row:
        _take_column(spec, key, value)
    elif _IMAGE_FIELD.fullmatch(key) and key != "input_image_1":
        spec.flaws.append(Flaw(key, f"a request has at most {_MOST_IMAGES} images", "the last is input_image_8"))
    else:
        spec.flaws.append(unknown_key(key))


def _take_part(spec: Spec, key: str, value: Any, numbered: dict[str, Any]) -> None:
    match key:
        case "id":
            _take_id(spec, value)
        case "meta":
            spec.meta.update(_mapping(spec, key, value))
        case "extra":
            _take_extra(spec, _mapping(spec, key, value))
        case "variants":
            found, wrong = typed({key: value}, "variants")
            spec.flaws += wrong
            spec.variants = int(str(found.get(key, 1)))
        case "fit":
            written = value
            if isinstance(value, str) and value.lstrip().startswith("{"):  # in a cell of a table
                written = dict(_mapping(spec, key, value))
            spec.fit, wrong = read_fit(written)
            spec.flaws += wrong
        case "chain":
            spec.chain, wrong = read_chain(value)
            spec.flaws += wrong
        case _:
            numbered[key] = value


def _take_column(spec: Spec, key: str, value: Any) -> None:
    flaw = unknown_column(key)
    if flaw:
        spec.flaws.append(flaw)
    else:
        spec.meta[key.removeprefix("meta.")] = value


def _take_id(spec: Spec, value: Any) -> None:
    if isinstance(value, str):
        spec.id = value
    elif isinstance(value, int) and not isinstance(value, bool):
        spec.id = getattr(value, "written", None) or str(value)  # 007 stays 007
    else:
        spec.flaws.append(Flaw("id", f"{shown(value)} is not text", f'write it in quotes: "{shown(value)}"'))


def _mapping(spec: Spec, key: str, value: Any) -> Mapping[str, Json]:
    if isinstance(value, str):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            value = None
    if isinstance(value, dict) and all(isinstance(name, str) for name in value):
        return value
    spec.flaws.append(Flaw(key, "is not a mapping of names to values", f'write {key} as {{"name": "value"}}'))
    return {}


def _take_extra(spec: Spec, extra: Mapping[str, Json]) -> None:
    for key, value in extra.items():
        if key in JOB_KEYS:
            spec.flaws.append(Flaw(f"extra.{key}", f"{key!r} is a field of its own", "write it outside of 'extra'"))
        elif flaw := forbidden(key):
            spec.flaws.append(Flaw(f"extra.{key}", flaw.message, flaw.remedy))
        else:
            spec.extra[key] = value


def _take_images(spec: Spec, value: Any, *, split: bool) -> None:
    if isinstance(value, str | PurePath):
        entries: list[Any] = re.split(r"[|\n]", value) if split and isinstance(value, str) else [value]
    elif isinstance(value, list | tuple):
        entries = list(value)
    else:
        spec.flaws.append(Flaw("images", f"{shown(value)} is not a list of images", "write [first.jpg, second.jpg]"))
        return
    if split:
        entries = [entry for entry in entries if not (isinstance(entry, str) and not entry.strip())]
    for number, entry in enumerate(entries, 1):
        _take_image(spec, f"images[{number}]", entry)


def _take_numbered(spec: Spec, numbered: dict[str, Any], *, both: bool) -> None:
    if both:
        spec.flaws.append(Flaw("images", "both 'images' and 'input_image' are given", "keep one of them"))
        return
    spec.numbered = True
    given = [name for name in IMAGE_FIELDS if name in numbered]
    for expected in IMAGE_FIELDS[: IMAGE_FIELDS.index(given[-1])]:
        if expected not in numbered:
            remedy = "number them without gaps: input_image, input_image_2, input_image_3 …"
            spec.flaws.append(Flaw(given[-1], f"{given[-1]} is given, but {expected} is missing", remedy))
            return
    for name in given:
        _take_image(spec, name, numbered[name])


def _take_image(spec: Spec, name: str, entry: Any) -> None:
    found = (entry.strip() if type(entry) is str else "") or read_reference(name, entry)  # most are plain
    if isinstance(found, Flaw):
        spec.flaws.append(found)
    else:
        spec.images.append(found)


def _take_prompt_file(
    spec: Spec, written: dict[str, Any], values: Mapping[str, Any], prompts: PromptFiles | None
) -> None:
    if values.get("prompt"):
        spec.flaws.append(Flaw("prompt_file", "both 'prompt' and 'prompt_file' are given", "keep one of them"))
        return
    name = values["prompt_file"]
    if not isinstance(name, str) or not name.strip():
        spec.flaws.append(Flaw("prompt_file", f"{shown(name)} is not a path", "write a file name"))
    elif prompts is not None:
        found = prompts.read(name.strip())
        if isinstance(found, Flaw):
            spec.flaws.append(found)
        else:
            written["prompt"] = found
