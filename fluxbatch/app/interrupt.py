"""Ctrl-C that behaves: the first one ends the run in order, the second one at once."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Final

import anyio

from fluxbatch.model.summary import Stop

if TYPE_CHECKING:
    from fluxbatch.engine import Desk

__all__ = ["Interrupter"]

_WORDS: Final = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated", signal.SIGHUP: "hung_up"}


class Interrupter:
    """Listens for SIGINT, SIGTERM and SIGHUP (a terminal that was closed) while a run goes on.

    Attributes:
        exit_code: 130, 143 or 129 once a signal came, else 0.
    """

    def __init__(self, scope: anyio.CancelScope) -> None:
        self._scope = self._outer = scope
        self._desk: Desk | None = None
        self.exit_code = 0

    def attach(self, desk: Desk, scope: anyio.CancelScope) -> None:
        """From now on there is something to finish, in this scope."""
        self._desk = desk
        self._scope = scope

    def detach(self) -> None:
        """There is nothing to finish (any more)."""
        self._desk, self._scope = None, self._outer

    def stop(self) -> None:
        """Do what the first Ctrl-C does; after a signal, nothing."""
        if not self.exit_code:
            self._take(signal.SIGINT)

    async def listen(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Take signals until cancelled."""
        # under nohup it is ignored already, and stays so
        heard = [number for number in _WORDS if signal.getsignal(number) is not signal.SIG_IGN]
        with anyio.open_signal_receiver(*heard) as signals:
            task_status.started()
            async for number in signals:
                self._take(number)

    def _take(self, number: signal.Signals) -> None:
        again = self.exit_code != 0
        self.exit_code = 128 + number
        if again or self._desk is None:
            self._scope.cancel()
            return
        self._desk.ask_to_stop(
            Stop(
                _WORDS[number],
                "finishing what is in flight and fetching what is paid for; once more to leave at once",
                "run the same command again to go on",
                exit_code=self.exit_code,
            )
        )
