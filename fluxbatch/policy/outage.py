"""When an API that is away is asked again, and when to stop waiting for it."""

from __future__ import annotations

from fluxbatch.policy.backoff import outage_pause_s

__all__ = ["Outage"]


class Outage:
    """Follows failures of the endpoint as a whole, and refusals that never end. ``now`` is monotonic seconds.

    While the API is away, one request at a time finds out whether it is back.

    Args:
        patience_s: seconds without an answer after which the outage is one.
        first_answer_s: the same before the very first sign of anybody there: a wrong address is soon found out.
    """

    def __init__(self, *, patience_s: float, first_answer_s: float) -> None:
        self._patience_s = patience_s
        self._first_answer_s = first_answer_s
        self._since: float | None = None
        self._refused_since: float | None = None
        self._answered = False
        self._episodes = 0
        self._quiet_until = 0.0
        self._trouble = 0
        self._probes = 0

    def may_start(self) -> bool:
        """Whether one more request may be sent, as far as this goes."""
        return not self._episodes or self._probes == 0

    def started(self) -> int:
        """A request was started; what it returns is given back to ``ended``."""
        if not self._episodes:
            return 0
        self._probes += 1
        return self._trouble

    def ended(self, probe: int) -> None:
        """A request has ended, however it did."""
        if probe and probe == self._trouble:
            self._probes = max(0, self._probes - 1)

    def answered(self) -> None:
        """The API took a request, whatever it made of it."""
        self._refused_since = None
        self._spoke()

    def refused(self, now: float) -> None:
        """The API is there, and says that there are too many requests."""
        if self._refused_since is None:
            self._refused_since = now
        self._spoke()

    def failed(self, now: float, asked: float | None = None, *, somebody_there: bool = False) -> float:
        """A request failed for the endpoint's sake. Returns for how many seconds to leave it alone; 0: no longer yet.

        Failures of requests that were under way when the pause began don't make it longer.

        Args:
            now: monotonic seconds.
            asked: seconds that the API asked for, if it did.
            somebody_there: it said so itself (502, 503): the address is right, and it will be back.
        """
        self._answered = self._answered or somebody_there
        since = self.silent(now)
        if now < self._quiet_until:
            return 0.0
        if not self._episodes:
            self._trouble += 1
            self._probes = 0
        self._episodes += 1
        # the last try comes when patience ends, not a whole pause later
        left = max(1.0, since + self._patience - now)
        seconds = min(outage_pause_s(self._episodes, asked), left)
        self._quiet_until = now + seconds
        return seconds

    def silent(self, now: float) -> float:
        """A request got no answer, for its own sake or the endpoint's: patience runs. Returns since when."""
        self._refused_since = None
        if self._since is None:
            self._since = now
        return self._since

    def is_over(self, now: float) -> bool:
        """Whether the API has been away for longer than there is patience."""
        return self._since is not None and now - self._since >= self._patience

    def is_starved(self, now: float) -> bool:
        """Whether the API has refused everything, as too much, for longer than there is patience."""
        return self._refused_since is not None and now - self._refused_since >= self._patience_s

    @property
    def _patience(self) -> float:
        return self._patience_s if self._answered else self._first_answer_s

    def _spoke(self) -> None:
        self._answered = True
        self._since = None
        self._episodes = 0
        self._quiet_until = 0.0
