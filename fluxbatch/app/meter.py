"""The figures of a run, counted as it goes and written to a file from time to time."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import anyio
import anyio.to_thread

from fluxbatch import __version__
from fluxbatch.errors import UsageError
from fluxbatch.model.events import DeliveryRetried, JobRequeued, JobSubmitted
from fluxbatch.model.state import JobState
from fluxbatch.report.metrics import Measures, load, metrics_text
from fluxbatch.telemetry.observers import Observers
from fluxbatch.telemetry.redact import clean

if TYPE_CHECKING:
    from pathlib import Path

    from fluxbatch.engine import Desk, Engine
    from fluxbatch.model.events import Event
    from fluxbatch.model.job import Step
    from fluxbatch.model.summary import Summary

__all__ = ["Meter", "check_metrics_file"]

_EVERY_S: Final = 2.0
_MODELS: Final = 50
"""labels are kept by whoever reads them; a manifest may name any model"""
_IMAGE: Final = "image"
_OTHERS: Final = "other"


def check_metrics_file(path: Path) -> Path:
    """The file that is meant, links followed; found out before anything is paid for. Blocks.

    Raises:
        UsageError: it can't be written, or the library is missing.
    """
    load()
    path = path.resolve()
    # a pipe or a device would be replaced by a file
    if not os.access(path.parent, os.W_OK) or (path.exists() and not path.is_file()):
        raise UsageError(f"--metrics-file {path} can't be written", remedy="name a file in a folder that is there")
    return path


class Meter:
    """Counts what happens in one run; attach it before anything does."""

    def __init__(self, path: Path, engine: Engine, desk: Desk, *, simulated: bool) -> None:
        self._path = path
        self._engine, self._desk = engine, desk
        info = {"run_id": desk.run_id, "version": __version__, "simulated": str(simulated).lower()}
        self._measures = Measures(begun_at=desk.clock.now(), info=info)
        desk.listeners.append(self._heed)
        desk.observer = Observers([desk.observer, self])

    def note(self, event: Event) -> None:
        """Count one event."""
        its = self._measures
        if isinstance(event, JobSubmitted):
            model = clean(event.model, limit=100)
            its.requests[model if model in its.requests or len(its.requests) < _MODELS else _OTHERS] += 1
        elif isinstance(event, JobRequeued):
            its.verdicts[event.reason.value] += 1
            its.charges[event.charge.value] += 1
        elif isinstance(event, DeliveryRetried):
            its.retries += 1

    async def write_now_and_then(self, to_make: int) -> None:
        """Write the file every few seconds, until cancelled."""
        self._measures.to_make = to_make
        while True:
            await self.write()
            await anyio.sleep(_EVERY_S)

    async def finish(self, summary: Summary) -> None:
        """Write the file as it stays."""
        its = self._measures
        its.ended_at, its.exit_code = self._desk.clock.now(), summary.exit_code
        its.info = {**its.info, "stop_reason": summary.stop_reason}
        await self.write()

    async def write(self) -> None:
        """Write the file; a reader sees the old one or the whole new one. A full disk leaves the old one."""
        self._look()
        with suppress(OSError):  # figures must not end a run
            await anyio.to_thread.run_sync(self._replace, metrics_text(self._measures))

    def _heed(self, step: Step) -> None:
        its = self._measures
        # what goes back to PENDING is told by its event, or was not sent after all
        if step.frm is JobState.SUBMITTED and step.to is not JobState.PENDING:
            its.charges[step.charge.value] += 1
            its.verdicts[_IMAGE if step.failure is None else step.failure.reason.value] += 1
        if step.to is JobState.FAILED and step.failure is not None:
            its.failed[step.failure.reason.value] += 1
        if step.stored is not None:
            its.stored_bytes += step.stored.bytes
            if step.stored.url_age_s is not None:
                its.url_ages.add(step.stored.url_age_s)

    def _look(self) -> None:
        its, desk, account = self._measures, self._desk, self._desk.account
        its.usd = {"charged": round(account.cost_usd, 6), "unknown": round(account.unknown_usd, 6)}
        its.stored, its.lost = account.stored, account.lost
        its.in_flight, its.leases, its.limit = desk.in_flight, desk.owed, desk.limiter.limit
        lease = self._engine.first_to_die
        its.oldest_lease_s = 0.0 if lease is None else max(0.0, desk.clock.now() - lease.granted_at)

    def _replace(self, text: bytes) -> None:
        temporary = self._path.with_name(f".{self._path.name}.{secrets.token_hex(4)}.new")
        try:
            temporary.write_bytes(text)
            temporary.replace(self._path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
