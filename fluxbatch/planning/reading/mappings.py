"""Jobs given by Python: each mapping is a job, as in a document."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from fluxbatch.planning.flaw import Unreadable, shown
from fluxbatch.planning.reading.draft import Draft, Opened

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["open_mappings"]


def open_mappings(jobs: Iterable[Any], base: Path, label: str) -> Opened:
    """Stream jobs from an iterable; the "line" of a job is its number, from 1."""
    return Opened(label, base, _drafts(jobs))


def _drafts(jobs: Iterable[Any]) -> Iterator[Draft | Unreadable]:
    for number, job in enumerate(jobs, 1):
        if isinstance(job, Mapping):
            yield Draft(number, job)
        else:
            yield Unreadable(number, f"{shown(job)} is not a mapping of fields to values", "give a dict for each job")
