"""What every ``Sink`` and its landings hold to."""

from __future__ import annotations

from typing import Final

from fluxbatch.testing.conformance.sink import landings, obstacles, outputs
from fluxbatch.testing.conformance.sink.rig import Case, Factory, Rig

__all__ = ["CASES", "Case", "Factory", "Rig"]

CASES: Final[list[Case]] = [*landings.CASES, *obstacles.CASES, *outputs.CASES]
