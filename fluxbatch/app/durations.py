"""How long each job of a run took, by its events. On disk: a run may have a million jobs."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Self

import orjson

from fluxbatch.app.tail import Tail

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from types import TracebackType

__all__ = ["Durations"]

_ENDS: Final = frozenset({"job.stored", "job.failed"})
_FIND: Final = "SELECT id, seconds FROM took WHERE id IN (SELECT value FROM json_each(?))"


class Durations:
    """Seconds from a job's first request in a run until it was stored or had failed, pauses and retries included.

    Blocks; use as a context manager. What an event log lacks (its disk may have been full) took no time.
    """

    def __init__(self) -> None:
        # without a name: SQLite keeps it in a temporary file, which nobody else can see
        self._db = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode = OFF")
        self._db.execute("CREATE TABLE took (id TEXT PRIMARY KEY, seconds REAL) WITHOUT ROWID")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.close()

    def read(self, events: Path, run_id: str) -> None:
        """Take the events of a run."""
        begun: dict[str, float] = {}
        for event in _events_of(events, run_id):
            job, at = event["job_id"], datetime.fromisoformat(event["at"]).timestamp()
            if event["event"] == "job.submitted":
                begun.setdefault(job, at)
            elif event["event"] in _ENDS and job in begun:
                took = max(0.0, at - begun.pop(job))
                self._db.execute("INSERT OR REPLACE INTO took VALUES (?, ?)", (job, took))

    def of(self, job_ids: Sequence[str]) -> dict[str, float]:
        """Seconds by id, of those that this run sent and that came to an end."""
        with closing(self._db.execute(_FIND, (orjson.dumps(list(job_ids)).decode(),))) as rows:
            return dict(rows)


def _events_of(path: Path, run_id: str) -> Iterator[dict[str, Any]]:
    """What a log tells of a run's jobs; a line that is torn is passed over."""
    log, mark = Tail(path), run_id.encode()
    while lines := log.news():
        for line in lines:
            if mark not in line or b"job." not in line:
                continue
            try:
                event = orjson.loads(line)
            except orjson.JSONDecodeError:
                continue
            if isinstance(event, dict) and event.get("run_id") == run_id and "job_id" in event:
                yield event
