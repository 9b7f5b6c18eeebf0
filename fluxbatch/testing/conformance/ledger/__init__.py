"""What every ``Ledger`` holds to."""

from __future__ import annotations

from typing import Final

from fluxbatch.testing.conformance.ledger import lives, plans, rows, runs, steps
from fluxbatch.testing.conformance.ledger.rig import Case, Factory, Rig

__all__ = ["CASES", "Case", "Factory", "Rig"]

CASES: Final[list[Case]] = [*runs.CASES, *steps.CASES, *plans.CASES, *lives.CASES, *rows.CASES]
