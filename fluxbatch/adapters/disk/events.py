"""``events.jsonl``: everything that happens in the runs of a folder, live and append-only."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from fluxbatch.telemetry.events import to_json

if TYPE_CHECKING:
    from pathlib import Path

    from fluxbatch.model.events import Event

__all__ = ["EventLog"]


class EventLog:
    """The ``Observer`` port on a file. Each event is one ``write`` of one line; a full disk silences it."""

    def __init__(self, path: Path, run_id: str) -> None:
        self._run_id = run_id
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        size = os.fstat(self._fd).st_size
        with suppress(OSError):  # as in ``note``
            if size and os.pread(self._fd, 1, size - 1) != b"\n":
                os.write(self._fd, b"\n")  # a line that a power cut has torn must not spoil the next

    def note(self, event: Event) -> None:
        """Append one event."""
        if self._fd < 0:
            return
        line = to_json(event, run_id=self._run_id) + b"\n"
        try:
            written = os.write(self._fd, line)
            if written < len(line):  # a line that the disk had no room for must not spoil the next
                os.ftruncate(self._fd, os.fstat(self._fd).st_size - written)
        except OSError:
            # the ledger tells of a full disk; a log must not
            return

    def close(self) -> None:
        """Release the file. May be called again."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
