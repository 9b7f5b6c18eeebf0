"""Collects what the checks find, in bounded memory, in the order of the manifests."""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass, replace
from typing import Final

from fluxbatch.errors import ManifestError
from fluxbatch.model.problem import Level, Problem, Where

__all__ = ["Findings"]

_MOST_ERRORS: Final = 200
_MOST_WARNINGS: Final = 50

_Key = tuple[str, int, str, str]


@dataclass(slots=True)
class _Kept:
    order: tuple[int, int, int]
    problem: Problem
    key: _Key
    more: int = 0

    def __lt__(self, other: _Kept) -> bool:
        return self.order < other.order


class _Shelf:
    """The first problems of one level by place in the manifests; the others are only counted."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: list[_Kept] = []
        self._by_key: dict[_Key, _Kept] = {}
        self.count = 0

    def add(self, problem: Problem, key: _Key, position: int) -> None:
        same = self._by_key.get(key)
        if same is not None:
            same.more += 1
            return
        kept = _Kept((position, problem.where.line, self.count), _one_line(problem), key)
        self.count += 1
        if len(self._kept) == self._most:
            if kept > self._kept[-1]:
                return
            del self._by_key[self._kept.pop().key]
        insort(self._kept, kept)
        self._by_key[key] = kept

    def first(self, count: int) -> list[Problem]:
        return [_told(kept) for kept in self._kept[:count]]


class Findings:
    """What the checks found.

    The first 200 errors and the first 50 warnings are kept, in the order of the manifests; all are counted. The same
    error at the same place (a default that is wrong for every job) and the same warning anywhere are one
    finding that says how many more jobs it is about.
    """

    def __init__(self) -> None:
        self._errors = _Shelf(_MOST_ERRORS)
        self._warnings = _Shelf(_MOST_WARNINGS)
        self._position = 0
        self._fatal = 0

    def add(self, problem: Problem, *, position: int | None = None, fatal: bool = False) -> None:
        """Take one finding.

        Args:
            problem: the finding.
            position: of its row over all manifests, which gives the order; without it, it goes where the last one went.
            fatal: it is about a manifest as a whole, so skipping jobs does not help.
        """
        if position is not None:
            self._position = position
        self._fatal += fatal and problem.level is Level.ERROR
        shelf = self._errors if problem.level is Level.ERROR else self._warnings
        shelf.add(problem, _key(problem), self._position)

    @property
    def errors(self) -> int:
        """How many errors there are."""
        return self._errors.count

    @property
    def fatal(self) -> int:
        """How many of the errors are about a manifest as a whole, not about one job that could be skipped."""
        return self._fatal

    @property
    def warnings(self) -> int:
        """How many warnings there are."""
        return self._warnings.count

    def first(self, count: int) -> list[Problem]:
        """The first findings in the order of the manifests: errors, then warnings as far as there is room."""
        errors = self._errors.first(count)
        return errors + self._warnings.first(count - len(errors))

    def raise_if_errors(self) -> None:
        """Refuse to go on if there is any error.

        Raises:
            ManifestError: with the first errors and their number in all.
        """
        if self.errors:
            raise ManifestError(self._errors.first(_MOST_ERRORS), total=self.errors)


def _key(problem: Problem) -> _Key:
    if problem.level is Level.ERROR:
        return (problem.where.file, problem.where.line, problem.field, problem.message)
    return ("", 0, problem.field, problem.message)


def _one_line(problem: Problem) -> Problem:
    """Values come from files of other people: a line break or an escape code must not reach a terminal as such."""
    where = Where(_printable(problem.where.file), problem.where.line)
    return replace(
        problem,
        where=where,
        message=_printable(problem.message),
        remedy=_printable(problem.remedy),
        field=_printable(problem.field),
        job_id=_printable(problem.job_id),
    )


def _printable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _told(kept: _Kept) -> Problem:
    if not kept.more:
        return kept.problem
    jobs = "job" if kept.more == 1 else "jobs"
    return replace(kept.problem, message=f"{kept.problem.message}, and the same in {kept.more:,} more {jobs}")
