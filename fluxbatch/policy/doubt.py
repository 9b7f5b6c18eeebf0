"""Requests that end without a usable answer may have been billed: when to be careful, and when to stop."""

from __future__ import annotations

from typing import Final

from fluxbatch.policy.backoff import outage_pause_s

__all__ = ["Doubt"]

_CAREFUL_AFTER: Final = 5
"""unknown outcomes in a row after which requests to a model go out one at a time; failures come sooner than images, so
fewer in a row happen by chance"""
_PROBES: Final = 3
"""of these in a row that end so as well, and no more money is risked"""


class Doubt:
    """Follows unknown outcomes of one model, in a row: without an image between them.

    One event (a restart, a broken line) takes all requests in flight with it; that alone must not end a run. So once
    there is doubt, requests are sent one by one; a few of these in a row that are lost again end it.
    """

    def __init__(self) -> None:
        self._in_row = 0
        self._probing = False
        self._failed_probes = 0

    def may_start(self) -> bool:
        """Whether one more request may be sent, as far as this goes."""
        return not self._is_careful or not self._probing

    def started(self) -> bool:
        """A request was started; what it returns, whether it is a probe, is given back at its end."""
        probe = self._is_careful
        self._probing = self._probing or probe
        return probe

    def ended(self, *, probe: bool) -> None:
        """A request has ended, however it did."""
        if probe:
            self._probing = False

    def image_came(self) -> None:
        """The row is broken."""
        self._in_row = self._failed_probes = 0

    def unknown(self, *, probe: bool) -> float:
        """A request ended without a usable answer. Returns for how many seconds to leave the model alone."""
        self._in_row += 1
        if probe:
            self._failed_probes += 1
        elif self._in_row != _CAREFUL_AFTER:
            return 0.0
        return outage_pause_s(1 + self._failed_probes)

    @property
    def in_row(self) -> int:
        """Unknown outcomes since the last image."""
        return self._in_row

    @property
    def is_certain(self) -> bool:
        """Whether nothing more should be risked."""
        return self._failed_probes >= _PROBES

    @property
    def _is_careful(self) -> bool:
        return self._in_row >= _CAREFUL_AFTER
