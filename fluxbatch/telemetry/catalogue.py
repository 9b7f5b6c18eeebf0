"""Every event by name: what it tells, how loud it is, and what it carries. Whoever reads logs reads this table."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Final, get_args

from fluxbatch.model.events import Event

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["CATALOGUE", "Told"]


@dataclass(frozen=True, slots=True)
class Told:
    """What there is to know of one event.

    Attributes:
        meaning: for people.
        level: of its line in the log.
        carries: names of its fields, beside ``at`` and ``run_id``.
        in_file: whether ``events.jsonl`` has it; if not, only the log in JSON does.
    """

    meaning: str
    level: str
    carries: tuple[str, ...]
    in_file: bool = True


_KINDS: Final[Mapping[str, tuple[str, str]]] = {
    "run.started": ("info", "requests follow: images to make, to keep, and to fetch from URLs of earlier runs"),
    "job.submitted": ("debug", "a request is about to be sent"),
    "job.granted": ("debug", "the image is made and paid for; its URL dies in seconds_left"),
    "job.stored": ("debug", "the image is on disk, verified; info in a run of few images"),
    "job.requeued": ("debug", "an attempt failed, another follows in delay_s seconds; warning if it may be billed"),
    "delivery.retried": ("debug", "a download failed and is tried again in delay_s seconds"),
    "job.lost": ("warning", "a paid image can't be fetched any more; again: it is made once more"),
    "job.failed": ("warning", "the end of this job in this run"),
    "limit.changed": (
        "debug",
        "so many may be in flight now; cause: start, models, growth, probe, refused or undone",
    ),
    "run.paused": ("warning", "nothing of this scope is sent for so many seconds; asked: by the API's own word"),
    "run.rescued": ("warning", "steps that an earlier run could not write into its ledger are in it now"),
    "run.stopping": ("warning", "nothing new is sent; what is in flight or owed is finished first"),
    "run.ended": ("debug", "the account of the run is settled"),
}

_OF_THE_LOG: Final[Mapping[str, Told]] = {
    "run.progress": Told(
        "how the run stands, now and then",
        "info",
        (
            *("make", "made", "failed", "in_flight", "owed", "spent_usd", "unknown_usd", "limit", "paused_s"),
            *("simulated", "budget_usd", "budget_spent_usd", "closes_s"),
        ),
        in_file=False,
    ),
    "page": Told("where the run can be watched, and who can", "info", ("url", "message"), in_file=False),
    "check": Told("what the checks found in a manifest", "warning", ("where", "job_id", "message"), in_file=False),
    "error": Told(
        "why nothing was run, or no more of it",
        "error",
        ("message", "remedy", "exit_code", "where", "job_id", "field"),
        in_file=False,
    ),
}


def _catalogue() -> dict[str, Told]:
    kinds = {kind.name: kind for kind in get_args(Event)}
    carried = {
        name: tuple(field.name for field in fields(kind) if field.name not in {"at", "run_id"})
        for name, kind in kinds.items()
    }
    told = {name: Told(meaning, level, carried[name]) for name, (level, meaning) in _KINDS.items()}
    return {**told, **_OF_THE_LOG}


CATALOGUE: Final[Mapping[str, Told]] = _catalogue()
