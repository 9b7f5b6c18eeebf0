"""A catalogue as it is written: its table, its matrix, and what each job is made of."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any, Final

from fluxbatch.planning.catalog.bounds import MOST_CHOICES, excess
from fluxbatch.planning.catalog.fields import CATALOG_KEYS
from fluxbatch.planning.catalog.job import Compiler, is_dynamic, merged
from fluxbatch.planning.catalog.rows import Rows, open_rows
from fluxbatch.planning.catalog.values import Values
from fluxbatch.planning.catalog.where import read_where
from fluxbatch.planning.flaw import Unreadable, shown
from fluxbatch.planning.keys import forbidden, near_miss, nearest
from fluxbatch.planning.names import IMAGE_FIELDS, JOB_KEYS
from fluxbatch.planning.prompt_files import PromptFiles
from fluxbatch.planning.reading.constants import checked_constants, inherited
from fluxbatch.planning.reading.draft import Fault
from fluxbatch.planning.reading.encoding import known_encoding
from fluxbatch.planning.reading.marked import Items, Table, lines_of
from fluxbatch.planning.templates import BadTemplate, is_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from fluxbatch.planning.catalog.job import Maker
    from fluxbatch.planning.catalog.where import Where
    from fluxbatch.planning.reading.draft import Opened
    from fluxbatch.planning.templates import Uses

__all__ = ["Definition", "define"]

_IMAGE_KEYS: Final = frozenset({"images", *IMAGE_FIELDS})
_MERGED: Final = ("meta", "extra")


@dataclass(frozen=True, slots=True)
class Definition:
    """A catalogue that is in order.

    Attributes:
        rows: of its table.
        values: what templates may name; they stand for one job at a time.
        choices: of the matrix, each with a value for each of its names.
        where: which rows are wanted; None for all.
        constants: fields that are the same for all jobs.
        makers: of the other fields.
        lines: of its keys.
        each: jobs of a row and a choice, by ``variants`` and ``chain``, as far as those are the same for all.
    """

    rows: Rows
    values: Values
    choices: Sequence[Sequence[Any]]
    where: Where | None
    constants: Mapping[str, Any]
    makers: Sequence[tuple[str, Maker]]
    lines: Mapping[str, int]
    each: int


def define(table: Table, prefix: str, defaults: Table, opened: Opened) -> Definition | None:
    """What a catalogue says; None if something is wrong with it as a whole, which goes to the faults of ``opened``.

    Args:
        table: the catalogue.
        prefix: what it is called in messages, as ``catalog[2]``.
        defaults: what all jobs of its document have in common.
        opened: its document.
    """
    draft = _Draft(table, prefix, defaults, opened)
    found = draft.definition()
    opened.faults.extend(draft.faults)
    return None if found is None or any(not fault.warning for fault in draft.faults) else found


class _Draft:
    """Reads a catalogue, and collects what is wrong with it."""

    def __init__(self, table: Table, prefix: str, defaults: Table, opened: Opened) -> None:
        self._table = table
        self._prefix = prefix
        self._defaults = defaults
        self._base = opened.base
        self._tables = opened.tables
        self.faults: list[Fault] = []
        self._compiler = Compiler(prefix, self.faults, PromptFiles(opened.base))
        self._constants: dict[str, Any] = {}
        self._makers: list[tuple[str, Maker]] = []
        self._lines: dict[str, int] = {}
        self._open: Callable[[list[Fault]], Rows]

    def definition(self) -> Definition | None:
        """All of it; None if there are no rows."""
        self._check_keys()
        rows = self._rows()
        axes = self._axes()
        renamed = self._renamed(rows)
        values = Values(rows.header if rows else None, renamed, list(axes))
        self._compile()
        where = self._where()
        if rows is None:
            return None
        self._check_names(rows, values, {*axes}, renamed, where)
        choices = [*product(*axes.values())]
        each = self._each()
        if where is None and all(fault.warning for fault in self.faults):
            self._check_count(rows, len(choices) * each)
        return Definition(rows, values, choices, where, self._constants, self._makers, self._lines, each)

    def _fault(self, key: str, message: str, remedy: str, line: int = 0) -> None:
        line = line or self._table.lines.get(key, self._table.line)
        self.faults.append(Fault(line, message, remedy, f"{self._prefix}.{key}" if key else self._prefix))

    def _check_keys(self) -> None:
        for key in self._table:
            if key in CATALOG_KEYS or key in JOB_KEYS:
                continue
            flaw = forbidden(key)
            meant = nearest(key, CATALOG_KEYS) or near_miss(key) or nearest(key, JOB_KEYS)
            remedy = f"did you mean {meant!r}?" if meant else "new fields of the API go under 'extra'"
            message = f"{key!r} is neither a key of a catalogue nor a field of a job"
            self._fault(key, flaw.message if flaw else message, flaw.remedy if flaw else remedy)

    def _option(self, key: str, remedy: str) -> str:
        value = self._table.get(key)
        if value is None:
            return ""
        if isinstance(value, str) and value.strip():
            return value.strip()
        self._fault(key, f"{shown(value)} is not text", remedy)
        return ""

    def _rows(self) -> Rows | None:
        encoding = self._option("encoding", "write encoding: cp1252")
        sheet = self._option("sheet", "write the name of the sheet in quotes")
        if encoding and not known_encoding(encoding):
            self._fault("encoding", f"{encoding!r} is not an encoding", "write utf-8, gb18030, cp1252 …")
            encoding = ""
        written = self._table.get("rows")
        if written is None and "matrix" in self._table:
            return Rows("", (), iter([(self._table.line, ())]))
        if written is None:
            self._fault("rows", "there are no rows", "write rows: products.csv")
            return None
        self._open = partial(open_rows, written, self._base, encoding, sheet)
        rows = self._opened(self.faults)
        if rows is not None and rows.label:
            self._tables[rows.label] = (encoding, sheet)
        return rows

    def _opened(self, faults: list[Fault]) -> Rows | None:
        try:
            return self._open(faults)
        except Unreadable as problem:
            self._fault("rows", problem.message, problem.remedy, problem.line)
            return None

    def _axes(self) -> dict[str, list[Any]]:
        """The lists of the matrix by their names."""
        matrix = self._table.get("matrix")
        if matrix is None:
            return {}
        if not isinstance(matrix, Table):
            self._fault("matrix", "is not a mapping of names to lists", "write {scene: [beach, studio]}")
            return {}
        axes: dict[str, list[Any]] = {}
        for name, values in matrix.items():
            line = matrix.lines[name]
            if not is_name(name):
                self._fault(f"matrix.{name}", "templates can't name it so", "use letters, digits and '_'", line)
            elif not isinstance(values, Items) or not values:
                self._fault(f"matrix.{name}", "is not a list of values", f"write {name}: [one, two]", line)
            elif any(value is None or isinstance(value, list) for value in values):
                self._fault(f"matrix.{name}", "has an entry that is no value", "write text, numbers or mappings", line)
            else:
                axes[name] = list(values)
        choices = prod(map(len, axes.values()))
        if choices > MOST_CHOICES:
            self._fault("matrix", f"makes {choices:,} jobs of each row", f"the limit is {MOST_CHOICES:,}")
            return {}
        return axes

    def _renamed(self, rows: Rows | None) -> dict[str, str]:
        """Headers by their new names, as far as they are right."""
        columns = self._table.get("columns")
        if columns is None:
            return {}
        if not isinstance(columns, Table):
            self._fault("columns", "is not a mapping of new names to headers", 'write {photo: "Main photo"}')
            return {}
        header = rows.header if rows else None
        renamed: dict[str, str] = {}
        for name, of in columns.items():
            field, line = f"columns.{name}", columns.lines[name]
            if not is_name(name):
                self._fault(field, "templates can't name it so", "use letters, digits and '_'", line)
            elif not isinstance(of, str) or not of.strip():
                self._fault(field, f"{shown(of)} is not a header", "write it in quotes, as in the table", line)
            elif header is not None and of.strip() not in header:
                meant = nearest(of, header)
                remedy = f"did you mean {meant!r}?" if meant else f"it has {_listed(header)}"
                self._fault(field, f"the table has no column {of!r}", remedy, line)
            elif header is not None and name in header and name != of.strip():
                self._fault(field, f"the table has a column {name!r} too", "choose another name", line)
            else:
                renamed[name] = of.strip()
        return renamed

    def _compile(self) -> None:
        """The job: the defaults, then the fields of the catalogue over them."""
        job = {key: value for key, value in self._table.items() if key in JOB_KEYS}
        if job.get("prompt") is not None and job.get("prompt_file") is not None:
            self._fault("prompt_file", "both 'prompt' and 'prompt_file' are given", "keep one of them")
        self._constants = inherited(self._defaults, job)
        self._lines = {**lines_of(self._defaults), **lines_of(self._table)}
        constant = Table(self._table.line)
        for key, value in job.items():
            made = self._compiler.field(key, value, self._table.lines[key])
            if not is_dynamic(made) and key not in _IMAGE_KEYS:
                constant.put(key, value, self._table.lines[key])
            self._put("prompt" if key == "prompt_file" and is_dynamic(made) else key, made)
        checked_constants(constant, self._prefix, self.faults)

    def _put(self, key: str, made: Any) -> None:
        common = self._defaults.get(key)
        if key in _MERGED and isinstance(common, dict):
            made = merged(common, made)
        if is_dynamic(made):
            self._makers.append((key, made))
        else:
            self._constants[key] = made

    def _each(self) -> int:
        variants = self._constants.get("variants")
        chain = self._constants.get("chain") or self._table.get("chain")
        steps = len(chain) if isinstance(chain, list) else 1
        return (variants if isinstance(variants, int) else 1) * max(1, steps)

    def _check_count(self, rows: Rows, jobs: int) -> None:
        """Count the rows, if each makes several jobs: then that takes a moment beside making them."""
        if jobs == 1:
            return
        flaw = excess(rows, jobs)
        if flaw is not None:
            key = next(key for key in ("matrix", "variants", "chain", "rows") if key in self._table)
            self._fault(key, flaw.message, flaw.remedy)
        elif "rows" not in self._table:
            rows.rows = iter([(self._table.line, ())])
        elif again := self._opened([]):
            rows.rows = again.rows

    def _where(self) -> Where | None:
        written = self._table.get("where")
        if written is None:
            return None
        try:
            return read_where(written)
        except BadTemplate as problem:
            self._fault("where", str(problem), "write stock | int > 0, without {{ }}; or {shop: [one, two]}")
            return None

    def _check_names(
        self, rows: Rows, values: Values, axes: set[str], renamed: dict[str, str], where: Where | None
    ) -> None:
        header = rows.header or ()
        for name in sorted(axes.intersection(header) | axes.intersection(renamed)):
            self._fault("matrix", f"{name!r} is also a column of the table", "give one of them another name")
        used = [(key, line, prose.uses) for key, line, prose in self._compiler.used]
        if where is not None:
            used.append(("where", self._table.lines["where"], where.uses))
        self._check_twice(header, renamed, used)
        unknown: dict[str, int] = {}
        for _, line, uses in used:
            for name in sorted(uses.names):
                if not values.knows(name):
                    unknown.setdefault(name, line)
            for name in sorted(uses.headers):
                if rows.header is not None and name not in header:
                    unknown.setdefault(name, line)
        if unknown:
            self._complain(unknown, rows, values)

    def _check_twice(
        self, header: Sequence[str], renamed: dict[str, str], used: Iterable[tuple[str, int, Uses]]
    ) -> None:
        names = {name for _, _, uses in used for name in uses.names | uses.headers}.union(renamed.values())
        for name in sorted(names):
            if header.count(name) > 1:
                self._fault("rows", f"the column {name!r} stands twice in the table", "rename one")

    def _complain(self, unknown: dict[str, int], rows: Rows, values: Values) -> None:
        names = ", ".join(repr(name) for name in unknown)
        meant = {name: similar for name in unknown if (similar := values.similar(name))}
        alone = len(unknown) == 1
        guesses = [f"did you mean {of!r}" + ("?" if alone else f" by {name!r}?") for name, of in meant.items()]
        what = f"{rows.label} has" if rows.label else "the rows have"
        guess = "".join(f"{text} " for text in guesses)
        has = f"it has {_listed(rows.header or ())}" if rows.header else "it has none"
        self._fault("", f"{what} no column {names}", f"{guess}{has}", next(iter(unknown.values())))


def _listed(header: Sequence[str]) -> str:
    named = [name for name in header if name]
    return ", ".join(shown(name) for name in named[:20]) + (" …" if len(named) > 20 else "")
