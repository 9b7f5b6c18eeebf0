"""A table of images as people filled it in: what they say of each, and what they can't mean."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from fluxbatch.errors import UsageError
from fluxbatch.model.problem import Problem, Where
from fluxbatch.model.review import LONGEST_NAME, LONGEST_NOTE, Verdict
from fluxbatch.planning.flaw import Unreadable, shown
from fluxbatch.planning.formulas import as_written
from fluxbatch.planning.keys import nearest
from fluxbatch.planning.reading.table import table_records
from fluxbatch.planning.reviews import BadLine, read_moment

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

__all__ = ["FilledRow", "plain_lines", "read_rows"]

_NEEDED: Final = ("id", "verdict", "sha256")
_FACTS: Final = ("file", "model", "seed")
_NAMES: Final = (*_NEEDED, *_FACTS, "prompt", "note", "by", "at")
_WORDS: Final = {"": None, "unreviewed": None, "none": None, "outdated": None} | {word: word for word in Verdict}


@dataclass(frozen=True, slots=True)
class FilledRow:
    """A row as somebody filled it in.

    Attributes:
        line: where it begins, 1-based.
        note, prompt: None if there is no such column; no prompt is none as well.
        by: empty if nobody is named.
        seen_at: ``at`` of the review that they saw, empty if there was none; None if the table doesn't tell.
        others: cells of columns that tell what was made, by name.
    """

    line: int
    id: str
    sha256: str
    verdict: Verdict | None
    note: str | None
    prompt: str | None
    by: str
    seen_at: str | None
    others: dict[str, str]


def plain_lines(text: str) -> str:
    """Text with line ends that every program leaves alone."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_rows(path: Path, problems: list[Problem]) -> list[FilledRow]:
    """The rows of a table; what is wrong with its cells goes to ``problems``. Blocks.

    Raises:
        UsageError: it can't be read, or a column that is needed is missing.
    """
    if path.suffix.lower() not in {".csv", ".tsv", ".xlsx"}:
        raise UsageError(f"{path}: {path.suffix!r} is no kind of table here", remedy="name a .csv, .tsv or .xlsx")
    rows: list[FilledRow] = []
    try:
        records = table_records(path)
        line, header = next(records, (0, ()))
        names = [str(cell).strip().lower() for cell in header]
        _check_header(names, path, line)
        seen: dict[str, int] = {}
        for line, cells in records:
            values = {name: _text(cell) for name, cell in zip(names, cells, strict=False) if name in _NAMES}
            if any(values.values()):
                row = _row(line, values, _Complain(str(path), line, values.get("id", ""), problems))
                _note_twice(row, seen, str(path), problems)
                rows.append(row)
    except Unreadable as problem:
        where = f"{path}:{problem.line}" if problem.line else path
        raise UsageError(f"{where}: {problem.message}", remedy=problem.remedy) from None
    except OSError as error:
        raise UsageError(
            f"{path} can't be read: {error.strerror or error}", remedy="name the filled-in table"
        ) from None
    return rows


def _check_header(names: Sequence[str], path: Path, line: int) -> None:
    missing = [name for name in _NEEDED if name not in names]
    if missing:
        near = nearest(missing[0], names)
        remedy = f"did you mean {near!r}?" if near else "write the table with --export, and keep these columns"
        raise UsageError(f"{path}:{line}: there is no column {', '.join(missing)}", remedy=remedy)
    twice = [name for name, count in Counter(names).items() if count > 1 and name in _NAMES]
    if twice:
        raise UsageError(f"{path}:{line}: the column {twice[0]!r} stands twice", remedy="remove one")


@dataclass(frozen=True, slots=True)
class _Complain:
    file: str
    line: int
    id: str
    problems: list[Problem]

    def __call__(self, column: str, message: str, remedy: str) -> None:
        self.problems.append(Problem(Where(self.file, self.line), message, remedy, column, self.id[:200]))


def _row(line: int, values: dict[str, str], complain: Callable[[str, str, str], None]) -> FilledRow:
    word = values["verdict"].strip().lower()
    if word not in _WORDS:
        near = nearest(word, [verdict.value for verdict in Verdict])
        remedy = f"did you mean {near!r}?" if near else "write approved or rejected, or leave it empty"
        complain("verdict", f"{shown(values['verdict'])} is no verdict", remedy)
    if not values["id"]:
        complain("id", "is empty", "keep the ids as they were written")
    if not values["sha256"]:
        complain("sha256", "is empty", "keep it as it was written: it tells which image was looked at")
    note, prompt, by = values.get("note"), values.get("prompt", ""), values.get("by", "").strip()
    if note is not None and len(note) > LONGEST_NOTE:
        complain("note", f"has {len(note):,} characters", f"{LONGEST_NOTE:,} are the most")
    if len(by) > LONGEST_NAME:
        complain("by", f"has {len(by):,} characters", f"{LONGEST_NAME:,} are the most")
    verdict = _WORDS.get(word)
    return FilledRow(
        line=line,
        id=values["id"],
        sha256=values["sha256"].strip().lower(),
        verdict=None if verdict is None else Verdict(verdict),
        note=note,
        prompt=prompt if prompt.strip() else None,
        by=by,
        seen_at=_seen_at(values.get("at")),
        others={name: values[name] for name in _FACTS if name in values},
    )


def _seen_at(cell: str | None) -> str | None:
    """The moment of the review that was seen; None if a spreadsheet made something else of it."""
    if not cell:
        return cell
    try:
        read_moment(cell)
    except BadLine:
        return None
    return cell


def _note_twice(row: FilledRow, seen: dict[str, int], file: str, problems: list[Problem]) -> None:
    if row.id in seen:
        message = f"stands in line {seen[row.id]} already"
        problems.append(Problem(Where(file, row.line), message, "leave one of them", "id", row.id[:200]))
    elif row.id:
        seen[row.id] = row.line


def _text(cell: Any) -> str:
    return as_written(plain_lines(str(cell)))
