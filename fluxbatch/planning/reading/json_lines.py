"""JSON Lines: an object a line a job, streamed; rows of an OpenAI Batch file too."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

import orjson

from fluxbatch.planning.flaw import Unreadable, shown
from fluxbatch.planning.reading.draft import Draft, Fault, Opened
from fluxbatch.planning.reading.text import decoded, require_file, wide_encoding

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["json_objects", "open_json_lines"]

_BOM: Final = b"\xef\xbb\xbf"
_LONGEST_LINE: Final = 64 << 20
_KEY_END: Final = re.compile(rb'"\s*:')
_BATCH_KEYS: Final = frozenset({"custom_id", "method", "url", "body"})
_GENERATIONS: Final = "/images/generations"
# What an OpenAI client writes although it changes nothing here: one image, given as a URL.
_NO_OPS: Final = {"n": 1, "response_format": "url"}


def open_json_lines(path: Path, label: str) -> Opened:
    """Open a JSONL file and stream its rows.

    Raises:
        Unreadable: it can't be read.
    """
    require_file(path)
    opened = Opened(label, path.parent, ())
    opened.drafts = _drafts(path, opened)
    return opened


def json_objects(path: Path) -> Iterator[tuple[int, dict[str, Any]] | Unreadable]:
    """The objects of a JSONL file, each with its line; an ``Unreadable`` among them is a line that is none.

    Raises:
        Unreadable: nothing more can be read.
    """
    number = 0
    with path.open("rb") as file:
        while line := file.readline(_LONGEST_LINE):
            number += 1
            if number == 1:
                if encoding := wide_encoding(line):
                    raise Unreadable(0, f"is {encoding} text", "save it as UTF-8")
                line = line.removeprefix(_BOM)
            if len(line) >= _LONGEST_LINE - len(_BOM):
                raise Unreadable(number, f"the line is longer than {_LONGEST_LINE >> 20} MB", "name images by file")
            if not line.isspace():
                yield _object(line, number)


def _drafts(path: Path, opened: Opened) -> Iterator[Draft | Unreadable]:
    count = 0
    for found in json_objects(path):
        count += 1
        yield found if isinstance(found, Unreadable) else _row(*found)
    if not count:
        opened.faults.append(Fault(0, "has no rows", "write a JSON object a line for each job"))


def _object(line: bytes, number: int) -> tuple[int, dict[str, Any]] | Unreadable:
    try:
        values = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return _syntax_error(line, number, error)
    if not isinstance(values, dict):
        return Unreadable(number, "is not a JSON object", 'write {"prompt": "…"}')
    return _repeated_key(line, number, values) or (number, values)


def _row(number: int, values: dict[str, Any]) -> Draft | Unreadable:
    if "body" in values and values.keys() >= {"custom_id", "body"}:
        return _batch_row(values, number)
    return Draft(number, values, row=True)


def _repeated_key(line: bytes, number: int, values: dict[str, Any]) -> Unreadable | None:
    """The complaint about a key that stands twice in one object: of its values, orjson keeps the last in silence.

    Nearly all rows have as many key ends as keys, and none twice: text that looks like a key end only adds to the ends.
    """
    keys = len(values) + sum([len(value) for value in values.values() if isinstance(value, dict)])
    if len(_KEY_END.findall(line)) == keys:
        return None
    repeated: list[str] = []

    def note(pairs: list[tuple[str, Any]]) -> None:
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                repeated.append(key)
            seen.add(key)

    try:
        json.loads(line, object_pairs_hook=note)
    except RecursionError:
        return Unreadable(number, "is nested too deeply")
    return Unreadable(number, f"the key {shown(repeated[0])} stands twice", "keep one") if repeated else None


def _batch_row(values: dict[str, Any], number: int) -> Draft | Unreadable:
    """A row of an OpenAI Batch file: the body is a request, the id and the address stand around it."""
    unknown = sorted(values.keys() - _BATCH_KEYS)
    if unknown:
        return Unreadable(number, f"{unknown[0]!r} is not a key of an OpenAI Batch row", "put fields in 'body'")
    if str(values.get("method", "POST")).upper() != "POST":
        return Unreadable(number, f"method {values['method']!r} makes no images", "write POST")
    url = values.get("url", _GENERATIONS)
    if not (isinstance(url, str) and url.endswith(_GENERATIONS)):
        return Unreadable(number, "url: the row is for another service", f"only /v1{_GENERATIONS} makes images here")
    body = values["body"]
    if not isinstance(body, dict):
        return Unreadable(number, "body: is not a JSON object", 'write {"prompt": "…"}')
    fields = {key: value for key, value in body.items() if key not in _NO_OPS or value != _NO_OPS[key]}
    return Draft(number, {**fields, "id": values["custom_id"]})


def _syntax_error(line: bytes, number: int, error: orjson.JSONDecodeError) -> Unreadable:
    try:
        decoded(line, number)
    except Unreadable as not_utf8:
        return not_utf8
    message = str(error).partition(": line ")[0]
    start = line.lstrip()[:1]
    if number == 1 and start in {b"[", b"{"} and line.strip() in {b"[", b"{"}:
        return Unreadable(number, "a JSON document, not JSON Lines", "name the file .json, or write an object a line")
    return Unreadable(number, f"is not valid JSON: {message} (column {error.colno})", "one object a line, in one line")
