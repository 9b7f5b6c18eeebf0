"""What a run found out about an API, remembered for the next one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import orjson

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fluxbatch.ports import Memo

__all__ = ["Learned", "recall", "remember"]

_LIFE_S: Final = 24 * 3600.0
"""limits and loads are other people's, too: yesterday's say little"""


@dataclass(frozen=True, slots=True)
class Learned:
    """What was found out.

    Attributes:
        limits: requests at a time, by model (``""``: over all).
        answer_s: seconds that the slower answers took; None if none came.
    """

    limits: Mapping[str, int] = field(default_factory=dict)
    answer_s: float | None = None


def recall(memo: Memo, base_url: str, now: float) -> Learned:
    """What is known of this API, if it is not too old. Blocks."""
    found = memo.get([_key(base_url)])
    try:
        note = orjson.loads(found[_key(base_url)])
        if not 0 <= now - float(note["at"]) <= _LIFE_S:
            return Learned()
        answer_s = note.get("answer_s")
        limits = {str(model): int(limit) for model, limit in note["limits"].items()}
        return Learned(limits, None if answer_s is None else float(answer_s))
    except (KeyError, ValueError, TypeError, AttributeError):
        return Learned()


def remember(memo: Memo, base_url: str, now: float, learned: Learned) -> None:
    """Remember it. Blocks."""
    if learned.limits or learned.answer_s is not None:
        note = {"at": now, "limits": dict(learned.limits), "answer_s": learned.answer_s}
        memo.put({_key(base_url): orjson.dumps(note)})


def _key(base_url: str) -> str:
    return f"limits of {base_url}"
