"""JSON with positions: where each key and entry stands, and keys that stand twice."""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from typing import Any, Final

from fluxbatch.planning.flaw import Unreadable
from fluxbatch.planning.reading.marked import Items, Table

__all__ = ["parse_json"]

_SPACE: Final = re.compile(r"[ \t\n\r]*")
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_WORDS: Final = (("true", True), ("false", False), ("null", None))
_STRING: Final = json.JSONDecoder()
_DEEPEST: Final = 64
_LONGEST_NUMBER: Final = 300


def parse_json(text: str) -> Any:
    """A JSON text as ``Table``, ``Items`` and scalars.

    Raises:
        Unreadable: a syntax error, or a key that stands twice.
    """
    scanner = _Scanner(text)
    value = scanner.value(0)
    scanner.end()
    return value


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._breaks = [found.start() for found in re.finditer("\n", text)]

    def value(self, depth: int) -> Any:
        if depth > _DEEPEST:
            raise self._error(f"more than {_DEEPEST} levels of nesting")
        char = self._peek()
        if char == "{":
            return self._table(depth)
        if char == "[":
            return self._items(depth)
        if char == '"':
            return self._string()
        return self._word_or_number()

    def end(self) -> None:
        if self._peek():
            raise self._error(f"{self._peek()!r} stands behind the end of the document")

    def _table(self, depth: int) -> Table:
        table = Table(self._line())
        self._at += 1
        while self._peek() != "}":
            line = self._line()
            if self._peek() != '"':
                raise self._error("a key in double quotes is expected", self._hint())
            key = self._string()
            if key in table:
                raise self._error(
                    f"the key {key!r} stands here a second time, first on line {table.lines[key]}", "keep one"
                )
            if self._peek() != ":":
                raise self._error(f"':' is expected behind the key {key!r}")
            self._at += 1
            table.put(key, self.value(depth + 1), line)
            self._comma("}")
        self._at += 1
        return table

    def _items(self, depth: int) -> Items:
        items = Items(self._line())
        self._at += 1
        while self._peek() != "]":
            line = self._line()
            items.put(self.value(depth + 1), line)
            self._comma("]")
        self._at += 1
        return items

    def _comma(self, closing: str) -> None:
        char = self._peek()
        if char == ",":
            self._at += 1
            if self._peek() == closing:
                raise self._error("a comma stands before the end of a list", "remove the comma")
        elif char != closing:
            raise self._error(f"',' or {closing!r} is expected", self._hint())

    def _string(self) -> str:
        try:
            text, self._at = _STRING.raw_decode(self._text, self._at)
        except json.JSONDecodeError as error:
            self._at = error.pos
            raise self._error(error.msg, "write line breaks as \\n, close the quotes") from None
        return str(text)

    def _word_or_number(self) -> Any:
        for word, value in _WORDS:
            if self._text.startswith(word, self._at):
                self._at += len(word)
                return value
        found = _NUMBER.match(self._text, self._at)
        if found is None:
            raise self._error("a value is expected", self._hint())
        if len(found[0]) > _LONGEST_NUMBER:
            raise self._error("the number is too long", "write it in quotes")
        self._at = found.end()
        return float(found[0]) if found[1] or found[2] else int(found[0])

    def _peek(self) -> str:
        found = _SPACE.match(self._text, self._at)
        if found:
            self._at = found.end()
        return self._text[self._at : self._at + 1]

    def _line(self) -> int:
        return bisect_left(self._breaks, self._at) + 1

    def _hint(self) -> str:
        rest = self._text[self._at : self._at + 2]
        if not rest:
            return "the file ends too early"
        if rest[0] == "'":
            return "JSON wants double quotes"
        return "JSON has no comments" if rest in {"//", "/*"} or rest[0] == "#" else ""

    def _error(self, message: str, remedy: str = "") -> Unreadable:
        return Unreadable(self._line(), f"is not valid JSON: {message}", remedy)
