"""When to stop waiting for an API that doesn't answer."""

from __future__ import annotations

__all__ = ["Outage"]


class Outage:
    """Follows failures of the endpoint as a whole. ``now`` is monotonic seconds.

    Args:
        patience_s: seconds without an answer after which the outage is one.
        first_answer_s: the same before the very first answer.
    """

    def __init__(self, *, patience_s: float, first_answer_s: float) -> None:
        self._patience_s = patience_s
        self._first_answer_s = first_answer_s
        self._since: float | None = None
        self._answered = False
        self._episodes = 0
        self._quiet_until = 0.0

    @property
    def episodes(self) -> int:
        """Pauses in a row without an answer between them."""
        return self._episodes

    def answered(self) -> None:
        """The API spoke, whatever it said."""
        self._answered = True
        self._since = None
        self._episodes = 0

    def failed(self, now: float) -> bool:
        """A request failed for the endpoint's sake. True if this begins another episode (and so asks for a pause)."""
        if self._since is None:
            self._since = now
        if now < self._quiet_until:
            return False
        self._episodes += 1
        return True

    def silent(self, now: float) -> None:
        """A request got no answer, for its own sake or the endpoint's: patience runs, but nothing pauses."""
        if self._since is None:
            self._since = now

    def paused(self, until: float) -> None:
        """The pause of this episode: failures of requests that were under way don't begin another."""
        self._quiet_until = until

    def is_over(self, now: float) -> bool:
        """Whether patience is at its end."""
        if self._since is None:
            return False
        return now - self._since >= (self._patience_s if self._answered else self._first_answer_s)
