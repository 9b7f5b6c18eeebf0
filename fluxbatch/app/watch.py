"""How a run stands, looked at from time to time; costs the run nothing in between."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final

from fluxbatch.model.events import JobFailed, LimitChanged, RunPaused
from fluxbatch.model.limits import LimitCause
from fluxbatch.model.summary import Pause, Progress
from fluxbatch.policy.remedies import REMEDY
from fluxbatch.telemetry.observers import Observers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fluxbatch.engine import Desk, Engine
    from fluxbatch.model.events import Event
    from fluxbatch.planning.quote import Quote

__all__ = ["Watch"]

_KEPT: Final = 5
_WINDOW_S: Final = 60.0
_LONGEST: Final = 500
"""characters of a message that are kept"""
_CAUSES: Final[Mapping[LimitCause, str]] = {
    LimitCause.START: "as it began",
    LimitCause.MODELS: "another model is asked for",
    LimitCause.GROWTH: "answers got through",
    LimitCause.PROBE: "one more than found so far is tried",
    LimitCause.REFUSED: "a rate limit was met",
    LimitCause.UNDONE: "fewer were refused as well",
}


class Watch:
    """Looks at one run, and hears of its events."""

    def __init__(self, engine: Engine, desk: Desk, quote: Quote, *, simulated: bool = False) -> None:
        self._engine, self._desk, self._simulated = engine, desk, simulated
        self._total = quote.make + quote.owed + quote.fetch
        self._begun = desk.clock.monotonic()
        self._stored, self._failed = desk.account.stored, desk.account.failed  # before the plan
        self._why = ""
        self._pauses: dict[str, tuple[float, str]] = {}
        self._stopped_at: float | None = None
        self._closes_at = 0.0
        self._samples = deque([(self._begun, 0)])
        self._recent: deque[tuple[str, str, str]] = deque(maxlen=_KEPT)
        desk.observer = Observers([desk.observer, self])

    def note(self, event: Event) -> None:
        """Keep the last failures, why the limit changed, and what pauses."""
        match event:
            case JobFailed(failure=failure):
                self._recent.append((event.job_id, failure.message[:_LONGEST], REMEDY[failure.reason]))
            case LimitChanged():
                self._why = f"was {event.before}: {_CAUSES[event.cause]}" if event.before else ""
            case RunPaused():
                until = self._desk.clock.monotonic() + event.seconds
                if until > self._pauses.get(event.model, (0.0, ""))[0]:
                    self._pauses[event.model] = until, _why(event)
            case _:
                pass

    def look(self) -> Progress:
        """How things stand now."""
        desk, account, now = self._desk, self._desk.account, self._desk.clock.monotonic()
        made, failed = account.stored - self._stored, account.failed - self._failed
        if desk.stop is not None and self._stopped_at is None:
            self._stopped_at = now
        pace = self._pace(now, made)
        lease = self._engine.first_to_die
        going = pace > 0 and desk.stop is None
        return Progress(
            make=self._total,
            made=made,
            failed=failed,
            in_flight=desk.in_flight,
            owed=desk.owed,
            spent_usd=account.cost_usd,
            unknown_usd=account.unknown_usd,
            elapsed_s=now - self._begun,
            stopping=desk.stop.message if desk.stop is not None else "",
            stopping_s=now - self._stopped_at if self._stopped_at is not None else 0.0,
            limit=desk.limiter.limit,
            limit_why=self._why,
            url_age_s=None if lease is None else max(0.0, desk.clock.now() - lease.granted_at),
            url_life_s=0.0 if lease is None else lease.deadline - lease.granted_at,
            per_minute=pace * 60,
            left_s=max(0, self._total - made - failed) / pace if going else None,
            cap_usd=desk.settings.max_cost_usd,
            carried_usd=desk.budget.carried,
            **self._calendar(),
            recent=tuple(self._recent),
            pauses=self._under_way(now),
            simulated=self._simulated,
        )

    def _calendar(self) -> dict[str, Any]:
        """What the budget of a period and the hours leave."""
        desk, now = self._desk, self._desk.clock.now()
        found: dict[str, Any] = {}
        if desk.budget.allowance is not None:
            found = {
                "budget_usd": desk.budget.allowance.usd,
                "budget_spent_usd": desk.budget.spent_in_period(now),
                "budget_period": desk.budget.allowance.period,
            }
        if desk.window is not None and desk.window.is_open(now):
            if now >= self._closes_at:  # to find out takes a millisecond
                self._closes_at = desk.window.changes_at(now)
            found |= {"closes": desk.window.local(self._closes_at), "closes_s": self._closes_at - now}
        return found

    def _pace(self, now: float, made: int) -> float:
        """Images a second, over the last minute."""
        if now - self._samples[-1][0] >= 1:
            self._samples.append((now, made))
        while len(self._samples) > 1 and self._samples[0][0] < now - _WINDOW_S:
            self._samples.popleft()
        since, before = self._samples[0]
        return (made - before) / (now - since) if now > since else 0.0

    def _under_way(self, now: float) -> tuple[Pause, ...]:
        """Pauses that are not over, the one that holds all back first."""
        self._pauses = {model: pause for model, pause in self._pauses.items() if pause[0] > now}
        return tuple(Pause(model, until - now, why) for model, (until, why) in sorted(self._pauses.items()))


def _why(event: RunPaused) -> str:
    words = event.reason.replace("_", " ") or event.scope
    return f"{words}, for as long as the API asked" if event.asked else words
