"""What the templates of a catalogue may name: the cells of a row, and one choice from each list of the matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fluxbatch.planning.keys import nearest
from fluxbatch.planning.reading.cells import as_seen
from fluxbatch.planning.templates import ABSENT, Scope, Uses

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fluxbatch.planning.catalog.rows import Cells

__all__ = ["Values"]


class Values(Scope):
    """The values of one job at a time. An empty cell is absent.

    Args:
        header: of the table; None if each row is a mapping with names of its own.
        renamed: headers by their new names.
        axes: names of the matrix.
    """

    def __init__(self, header: Sequence[str] | None, renamed: Mapping[str, str], axes: Sequence[str]) -> None:
        super().__init__(axes)
        self.header = header
        self._renamed = renamed
        self._axes = {name: number for number, name in enumerate(axes)}
        self._at: dict[str, Any] = {}
        for number, name in reversed([*enumerate(header or ())]):
            self._at[name] = number
        for name, of in renamed.items():
            self._at[name] = of if header is None else self._at[of]
        # of most lookups: what they would come to anyway, by the shortest way
        self._places = {name: at for name, at in self._at.items() if type(at) is int and name not in self._axes}
        self._places.pop("row", None)
        self._row = _Row(self)
        self._cells: Cells = ()
        self._choice: Sequence[Any] = ()
        self._empty: Any = ABSENT

    def take(self, cells: Cells) -> None:
        """Go to the next row."""
        self._cells = cells
        self.row += 1

    def choose(self, number: int, choice: Sequence[Any]) -> None:
        """Choose from the matrix, a value for each of its names."""
        self._choice = choice
        self.choice = number

    def keep_empty(self, *, keep: bool) -> None:
        """Whether an empty cell is empty text, as conditions want it, or absent."""
        self._empty = "" if keep else ABSENT

    def resolve_or_missing(self, key: str) -> Any:
        """The value of a name, or ``ABSENT``."""
        at = self._places.get(key)
        if at is not None and at < len(self._cells):
            value = self._cells[at]  # type: ignore[index]  # only with a header are there places
            if type(value) is str:
                return value.strip() or self._empty
        axis = self._axes.get(key)
        if axis is not None:
            return self._choice[axis]
        if key == "row":
            return self._row
        return self.cell(key)

    def cell(self, name: str) -> Any:
        """The cell of a column by its header or new name, or ``ABSENT``."""
        at = self._at.get(name, name)
        try:
            value = self._cells[at]
        except (LookupError, TypeError):  # a short row, a mapping without it; a name that is no column
            if self.header is None or name not in self._at:
                return ABSENT
            return self._empty
        value = value.strip() if type(value) is str else as_seen(value)
        return self._empty if value == "" else value

    def knows(self, name: str) -> bool:
        """Whether a name can be there at all; without a header, any can."""
        return self.header is None or name in self._axes or name in self._at

    def absent(self, uses: Uses) -> list[str]:
        """Columns that a template needs and this row does not have, as the table calls them."""
        names = [self._renamed.get(name, name) for name in uses.names if self.resolve_or_missing(name) is ABSENT]
        return sorted({*names, *(header for header in uses.headers if self.cell(header) is ABSENT)})

    def lack(self, column: str) -> str:
        """The complaint about a column that is absent."""
        if self.header is not None or column in self._cells:
            return f"the column {column!r} is empty"
        meant = nearest(column, self._cells)
        return f"the row has no {column!r}" + (f", did you mean {meant!r}?" if meant else "")

    def similar(self, name: str) -> str:
        """The name that is most like one that is not there, empty if none is."""
        return nearest(name, [*(self.header or ()), *self._renamed, *self._axes])


class _Row:
    """The cells by their headers, for ``row["…"]``. It has nothing else that a template could reach."""

    __slots__ = ("_values",)

    def __init__(self, values: Values) -> None:
        self._values = values

    def __getitem__(self, header: object) -> Any:
        value = self._values.cell(header) if isinstance(header, str) else ABSENT
        if value is ABSENT:
            raise KeyError(header)
        return value
