"""``fluxbatch.arun`` in a loop that is watched: every 5 ms a callback is due, and how late it comes is noted."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import fluxbatch
from benchmarks.peers.task import AHEAD, Task, read_task

if TYPE_CHECKING:
    from collections.abc import Iterator

_EVERY_S: Final = 0.005


class Watch:
    """Notes lateness ``before`` the first request, and ``during`` all but the jobs that go ahead."""

    def __init__(self, loop: asyncio.AbstractEventLoop, jobs: int) -> None:
        self.before: list[float] = []
        self.during: list[float] = []
        self.most_in_flight = 0
        self._in_flight = 0
        self._left = jobs
        self._loop = loop
        self._notes = self.before
        self._due = loop.time()

    def look(self) -> None:
        now = self._loop.time()
        self._notes.append(now - self._due)
        self._due = now + _EVERY_S
        if self._left:
            self._loop.call_at(self._due, self.look)

    def note(self, event: fluxbatch.Event) -> None:
        match event:
            case fluxbatch.JobSubmitted(job_id=job_id):
                self._in_flight += 1
                self._begin(is_ahead=job_id.startswith(AHEAD))
            case fluxbatch.JobGranted() | fluxbatch.JobRequeued():
                self._in_flight -= 1
            case fluxbatch.JobStored():
                self._left -= 1
            case _:
                pass

    def _begin(self, *, is_ahead: bool) -> None:
        if is_ahead and self._notes is self.before:
            self._notes = []
        elif not is_ahead:
            self._notes = self.during
            self.most_in_flight = max(self.most_in_flight, self._in_flight)


def jobs_of(task: Task) -> Iterator[fluxbatch.Job]:
    for job in task["jobs"]:
        yield fluxbatch.Job(id=job["id"], model=task["model"], prompt=job["prompt"], images=job["photos"])


async def main() -> None:
    task = read_task()
    loop = asyncio.get_running_loop()
    watch = Watch(loop, len(task["jobs"]))
    watch.look()
    result = await fluxbatch.arun(
        jobs_of(task),
        out=task["out"],
        base_url=task["base_url"],
        api_key=task["key"],
        concurrency=task["slots"],
        on_event=watch.note,
    )
    assert result.ok, result.summary
    notes = {"before_s": watch.before, "during_s": watch.during, "most_in_flight": watch.most_in_flight}
    Path(sys.argv[1]).with_name("lag.json").write_text(json.dumps(notes), encoding="ascii")  # the end


if __name__ == "__main__":
    asyncio.run(main())
