"""Templates of catalogues: prompts, paths, names, and conditions."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context, Undefined
from jinja2.utils import missing

from fluxbatch.planning.flaw import shown
from fluxbatch.planning.reading.cells import number_text
from fluxbatch.planning.templates.sandbox import FAILURES, BadTemplate, Missing, Sandbox, translated, unworkable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

__all__ = ["ABSENT", "Condition", "Prose", "Scope", "Uses", "is_name"]

_LONGEST_PROSE_TEMPLATE: Final = 1 << 20
_LONGEST_PROSE: Final = 128 << 10
_MOST_PARTS: Final = 2000
_FEW_PIECES: Final = 32
_MOST_KEPT: Final = 1024
_CONTROL_IN_PROSE: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_WORDS_OF_TEMPLATES: Final = frozenset(
    {"and", "else", "false", "False", "if", "in", "is", "none", "None", "not", "or", "row", "true", "True"}
)
ABSENT: Final = missing
"""What a lookup gives for a name that is not there."""


def _said(value: Any) -> Any:
    """A value as people write it; a list, a mapping or nothing at all is no text."""
    if type(value) is str or isinstance(value, Undefined | str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return number_text(value)
    raise SecurityError(f"{'nothing' if value is None else shown(value)} can't stand in a text")


_PROSE: Final = Sandbox(_LONGEST_PROSE, Missing, _said)


class Scope(Context):
    """What templates of a catalogue may name: looked up as they ask for it, so that no row is ever copied.

    Args:
        axes: names whose values are those of the choice; all others are of the row.

    Attributes:
        row: number of the row; as long as it stays, so do its values.
        choice: number of the choice; whenever it comes again, so do its values.
    """

    def __init__(self, axes: Collection[str] = ()) -> None:
        super().__init__(_PROSE, {}, None, {})
        self.axes = frozenset(axes)
        self.row = self.choice = 0

    def resolve_or_missing(self, key: str) -> Any:
        """The value of a name, or ``ABSENT``."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Uses:
    """What a template can't do without; what stands directly under ``default`` is no part of it.

    Attributes:
        names: that it looks up.
        headers: that it looks up as ``row["…"]``.
    """

    names: frozenset[str]
    headers: frozenset[str]


class Prose:
    """A compiled template of a catalogue, for prompts as well as for paths and names.

    Raises:
        BadTemplate: it is too long, or not valid.
    """

    def __init__(self, text: str) -> None:
        if len(text) > _LONGEST_PROSE_TEMPLATE:
            raise BadTemplate(f"is {len(text)} characters long, the limit is {_LONGEST_PROSE_TEMPLATE}")
        if _CONTROL_IN_PROSE.search(text):
            raise BadTemplate("has a control character")
        with translated():
            tree = _PROSE.parse(text)
            self.uses = _uses_of(tree)
            self.names = frozenset(node.name for node in tree.find_all(nodes.Name))
            self._plain = _plain(tree)
            self._render = _PROSE.from_string(tree).root_render_func
        self._scope: Scope | None = None
        self._of_row = self._of_choice = False
        self._row = -1
        self._text = ""
        self._by_choice: dict[int, str] = {}

    def render(self, scope: Scope) -> str:
        """The text for these values, worked out again only if they can be others than before.

        Raises:
            BadTemplate: a name is not there, or the text would be too long.
        """
        if scope is not self._scope:
            self._begin(scope)
        if not self._of_choice:
            if self._row != scope.row:
                self._text = self._rendered(scope)
                self._row = scope.row
            return self._text
        if self._of_row or scope.choice >= _MOST_KEPT:
            return self._rendered(scope)
        text = self._by_choice.get(scope.choice)
        if text is None:
            text = self._by_choice[scope.choice] = self._rendered(scope)
        return text

    def _begin(self, scope: Scope) -> None:
        self._scope = scope
        self._of_choice = not self.names.isdisjoint(scope.axes)
        self._of_row = not self.names <= scope.axes
        self._row = -1
        self._by_choice.clear()

    def _rendered(self, scope: Scope) -> str:
        pieces = self._plainly(scope)
        if pieces is None:
            try:
                pieces = list(self._render(scope))
            except FAILURES as error:
                raise unworkable(error) from None
        if len(pieces) > _FEW_PIECES and sum(map(len, pieces)) > _LONGEST_PROSE:
            raise BadTemplate(f"gives more than {_LONGEST_PROSE} characters")
        text = "".join(pieces)
        if len(text) > _LONGEST_PROSE:
            raise BadTemplate(f"gives {len(text)} characters, the limit is {_LONGEST_PROSE}")
        return text

    def _plainly(self, scope: Scope) -> list[str] | None:
        """The pieces, if this is text and names of texts alone, as most are: a third of the time. Else None."""
        if self._plain is None:
            return None
        pieces: list[str] = []
        for text, is_looked_up in self._plain:
            piece = scope.resolve_or_missing(text) if is_looked_up else text
            if type(piece) is not str:
                return None
            pieces.append(piece)
        return pieces


