"""Counts of a run, kept while it goes."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from fluxbatch.model.state import Charge, JobState

if TYPE_CHECKING:
    from fluxbatch.model.job import Step

__all__ = ["Account"]


class Account:
    """What this run sent, paid and stored; amounts are USD, ages seconds."""

    def __init__(self) -> None:
        self.requests = 0
        self.refused = 0
        self.charged = 0
        self.unknown = 0
        self.lost = 0
        self.stored = 0
        self.failed = 0
        self.cost_usd = 0.0
        self.unknown_usd = 0.0
        self._ages = array("f")

    def add(self, step: Step) -> None:
        """Count a step that was taken."""
        if step.charge is Charge.CHARGED:
            self.charged += 1
            self.cost_usd += step.usd
        elif step.charge is Charge.UNKNOWN:
            self.unknown += 1
            self.unknown_usd += step.usd
        self.lost += step.lost
        self.failed += step.to is JobState.FAILED
        if step.stored is not None:
            self.stored += 1
            if step.stored.url_age_s is not None:
                self._ages.append(step.stored.url_age_s)

    @property
    def url_age_p50_s(self) -> float | None:
        """Median age of a URL when its last byte came; None if none was fetched."""
        from statistics import median  # wanted once, at the very end: it takes longer to import than all of this

        return median(self._ages) if self._ages else None

    @property
    def url_age_max_s(self) -> float | None:
        """The oldest."""
        return max(self._ages) if self._ages else None
