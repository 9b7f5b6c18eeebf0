"""Mappings, lists and numbers that know where and how they were written."""

from __future__ import annotations

from typing import Any, Self

__all__ = ["Items", "Numeral", "Table", "lines_of"]


class Table(dict[str, Any]):
    """A mapping of a document. ``line`` is where it begins, ``lines`` where each key stands, 1-based."""

    __slots__ = ("line", "lines")

    def __init__(self, line: int) -> None:
        super().__init__()
        self.line = line
        self.lines: dict[str, int] = {}

    def put(self, key: str, value: Any, line: int) -> None:
        """Set a key that stands on ``line``."""
        self[key] = value
        self.lines[key] = line


class Items(list[Any]):
    """A list of a document. ``lines`` has the line of each entry, 1-based."""

    __slots__ = ("line", "lines")

    def __init__(self, line: int) -> None:
        super().__init__()
        self.line = line
        self.lines: list[int] = []

    def put(self, value: Any, line: int) -> None:
        """Append an entry that stands on ``line``."""
        self.append(value)
        self.lines.append(line)


class Numeral(int):
    """A whole number that was not written in its usual form: ``written`` keeps the zeros of an id ``007``."""

    written: str

    def __new__(cls, number: int, written: str) -> Self:
        """A number and how it was written."""
        numeral = super().__new__(cls, number)
        numeral.written = written
        return numeral


def lines_of(table: Table) -> dict[str, int]:
    """Lines of keys, of list entries (``images[1]``), and of the keys of mappings (``extra.new_field``)."""
    lines = dict(table.lines)
    for key, value in table.items():
        if isinstance(value, Items):
            lines.update({f"{key}[{number}]": line for number, line in enumerate(value.lines, 1)})
        elif isinstance(value, Table):
            lines.update({f"{key}.{name}": line for name, line in value.lines.items()})
    return lines
