"""TOML. The parser of the standard library tells no positions, so lines are found again by their looks."""

from __future__ import annotations

import re
import tomllib
from typing import Any, Final, TypeAlias

from fluxbatch.planning.flaw import Unreadable
from fluxbatch.planning.reading.marked import Items, Table

__all__ = ["parse_toml"]

_TABLES: Final = re.compile(r"\s*\[\[\s*([^\]]+?)\s*\]\]")
_TABLE: Final = re.compile(r"\s*\[\s*([^\[\]]+?)\s*\]")
_KEY: Final = re.compile(r"\s*([\w\-]+|\"[^\"]*\"|'[^']*')\s*(?:\.[^=]*)?=")
_AT_LINE: Final = re.compile(r" \(at line (\d+), column \d+\)$")

_Path: TypeAlias = tuple[str | int, ...]


def parse_toml(text: str) -> Any:
    """A TOML text as ``Table``, ``Items`` and scalars, with the lines of tables and keys as far as they can be told.

    Raises:
        Unreadable: a syntax error.
    """
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = _AT_LINE.search(str(error))
        line = int(found[1]) if found else text.count("\n") + 1
        message = _AT_LINE.sub("", str(error)).replace(" (at end of document)", ", the file ends too early")
        raise Unreadable(line, f"is not valid TOML: {message}", "text goes in quotes") from None
    except RecursionError:
        raise Unreadable(0, "is nested too deeply", "") from None
    return _marked(values, (), 1, _lines(text))


def _lines(text: str) -> dict[_Path, int]:
    """Where each table and key stands, by its path."""
    lines: dict[_Path, int] = {}
    counts: dict[str, int] = {}
    table: _Path = ()
    multiline = False
    for number, line in enumerate(text.split("\n"), 1):
        inside = multiline
        if (line.count('"""') + line.count("'''")) % 2:
            multiline = not multiline
        if inside:
            continue
        if found := _TABLES.match(line):
            name = found[1]
            table = (*_path(name, counts), counts.get(name, 0))
            counts[name] = counts.get(name, 0) + 1
            lines[table] = number
        elif found := _TABLE.match(line):
            table = _path(found[1], counts)
            lines[table] = number
        elif found := _KEY.match(line):
            lines.setdefault((*table, found[1].strip("\"'")), number)
    return lines


def _path(name: str, counts: dict[str, int]) -> _Path:
    """``jobs.meta`` is in the latest of the ``jobs``."""
    path: list[str | int] = []
    parts = [part.strip().strip("\"'") for part in name.split(".")]
    for depth, part in enumerate(parts, 1):
        path.append(part)
        count = counts.get(".".join(parts[:depth]), 0)
        if count and depth < len(parts):
            path.append(count - 1)
    return tuple(path)


def _marked(value: Any, path: _Path, line: int, lines: dict[_Path, int]) -> Any:
    line = lines.get(path, line)
    if isinstance(value, dict):
        table = Table(line)
        for key, entry in value.items():
            at = (*path, key)
            table.put(key, _marked(entry, at, line, lines), lines.get(at, line))
        return table
    if isinstance(value, list):
        items = Items(line)
        for index, entry in enumerate(value):
            at = (*path, index)
            items.put(_marked(entry, at, line, lines), lines.get(at, line))
        return items
    return value
