"""Which rows of a catalogue are wanted: an expression, or a mapping of columns to the values that they may have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fluxbatch.planning.flaw import shown
from fluxbatch.planning.reading.cells import as_seen
from fluxbatch.planning.reading.marked import Items, Table
from fluxbatch.planning.templates import ABSENT, BadTemplate, Condition, Uses

if TYPE_CHECKING:
    from fluxbatch.planning.catalog.values import Values

__all__ = ["Where", "read_where"]

# How tables write what a manifest says as true and false.
_TRUTHS: Final = {True: ("true", "TRUE", "True"), False: ("false", "FALSE", "False")}


class Where:
    """A filter of rows.

    Args:
        condition: that holds for what is wanted; None if there is none.
        wanted: texts by column, one of which its cell has to be.

    Attributes:
        names: that are looked up, be they there or not.
        uses: what it can't do without.
    """

    def __init__(self, condition: Condition | None, wanted: dict[str, frozenset[str]]) -> None:
        self._condition = condition
        self._wanted = list(wanted.items())
        self.names = condition.names if condition else frozenset(wanted)
        self.uses = condition.uses if condition else Uses(frozenset(wanted), frozenset())

    def holds(self, values: Values) -> bool:
        """Whether a row, with a choice from the matrix, is wanted. An empty cell is empty text here.

        Raises:
            BadTemplate: that can't be worked out.
        """
        values.keep_empty(keep=True)
        try:
            if self._condition is not None:
                return self._condition.holds(values)
            return all(_text(values.resolve_or_missing(column), column) in texts for column, texts in self._wanted)
        except BadTemplate:
            if absent := values.absent(self.uses):
                raise BadTemplate(" and ".join(map(values.lack, absent))) from None
            raise
        finally:
            values.keep_empty(keep=False)


def read_where(written: Any) -> Where:
    """The filter that a manifest asks for.

    Raises:
        BadTemplate: it is none.
    """
    if isinstance(written, str) and written.strip():
        return Where(Condition(written), {})
    if not isinstance(written, Table):
        raise BadTemplate("is neither an expression nor a mapping of columns to values")
    return Where(None, {column: _texts(column, wanted) for column, wanted in written.items()})


def _texts(column: str, wanted: Any) -> frozenset[str]:
    texts: set[str] = set()
    for value in wanted if isinstance(wanted, Items) else [wanted]:
        if isinstance(value, dict | list):
            raise BadTemplate(f"has {shown(value)} for {column!r}, where one value or a list of values is expected")
        texts.update(_TRUTHS[value] if isinstance(value, bool) else [as_seen(value)])
    return frozenset(texts)


def _text(value: Any, column: str) -> str:
    if value is ABSENT:
        raise BadTemplate(f"{column!r} is not there")
    value = as_seen(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str):
        raise BadTemplate(f"can't compare {column!r}, which is {shown(value)}: write an expression")
    return value
