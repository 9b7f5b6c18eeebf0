"""How much a catalogue may ask for, found out before its jobs are made where that is possible."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fluxbatch.planning.catalog.rows import is_blank
from fluxbatch.planning.flaw import Flaw, Unreadable

if TYPE_CHECKING:
    from fluxbatch.planning.catalog.rows import Rows

__all__ = ["MOST_CHOICES", "MOST_JOBS", "SPLIT", "excess"]

MOST_CHOICES: Final = 100_000
"""of the matrix, for each row"""
MOST_JOBS: Final = 5_000_000
"""of one catalogue: more than the largest tables have rows, and far less than what a slip asks for"""
SPLIT: Final = "split the table over several manifests"


def excess(rows: Rows, jobs: int) -> Flaw | None:
    """What is wrong if a catalogue asks for too much; its rows are read for that, as far as need be.

    Args:
        rows: of the table, of which all are wanted.
        jobs: of each row.
    """
    most = MOST_JOBS // jobs
    if not most:
        return Flaw("", f"makes {jobs:,} jobs of each row", f"the limit is {MOST_JOBS:,}: shorten the lists")
    if _count(rows, most + 1) <= most:
        return None
    message = f"makes {jobs:,} jobs of each row, and there are more than {most:,} rows"
    return Flaw("", message, f"the limit is {MOST_JOBS:,} jobs: shorten the lists, or {SPLIT}")


def _count(rows: Rows, most: int) -> int:
    """Rows that are not empty, as far as they can be read, but no more than ``most``."""
    count = 0
    try:
        for row in rows.rows:
            count += not isinstance(row, Unreadable) and not is_blank(row[1])
            if count >= most:
                break
    except (Unreadable, OSError):  # told when the rows are used
        return count
    return count
