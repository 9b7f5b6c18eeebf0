"""YAML with the rules of YAML 1.2: ``16:9`` and ``no`` are text, a key stands once, aliases can't explode.

Built from parser events without recursion, so that hostile nesting ends in a message.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

import yaml

from fluxbatch.planning.flaw import Unreadable
from fluxbatch.planning.reading.marked import Items, Numeral, Table

__all__ = ["parse_yaml", "resolve"]

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DEEPEST: Final = 64
_MOST_ALIASED: Final = 64 << 20
_STR_TAGS: Final = frozenset({"!", "tag:yaml.org,2002:str"})

_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
_TRUTHS: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT: Final = re.compile(r"[-+]?[0-9]+")
_OCTAL: Final = re.compile(r"0o[0-7]+")
_HEX: Final = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITE: Final = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_INDENTED_BY_TAB: Final = re.compile(r" *\t")
_LONGEST_NUMBER: Final = 300


def resolve(text: str) -> Any:
    """The value of a plain scalar by the core schema of YAML 1.2.2 (section 10.3.2)."""
    if text in _NULLS:
        return None
    if text in _TRUTHS:
        return _TRUTHS[text]
    if text[0] not in "+-.0123456789" or len(text) > _LONGEST_NUMBER:
        return text
    if _INT.fullmatch(text):
        return _numeral(int(text), text)
    if _OCTAL.fullmatch(text):
        return _numeral(int(text, 0), text)
    if _HEX.fullmatch(text):
        return _numeral(int(text, 0), text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return float(text.replace(".", "")) if _INFINITE.fullmatch(text) else text


def parse_yaml(text: str, loader: Any = _Loader) -> Any:
    """The one document of a YAML text, as ``Table``, ``Items`` and scalars.

    Args:
        text: of the file.
        loader: whose parser is used, by default the one in C if there is one.

    Raises:
        Unreadable: a syntax error, or something that a manifest does not need and people trip over.
    """
    builder = _Builder()
    try:
        for event in yaml.parse(text, Loader=loader):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(error, text) from None
    except yaml.YAMLError as error:
        raise Unreadable(0, f"is not valid YAML: {error}".replace("\n", " "), "remove the control characters") from None
    if builder.documents == 0:
        raise Unreadable(0, "the file is empty", "write at least one job")
    return builder.root


@dataclass(slots=True)
class _Open:
    """A mapping or list that has not ended."""

    container: Table | Items
    anchor: str | None
    weight: int = 1
    key: str | None = None
    key_line: int = 0


class _Builder:
    def __init__(self) -> None:
        self.root: Any = None
        self.documents = 0
        self._open: list[_Open] = []
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._aliased = 0

    def take(self, event: Any) -> None:
        line = event.start_mark.line + 1
        match event:
            case yaml.ScalarEvent():
                self._scalar(event, line)
            case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                self._start(event, line)
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                ended = self._open.pop()
                self._value(ended.container, ended.container.line, ended.weight, ended.anchor)
            case yaml.AliasEvent():
                self._alias(str(event.anchor), line)
            case yaml.DocumentStartEvent():
                self.documents += 1
                if self.documents > 1:
                    raise Unreadable(line, "a second document begins ('---')", "one manifest a file")
            case _:
                pass

    def _scalar(self, event: Any, line: int) -> None:
        plain = event.implicit[0] and event.tag is None
        if event.tag is not None and event.tag not in _STR_TAGS:
            raise Unreadable(line, f"the tag {event.tag!r} is not supported", "leave it out")
        if self._awaits_key():
            self._key(event.value, line, merge=plain and event.value == "<<")
            return
        value = resolve(event.value) if plain else event.value
        self._value(value, line, len(event.value) + 1, event.anchor)

    def _start(self, event: Any, line: int) -> None:
        if event.tag is not None:
            raise Unreadable(line, f"the tag {event.tag!r} is not supported", "leave it out")
        if self._awaits_key():
            raise Unreadable(line, "a mapping or list stands where a key is expected", "text with { } goes in quotes")
        if len(self._open) == _DEEPEST:
            raise Unreadable(line, f"more than {_DEEPEST} levels of nesting")
        container = Table(line) if isinstance(event, yaml.MappingStartEvent) else Items(line)
        self._open.append(_Open(container, event.anchor))

    def _alias(self, anchor: str, line: int) -> None:
        if anchor not in self._anchors:
            raise Unreadable(line, f"*{anchor} is not defined before", f"define it with &{anchor} first")
        value, weight = self._anchors[anchor]
        self._aliased += weight
        if self._aliased > _MOST_ALIASED:
            raise Unreadable(line, f"aliases like *{anchor} repeat too much text", "use 'defaults', or JSONL")
        if self._awaits_key():
            self._key(value if isinstance(value, str) else str(value), line, merge=False)
        else:
            self._value(value, line, weight, None)

    def _awaits_key(self) -> bool:
        return bool(self._open) and self._open[-1].key is None and isinstance(self._open[-1].container, Table)

    def _key(self, key: str, line: int, *, merge: bool) -> None:
        if merge:
            raise Unreadable(line, "the merge key '<<' is not supported", "use 'defaults' for what jobs have in common")
        parent = self._open[-1]
        if isinstance(parent.container, Table) and key in parent.container:
            first = parent.container.lines[key]
            raise Unreadable(line, f"the key {key!r} stands here a second time, first on line {first}", "keep one")
        parent.key, parent.key_line = key, line
        parent.weight += len(key)

    def _value(self, value: Any, line: int, weight: int, anchor: str | None) -> None:
        if anchor:
            self._anchors[anchor] = (value, weight)
        if not self._open:
            self.root = value
            return
        parent = self._open[-1]
        parent.weight += weight
        if isinstance(parent.container, Items):
            parent.container.put(value, line)
        elif parent.key is not None:
            parent.container.put(parent.key, value, parent.key_line)
            parent.key = None


def _numeral(number: int, written: str) -> int:
    return number if str(number) == written else Numeral(number, written)


def _syntax_error(error: yaml.MarkedYAMLError, text: str) -> Unreadable:
    mark = error.problem_mark or error.context_mark
    lines = text.split("\n")
    line = min(mark.line + 1, len(lines)) if mark else 0  # the end of a text may be marked behind its last line
    problem = error.problem or "syntax error"
    if line and _INDENTED_BY_TAB.match(lines[line - 1]):
        return Unreadable(line, "a tab stands where YAML wants spaces", "indent with spaces")
    message = f"is not valid YAML: {problem}"
    if error.context and error.context_mark and error.context_mark.line + 1 != line:
        message += f" ({error.context}, line {error.context_mark.line + 1})"
    remedy = "text with ': ' or ' #' or a special first character goes in quotes"
    return Unreadable(line, message, remedy)
