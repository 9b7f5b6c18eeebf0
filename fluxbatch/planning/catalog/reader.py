"""From a catalogue to its jobs: each row of the table, with each choice of the matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fluxbatch.planning.catalog.bounds import MOST_JOBS, SPLIT
from fluxbatch.planning.catalog.definition import define
from fluxbatch.planning.catalog.rows import is_blank
from fluxbatch.planning.flaw import Unreadable, shown
from fluxbatch.planning.reading.draft import Draft, Fault
from fluxbatch.planning.reading.marked import Items, Table
from fluxbatch.planning.templates import BadTemplate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fluxbatch.planning.catalog.definition import Definition
    from fluxbatch.planning.catalog.job import Problems
    from fluxbatch.planning.catalog.rows import CatalogRow
    from fluxbatch.planning.catalog.values import Values
    from fluxbatch.planning.catalog.where import Where
    from fluxbatch.planning.reading.draft import Opened

__all__ = ["catalog_drafts"]


def catalog_drafts(root: Table, defaults: Table, opened: Opened) -> Iterator[Draft | Unreadable]:
    """The jobs of all catalogues of a document.

    Args:
        root: of the document.
        defaults: what its jobs have in common, without what is wrong with it.
        opened: takes what is wrong with a catalogue as a whole.
    """
    value, line = root["catalog"], root.lines["catalog"]
    entries = [(value, "catalog", line)]
    if isinstance(value, Items):
        entries = [(entry, f"catalog[{n}]", value.lines[n - 1]) for n, entry in enumerate(value, 1)]
    if not entries:
        opened.faults.append(Fault(line, "the list of catalogues is empty", "write one, or leave it out", "catalog"))
    for entry, prefix, at in entries:
        if isinstance(entry, Table):
            found = define(entry, prefix, defaults, opened)
            if found is not None:
                yield from _Catalog(found, entry, prefix, opened).drafts()
        else:
            message = f"{shown(entry)} is not a mapping"
            opened.faults.append(Fault(at, message, "write rows: products.csv, prompt: …", prefix))


class _Catalog:
    """The jobs of one catalogue."""

    def __init__(self, definition: Definition, table: Table, prefix: str, opened: Opened) -> None:
        self._definition = definition
        self._table = table
        self._prefix = prefix
        self._opened = opened

    def drafts(self) -> Iterator[Draft | Unreadable]:
        """Its jobs in order: for each row, all choices of the matrix."""
        values, where = self._definition.values, self._definition.where
        # what names nothing of the matrix is the same for all its choices, which may be thousands
        by_choice = where is not None and not where.names.isdisjoint(values.axes)
        count = read = 0
        most = MOST_JOBS // self._definition.each
        for row in self._readable():
            read += 1
            if isinstance(row, Unreadable):
                count += 1
                yield row
                continue
            line, cells = row
            values.take(cells)
            amiss: Problems = []
            if where is not None and not by_choice and not _holds(where, values, amiss):
                continue
            for number, choice in enumerate(self._definition.choices):
                values.choose(number, choice)
                problems = [*amiss]
                if where is not None and by_choice and not _holds(where, values, problems):
                    continue
                count += 1
                if count > most:  # of a long table alone, or of what a condition picks
                    self._note("rows", f"makes more than {MOST_JOBS:,} jobs", SPLIT)
                    return
                yield self._draft(line, problems)
        if not read:
            self._note("rows", "has no rows", "write a header, then a row for each product")
        elif not count:
            self._note("where", "leaves no row", "numbers are text here: write stock | int > 0", warning=True)

    def _readable(self) -> Iterator[CatalogRow | Unreadable]:
        """The rows. Where nothing more can be read, that is told, and the jobs beside this catalogue go on."""
        rows = self._definition.rows
        width = len(rows.header or ())
        try:
            for row in rows.rows:
                if isinstance(row, Unreadable):
                    row.file = rows.label
                    yield row
                elif rows.header is None or not rows.label:
                    yield row
                elif len(row[1]) > width and not is_blank([*row[1]][width:]):
                    message = f"the row has {len(row[1])} cells, the header {width}"
                    remedy = 'a cell that contains the separator goes in "quotes"'
                    yield Unreadable(row[0], message, remedy, rows.label)
                elif not is_blank(row[1]):
                    yield row
        except Unreadable as problem:
            yield Unreadable(problem.line, problem.message, problem.remedy, rows.label)
            remedy = f"mend it at line {problem.line}" if problem.line else problem.remedy
            self._note("rows", f"{rows.label} can't be read to its end", remedy)
        except OSError as error:
            self._note("rows", f"{rows.label} can't be read: {error.strerror}", "check its permissions")

    def _draft(self, line: int, problems: Problems) -> Draft | Unreadable:
        found = self._definition
        label, made = found.rows.label, {} if problems else self._values(found.values, problems)
        if problems:
            return _unreadable(problems, line, label)
        return Draft(line, made, file=label) if label else Draft(line, made, found.lines)

    def _values(self, values: Values, problems: Problems) -> dict[str, Any]:
        made = dict(self._definition.constants)
        for key, maker in self._definition.makers:
            value = maker.make(values, problems)
            if value != "":  # as in a table, empty is the same as absent
                made[key] = value
        return made

    def _note(self, key: str, message: str, remedy: str, *, warning: bool = False) -> None:
        """Report what is found after the first row was read."""
        line = self._table.lines.get(key, self._table.line)
        self._opened.faults.append(Fault(line, message, remedy, f"{self._prefix}.{key}", warning))


def _holds(where: Where, values: Values, problems: Problems) -> bool:
    """Whether a row is wanted; so is one of which that can't be told, to be complained about."""
    try:
        return where.holds(values)
    except BadTemplate as problem:
        problems.append((f"where: {problem}", "cells are text: write stock | int > 0"))
        return True


def _unreadable(problems: Problems, line: int, label: str) -> Unreadable:
    return Unreadable(line, "; ".join(message for message, _ in problems), problems[0][1], label)
