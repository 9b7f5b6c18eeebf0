"""``events.jsonl``: everything that happens in the runs of a folder, live and append-only."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from fluxbatch.telemetry.events import to_json

if TYPE_CHECKING:
    from pathlib import Path

    from fluxbatch.model.events import Event

__all__ = ["EventLog"]


_GATHER_S: Final = 0.02
"""how long an event waits for others: a write for each would be a third of what a small job costs"""


class EventLog:
    """The ``Observer`` port on a file: whole lines, the first at once, the others together; a full disk silences it."""

    def __init__(self, path: Path, run_id: str) -> None:
        self._run_id = run_id
        self._lines: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        size = os.fstat(self._fd).st_size
        with suppress(OSError):  # as in ``note``
            if size and os.pread(self._fd, 1, size - 1) != b"\n":
                os.write(self._fd, b"\n")  # a line that a power cut has torn must not spoil the next

    def note(self, event: Event) -> None:
        """Append one event."""
        if self._fd < 0:
            return
        self._lines.append(to_json(event, run_id=self._run_id) + b"\n")
        if self._timer is None:
            self._write()
            with suppress(RuntimeError):  # no loop: then each is written as it comes
                self._timer = asyncio.get_running_loop().call_later(_GATHER_S, self._write)

    def flush(self) -> None:
        """Write what waits for others."""
        if self._fd >= 0:
            self._write()

    def _write(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        lines, self._lines = b"".join(self._lines), []
        try:
            written = os.write(self._fd, lines) if lines else 0
            if written < len(lines):  # a line that the disk had no room for must not spoil the next
                part = written - (lines.rfind(b"\n", 0, written) + 1)
                os.ftruncate(self._fd, os.fstat(self._fd).st_size - part)
        except OSError:
            # the ledger tells of a full disk; a log must not
            return

    def close(self) -> None:
        """Write what is left, and release the file. May be called again."""
        if self._fd >= 0:
            self._write()
            os.close(self._fd)
            self._fd = -1
