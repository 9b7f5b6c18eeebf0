"""The job of a catalogue: its fields, compiled once and rendered for each row."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

from fluxbatch.planning.flaw import Flaw, shown
from fluxbatch.planning.names import IMAGE_FIELDS
from fluxbatch.planning.reading.draft import Fault
from fluxbatch.planning.reading.marked import Items, Table
from fluxbatch.planning.templates import BadTemplate, Prose, is_name

if TYPE_CHECKING:
    from fluxbatch.planning.catalog.values import Values
    from fluxbatch.planning.prompt_files import PromptFiles

__all__ = ["Compiler", "Maker", "Problems", "is_dynamic", "merged"]

_BRACES: Final = "{{"
_OPTIONAL: Final = 'fill it in, or write {{optional: "{0}"}} for images that may be missing'
_DEFAULT: Final = 'fill it in, or write {{{{ {0} | default("…") }}}}'
_SPLIT: Final = re.compile(r"[|\n]")
_MOST_KEPT: Final = 256

Problems: TypeAlias = list[tuple[str, str]]
"""What is wrong with a job: messages and remedies."""


class Maker(Protocol):
    """A value that is different in each row."""

    def make(self, values: Values, problems: Problems) -> Any:
        """The value in this row; what is wrong goes to ``problems``."""
        ...


def is_dynamic(value: Any) -> bool:
    """Whether a compiled value has to be made for each row."""
    return isinstance(value, _Text | _List | _Mapping | _Images | _Image | _PromptFile)


def merged(common: dict[str, Any], made: Any) -> Any:
    """A compiled mapping over what jobs have in common."""
    if isinstance(made, _Mapping):
        return _Mapping({**common, **made.entries})
    return {**common, **made} if isinstance(made, dict) else made


class Compiler:
    """Compiles the values of one catalogue, and notes what is wrong with them and what they name.

    Args:
        prefix: of the catalogue, in messages: ``catalog`` or ``catalog[2]``.
        faults: takes what is wrong.
        prompts: files that hold prompts.
    """

    def __init__(self, prefix: str, faults: list[Fault], prompts: PromptFiles) -> None:
        self.used: list[tuple[str, int, Prose]] = []
        self._prefix = prefix
        self._faults = faults
        self._prompts = prompts

    def field(self, key: str, value: Any, line: int) -> Any:
        """A field of the job: a constant as it is, or a ``Maker``."""
        if key == "prompt_file":
            return self._prompt_file(value, line)
        if key == "images":
            return self._images(key, value, line)
        if key in IMAGE_FIELDS:
            return self._image(key, value, line)
        return self._value(key, value, line)

    def _value(self, key: str, value: Any, line: int) -> Any:
        if isinstance(value, str):
            return self._text(key, value, line) if _BRACES in value else value
        if isinstance(value, Table):
            made = {name: self._inner(key, name, entry, value.lines.get(name, line)) for name, entry in value.items()}
            return _Mapping(made) if any(map(is_dynamic, made.values())) else value
        if isinstance(value, Items):
            entries = [
                self._value(f"{key}[{number}]", entry, at)
                for number, (entry, at) in enumerate(zip(value, value.lines, strict=True), 1)
            ]
            return _List(entries) if any(map(is_dynamic, entries)) else value
        return value

    def _inner(self, key: str, name: str, value: Any, line: int) -> Any:
        """A value of a mapping; a step of a chain has images of its own."""
        if name == "images" and key.startswith("chain["):
            return self._images(f"{key}.{name}", value, line)
        return self._value(f"{key}.{name}", value, line)

    def _text(self, key: str, text: str, line: int, *, image: bool = False) -> Any:
        try:
            prose = Prose(text)
        except BadTemplate as problem:
            self._fault(key, str(problem), 'write names as "{{ name }}"', line)
            return ""
        self.used.append((key, line, prose))
        return _Text(key, prose, optional=text if image else "")

    def _images(self, key: str, value: Any, line: int) -> Any:
        if isinstance(value, str):
            made = self._text(key, value, line, image=True) if _BRACES in value else value
            return _Images([made], split=True) if is_dynamic(made) else made
        if not isinstance(value, Items):
            return value
        entries = [
            self._image(f"{key}[{number}]", entry, at)
            for number, (entry, at) in enumerate(zip(value, value.lines, strict=True), 1)
        ]
        return _Images(entries) if any(map(is_dynamic, entries)) else entries

    def _image(self, key: str, value: Any, line: int) -> Any:
        if isinstance(value, str) and _BRACES in value:
            return self._text(key, value, line, image=True)
        if not isinstance(value, Table):
            return value
        (kind,) = value if len(value) == 1 else ("",)
        if kind not in {"optional", "job"}:
            remedy = 'write a path, {job: "id"} or {optional: "{{ column }}"}'
            self._fault(key, "is a mapping, but neither {job: …} nor {optional: …}", remedy, line)
            return ""
        made = self._value(key, value[kind], line)
        if kind == "job":
            return _Mapping({"job": made}) if is_dynamic(made) else {"job": made}
        if not isinstance(value[kind], str):
            self._fault(key, f"optional: {shown(value[kind])} is not a path", 'write {optional: "{{ column }}"}', line)
            return ""
        return _Image(made)

    def _prompt_file(self, value: Any, line: int) -> Any:
        if not isinstance(value, str):
            return value
        path = self._value("prompt_file", value, line)
        maker = _PromptFile(path, self._prompts)
        if is_dynamic(path):
            return maker
        found = maker.template(value)
        if isinstance(found, Flaw):
            self._fault("prompt_file", found.message, found.remedy, line)
        elif isinstance(found, Prose):
            self.used.append(("prompt_file", line, found))
        return maker

    def _fault(self, key: str, message: str, remedy: str, line: int) -> None:
        self._faults.append(Fault(line, message, remedy, f"{self._prefix}.{key}"))


class _Text:
    """Text with names in it.

    Args:
        key: of the field, in messages.
        prose: the template.
        optional: the template of an image as written, which could be made optional.
    """

    __slots__ = ("_key", "_optional", "_prose")

    def __init__(self, key: str, prose: Prose, optional: str = "") -> None:
        self._key = key
        self._prose = prose
        self._optional = optional

    def make(self, values: Values, problems: Problems) -> str:
        try:
            return self._prose.render(values)
        except BadTemplate as problem:
            problems.append(self._problem(problem, values))
            return ""

    def make_if_there(self, values: Values, problems: Problems) -> str:
        """The same, but empty if a column is."""
        try:
            return self._prose.render(values)
        except BadTemplate as problem:
            if not values.absent(self._prose.uses):
                problems.append(self._problem(problem, values))
            return ""

    def _problem(self, problem: BadTemplate, values: Values) -> tuple[str, str]:
        absent = values.absent(self._prose.uses)
        if not absent:
            return f"{self._key}: the template {problem}", "mend the template, or the row"
        lacks = " and ".join(values.lack(column) for column in absent)
        if self._optional:
            return f"{self._key}: {lacks}", _OPTIONAL.format(self._optional)
        name = absent[0] if is_name(absent[0]) else f'row["{absent[0]}"]'
        return f"{self._key}: {lacks}", _DEFAULT.format(name)


class _List:
    __slots__ = ("_entries",)

    def __init__(self, entries: list[Any]) -> None:
        self._entries = [(entry, is_dynamic(entry)) for entry in entries]

    def make(self, values: Values, problems: Problems) -> list[Any]:
        return [entry.make(values, problems) if dynamic else entry for entry, dynamic in self._entries]


class _Mapping:
    __slots__ = ("_constants", "_makers", "entries")

    def __init__(self, entries: dict[str, Any]) -> None:
        self.entries = entries
        self._constants = {name: None if is_dynamic(entry) else entry for name, entry in entries.items()}
        self._makers = [(name, entry) for name, entry in entries.items() if is_dynamic(entry)]

    def make(self, values: Values, problems: Problems) -> dict[str, Any]:
        made = dict(self._constants)
        for name, maker in self._makers:
            made[name] = maker.make(values, problems)
        return made


class _Image:
    """An image that is left out where its path is empty."""

    __slots__ = ("_path",)

    def __init__(self, path: Any) -> None:
        self._path = path

    def make(self, values: Values, problems: Problems) -> str:
        path: str = self._path.make_if_there(values, problems) if isinstance(self._path, _Text) else self._path
        return path.strip()


class _Images:
    """A list of images; or one text, which is split as a cell of a table is."""

    __slots__ = ("_entries", "_optional", "_split")

    def __init__(self, entries: list[Any], *, split: bool = False) -> None:
        self._entries = [(entry, is_dynamic(entry)) for entry in entries]
        self._optional = {number for number, entry in enumerate(entries) if isinstance(entry, _Image)}
        self._split = split

    def make(self, values: Values, problems: Problems) -> list[Any]:
        images = [entry.make(values, problems) if dynamic else entry for entry, dynamic in self._entries]
        if self._split:
            return [part for part in _SPLIT.split(images[0]) if part.strip()]
        if self._optional:
            return [image for number, image in enumerate(images) if image != "" or number not in self._optional]
        return images


class _PromptFile:
    """The prompt in a file, whose text is a template too. The latest are kept, compiled."""

    def __init__(self, path: Any, prompts: PromptFiles) -> None:
        self._path = path
        self._prompts = prompts
        self._kept: dict[str, str | Prose | Flaw] = {}

    def make(self, values: Values, problems: Problems) -> str:
        before = len(problems)
        name = self._path.make(values, problems) if is_dynamic(self._path) else self._path
        if len(problems) > before:
            return ""
        found = self.template(name)
        if isinstance(found, str):
            return found
        if isinstance(found, Flaw):
            problems.append((f"prompt_file: {found.message}", found.remedy))
            return ""
        unknown = [column for column in sorted(found.uses.names | found.uses.headers) if not values.knows(column)]
        if unknown:
            names = ", ".join(map(repr, unknown))
            meant = values.similar(unknown[0])
            remedy = f"did you mean {meant!r}?" if meant else "name columns as the header does"
            problems.append((f"prompt_file: {name}: there is no column {names}", remedy))
            return ""
        return _Text(f"prompt_file: {name}", found).make(values, problems)

    def template(self, name: str) -> str | Prose | Flaw:
        """The text of a file, compiled if it names anything, or what is wrong with it."""
        if name not in self._kept:
            if len(self._kept) >= _MOST_KEPT:
                self._kept.clear()
            self._kept[name] = self._read(name)
        return self._kept[name]

    def _read(self, name: str) -> str | Prose | Flaw:
        text = self._prompts.read(name)
        if isinstance(text, Flaw) or _BRACES not in text:
            return text
        try:
            return Prose(text)
        except BadTemplate as problem:
            return Flaw("prompt_file", f"{name}: {problem}", 'write names as "{{ name }}"')