class Condition:
    """A compiled expression, written without braces, that is true or not.

    Raises:
        BadTemplate: it is not a valid expression.
    """

    def __init__(self, text: str) -> None:
        if "{{" in text or "}}" in text:
            raise BadTemplate("has braces")
        if _CONTROL_IN_PROSE.search(text):
            raise BadTemplate("has a control character")
        with translated():
            _PROSE.compile_expression(text)  # a whole expression, so that what is put around it changes nothing
        self._prose = Prose("{{ 'yes' if (" + text + ") else '' }}")
        self.uses = self._prose.uses
        self.names = self._prose.names

    def holds(self, scope: Scope) -> bool:
        """Whether it is true for these values.

        Raises:
            BadTemplate: a name is not there, or the expression can't be worked out.
        """
        return self._prose.render(scope) != ""


def is_name(text: str) -> bool:
    """Whether templates can name a value so."""
    return text.isidentifier() and text not in _WORDS_OF_TEMPLATES


def _plain(tree: nodes.Template) -> list[tuple[str, bool]] | None:
    """The pieces of a template, and whether each is a name to be looked up; None if there is more to it."""
    pieces: list[tuple[str, bool]] = []
    for output in tree.body:
        for node in output.nodes if isinstance(output, nodes.Output) else [output]:
            match node:
                case nodes.TemplateData():
                    pieces.append((node.data, False))
                case nodes.Name():
                    pieces.append((node.name, True))
                case _:
                    return None
    return pieces


def _uses_of(tree: nodes.Template) -> Uses:
    parts = sum(1 for node in tree.find_all(nodes.Expr) if not isinstance(node, nodes.TemplateData))
    if parts > _MOST_PARTS:
        raise BadTemplate(f"has {parts} parts between {{{{ }}}}, the limit is {_MOST_PARTS}")
    found = {node.name for node in tree.find_all(nodes.Name)}
    if len({unicodedata.normalize("NFKC", name) for name in found}) < len(found):
        raise BadTemplate('has names that differ in the width of letters alone, write row["…"] for one of them')
    spared = {id(node) for node in _spared(tree)}
    names = {node.name for node in tree.find_all(nodes.Name) if id(node) not in spared}
    found_headers = [_header(node) for node in tree.find_all(nodes.Expr) if id(node) not in spared]
    headers = frozenset(header for header in found_headers if header is not None)
    return Uses(frozenset(names - {"row"}), headers)


def _spared(tree: nodes.Template) -> Iterator[nodes.Node]:
    """Values that may be absent."""
    for node in (*tree.find_all(nodes.Filter), *tree.find_all(nodes.Test)):
        if node.name in {"default", "d", "defined", "undefined"} and node.node is not None:
            yield node.node


def _header(node: nodes.Expr) -> str | None:
    """The header that ``row["…"]`` or ``row.…`` asks for, if it says one outright."""
    if not isinstance(node, nodes.Getitem | nodes.Getattr):
        return None
    if not isinstance(node.node, nodes.Name) or node.node.name != "row":
        return None
    if isinstance(node, nodes.Getattr):
        return node.attr
    return node.arg.value if isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, str) else None
