"""What the end of a request says about more than its own job: limits, outages, money at risk, reasons to stop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fluxbatch.model.answer import Action, Refused, Scope
from fluxbatch.model.events import LimitChanged, RunPaused
from fluxbatch.model.state import Charge
from fluxbatch.model.summary import Stop
from fluxbatch.policy.backoff import outage_pause_s
from fluxbatch.policy.remedies import REMEDY
from fluxbatch.policy.verdict import outcome_of
from fluxbatch.ports import Outcome

if TYPE_CHECKING:
    from fluxbatch.engine.desk import Desk
    from fluxbatch.model.answer import Answer, Verdict
    from fluxbatch.ports import Place

__all__ = ["Ticket", "Trouble"]

_WRONG_ADDRESS: Final = "check --base-url (FLUXBATCH_BASE_URL): it ends in /v1, without /images/generations"
_BILLED_IN_VAIN: Final = (
    "look at the gateway's call log, and for a proxy that cuts long answers off; then run the same command again"
)


@dataclass(slots=True)
class Ticket:
    """What a request holds until its end is known: its place under the limits, and whether it finds something out.

    Attributes:
        place: as the limiter gave it.
        probe: as the outage gave it.
        doubtful: it finds out whether its model gives images again.
        held: the place is not given back yet.
    """

    place: Place
    probe: int
    doubtful: bool
    held: bool = True


class Trouble:
    """Hears how every request ends, and has limits, pauses and stops follow."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._limit = 0

    def may_start(self, model: str) -> bool:
        """Whether one more request may be sent to a model, as far as troubles and limits go."""
        desk = self._desk
        if not (desk.outage.may_start() and desk.doubts[model].may_start()):
            return False
        return desk.limiter.admits(model, desk.clock.monotonic())

    def started(self, model: str) -> Ticket:
        """A request is about to be sent."""
        desk = self._desk
        place = desk.limiter.started(model, desk.clock.monotonic())
        self._tell_limit()
        return Ticket(place, desk.outage.started(), desk.doubts[model].started())

    def ended(self, ticket: Ticket, answer: Answer | None) -> float:
        """A request has ended; None: without having been sent. Returns the seconds that its scope pauses.

        May be called again: a ticket counts once.
        """
        if not ticket.held:
            return 0.0
        ticket.held = False
        desk, model = self._desk, ticket.place.model
        desk.outage.ended(ticket.probe)
        desk.doubts[model].ended(probe=ticket.doubtful)
        if isinstance(answer, Refused):
            return self._heed(ticket, answer.verdict)
        said = Outcome.UNSAID if answer is None else Outcome.ACCEPTED
        desk.limiter.finished(ticket.place, desk.clock.monotonic(), said)
        self._tell_limit()
        if answer is not None:
            desk.outage.answered()
            desk.doubts[model].image_came()
        return 0.0

    def _heed(self, ticket: Ticket, verdict: Verdict) -> float:
        desk, now = self._desk, self._desk.clock.monotonic()
        asked = verdict.pause if verdict.congestion else None
        seconds = desk.limiter.finished(ticket.place, now, outcome_of(verdict), scope=verdict.scope, asked=asked)
        self._tell_limit()
        self._tell_pause(ticket, verdict, seconds)
        if verdict.action is Action.STOP_RUN:
            address = verdict.scope is Scope.ENDPOINT
            remedy = _WRONG_ADDRESS if address else REMEDY[verdict.reason]
            desk.ask_to_stop(Stop("wrong_base_url" if address else verdict.reason, verdict.message, remedy))
        elif verdict.congestion:
            self._refused_as_too_much(verdict)
        elif verdict.scope is Scope.ENDPOINT:
            seconds = self._away(ticket, verdict)
        else:
            seconds = self._answered(ticket, verdict)
        if verdict.charge is Charge.UNKNOWN:
            seconds = max(seconds, self._unsure(ticket, verdict))
        return seconds

    def _answered(self, ticket: Ticket, verdict: Verdict) -> float:
        if verdict.http_status is not None:
            self._desk.outage.answered()
        elif self._gave_up_waiting(verdict):
            return 0.0
        seconds = 0.0 if verdict.pause is None else outage_pause_s(1, verdict.pause)
        return self._pause(ticket, verdict, seconds)

    def _refused_as_too_much(self, verdict: Verdict) -> None:
        desk, now = self._desk, self._desk.clock.monotonic()
        desk.account.refused += 1
        desk.outage.refused(now)
        if desk.outage.is_starved(now):
            minutes = desk.settings.outage_s / 60
            desk.ask_to_stop(
                Stop(
                    "rate_limited",
                    f"nothing but rate limits for {minutes:.0f} minutes: {verdict.message}",
                    "run the same command again later; --rpm N keeps below a quota that you know",
                )
            )

    def _away(self, ticket: Ticket, verdict: Verdict) -> float:
        seconds = self._desk.outage.failed(
            self._desk.clock.monotonic(), verdict.pause, somebody_there=verdict.http_status is not None
        )
        return 0.0 if self._gave_up_waiting(verdict) else self._pause(ticket, verdict, seconds)

    def _gave_up_waiting(self, verdict: Verdict) -> bool:
        desk, now = self._desk, self._desk.clock.monotonic()
        desk.outage.silent(now)
        if not desk.outage.is_over(now):
            return False
        remedy = "check the address and the network; run the same command again later"
        words = "the API can't be reached" if verdict.http_status is None else "the API stays away"
        desk.ask_to_stop(Stop("outage", f"{words}: {verdict.message}", remedy))
        return True

    def _unsure(self, ticket: Ticket, verdict: Verdict) -> float:
        """Maybe billed: a few in a row, and requests go out one by one; a few of those, and the run stops."""
        desk, model = self._desk, ticket.place.model
        doubt = desk.doubts[model]
        seconds = doubt.unknown(probe=ticket.doubtful)
        if doubt.is_certain:
            message = f"{doubt.in_row} requests to {model} in a row were maybe billed and gave no image"
            desk.ask_to_stop(Stop("unknown_outcomes", f"{message}: {verdict.message}", _BILLED_IN_VAIN))
            return 0.0
        if seconds:
            desk.limiter.pause(Scope.MODEL, model, desk.clock.monotonic(), seconds)
            self._tell_pause(ticket, verdict, seconds, scope=Scope.MODEL)
        return seconds

    def _pause(self, ticket: Ticket, verdict: Verdict, seconds: float) -> float:
        desk = self._desk
        if seconds:
            desk.limiter.pause(verdict.scope, ticket.place.model, desk.clock.monotonic(), seconds)
            self._tell_pause(ticket, verdict, seconds)
        return seconds

    def _tell_pause(self, ticket: Ticket, verdict: Verdict, seconds: float, *, scope: Scope | None = None) -> None:
        if not seconds:
            return
        desk, scope = self._desk, scope or verdict.scope
        desk.note(
            RunPaused(
                at=desk.clock.now(),
                scope=scope,
                seconds=seconds,
                message=verdict.message,
                reason=verdict.reason,
                model=ticket.place.model if scope in {Scope.MODEL, Scope.JOB} else "",
                asked=verdict.pause is not None,
            )
        )

    def _tell_limit(self) -> None:
        desk = self._desk
        limit = desk.limiter.limit
        if limit != self._limit:
            before, self._limit = self._limit, limit
            desk.note(LimitChanged(at=desk.clock.now(), limit=limit, before=before, cause=desk.limiter.limit_cause))
