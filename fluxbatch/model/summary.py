"""The account of a run."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Pause", "Progress", "Stop", "Summary"]


@dataclass(frozen=True, slots=True)
class Pause:
    """What nothing is sent to for a while.

    Attributes:
        model: that alone; empty for all.
        left_s: seconds to go.
        why: for people.
    """

    model: str
    left_s: float
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How a run stands at a moment.

    Attributes:
        make: images that the plan asks for.
        made, failed: how many of them are on disk, and failed.
        in_flight: requests under way.
        owed: images paid for that are being fetched or wait for it.
        spent_usd, unknown_usd: USD surely and maybe billed by this run.
        elapsed_s: seconds since the first request could be sent.
        stopping: why nothing new is sent, empty if it is; ``stopping_s``: for how many seconds.
        limit, limit_why: requests that may be in flight at a time, and why that changed last.
        url_age_s, url_life_s: age and lifetime of the URL that dies first of those owed, seconds; None if none is.
        per_minute, left_s: images made a minute of late, seconds to go at that pace; None if it can't be told.
        cap_usd, carried_usd: the cap, and what earlier runs have spent of it.
        budget_usd, budget_spent_usd: the budget of a period (None without one), and what was spent of it by all runs.
        budget_period: ``day``, ``week`` or ``month``.
        closes: when the window closes, as its clock shows it, empty without one; ``closes_s``: seconds until then.
        recent: the last failures: job id, message, remedy.
        pauses: what nothing is sent to, and for how long yet.
        simulated: no money, no model.
    """

    make: int
    made: int
    failed: int
    in_flight: int
    owed: int
    spent_usd: float
    unknown_usd: float
    elapsed_s: float
    stopping: str = ""
    stopping_s: float = 0.0
    limit: int = 0
    limit_why: str = ""
    url_age_s: float | None = None
    url_life_s: float = 0.0
    per_minute: float = 0.0
    left_s: float | None = None
    cap_usd: float | None = None
    carried_usd: float = 0.0
    budget_usd: float | None = None
    budget_spent_usd: float = 0.0
    budget_period: str = ""
    closes: str = ""
    closes_s: float = 0.0
    recent: tuple[tuple[str, str, str], ...] = ()
    pauses: tuple[Pause, ...] = ()
    simulated: bool = False


@dataclass(frozen=True, slots=True)
class Stop:
    """Why a run sends nothing more although there is work left.

    Attributes:
        reason: one word for scripts.
        message: for people.
        remedy: what to do about it.
        exit_code: of the command line, should work be left in the end.
        before: what had stopped it already when a person interrupted, for people.
    """

    reason: str
    message: str
    remedy: str = ""
    exit_code: int = 3
    before: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What a run did. ``total = stored + failed + pending``; ``cached`` is the part of stored that it did not make.

    Attributes:
        requests: requests sent by this run, ``charged`` and ``unknown_charges`` what came of them.
        lost: images paid for and never stored.
        cost_usd, unknown_usd: USD surely and maybe billed by this run.
        wall_s: seconds from start to end.
        url_age_p50_s, url_age_max_s: seconds from generation to the last byte, of images fetched by this run.
        stop_reason: one word; empty if the run went through.
        failures: failed jobs by error code (not part of the stable JSON).
        stop: the whole of the reason (likewise).
        rescue: where steps are kept that the ledger could not take, empty if it took all (likewise).
        refused: requests that met a rate limit (likewise).
        limits: requests at a time that the API was found to take, by model, ``""`` over all (likewise).
        flags: images that may not be what was asked for, by flag; no failures.
        forgiven: why the exit code is a milder one than the run came to, empty if it is not (likewise).
    """

    run_id: str
    total: int
    stored: int
    cached: int
    failed: int
    pending: int
    requests: int
    charged: int
    unknown_charges: int
    lost: int
    cost_usd: float
    unknown_usd: float
    wall_s: float
    url_age_p50_s: float | None
    url_age_max_s: float | None
    stop_reason: str
    exit_code: int
    simulated: bool
    failures: Mapping[str, int]
    stop: Stop | None = None
    rescue: str = ""
    refused: int = 0
    limits: Mapping[str, int] = field(default_factory=dict)
    flags: Mapping[str, int] = field(default_factory=dict)
    forgiven: str = ""

    @property
    def stopped_early(self) -> bool:
        """Whether something is left for a reason, also for one that the caller lets pass."""
        return self.stop is not None and (self.exit_code >= 3 or bool(self.forgiven and self.pending))

    def as_dict(self) -> dict[str, Any]:
        """The summary object that ``--json`` prints."""
        facts = asdict(self)
        for name in ("failures", "stop", "rescue", "refused", "limits", "forgiven"):
            del facts[name]
        for name in ("cost_usd", "unknown_usd"):
            facts[name] = round(facts[name], 6)
        for name in ("wall_s", "url_age_p50_s", "url_age_max_s"):
            facts[name] = None if facts[name] is None else round(facts[name], 3)
        return facts
