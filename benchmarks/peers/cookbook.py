"""Requests out of a file, let go by a bucket of requests and one of tokens: the way of openai-cookbook's script.

One loop looks every millisecond whether the next one may go; answers are written to a file, and then everything is
fetched. It is kinder than its model: tokens are not counted by a library, requests are not written back beside their
answers, nothing is logged. What the model lacks is a limit of requests in flight: here it is that of the task.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import aiohttp

from benchmarks.peers.task import Task, read_task

if TYPE_CHECKING:
    from collections.abc import Iterator

_LOOK_S: Final = 0.001
_PER_MINUTE: Final = 1_000_000.0
"""far above what is reached: the limits are not what is measured"""


class Bucket:
    """Fills steadily, up to what a minute may take."""

    def __init__(self, per_minute: float) -> None:
        self.level = self._per_minute = per_minute
        self._filled_at = time.monotonic()

    def fill(self) -> None:
        now = time.monotonic()
        self.level = min(self._per_minute, self.level + self._per_minute * (now - self._filled_at) / 60)
        self._filled_at = now


class Processor:
    def __init__(self, session: aiohttp.ClientSession, task: Task, answers: Path) -> None:
        self._session = session
        self._task = task
        self._answers = answers
        self._in_flight = 0

    async def run(self, lines: Iterator[str]) -> None:
        requests, tokens = Bucket(_PER_MINUTE), Bucket(_PER_MINUTE)
        waiting: dict[str, Any] | None = None
        is_read = False
        async with asyncio.TaskGroup() as tasks:
            while True:
                if waiting is None and not is_read:
                    line = next(lines, None)
                    is_read = line is None
                    waiting = json.loads(line) if line else None
                requests.fill()
                tokens.fill()
                if waiting and self._in_flight < self._task["slots"]:
                    cost = tokens_of(waiting)
                    if requests.level >= 1 and tokens.level >= cost:
                        requests.level -= 1
                        tokens.level -= cost
                        self._in_flight += 1
                        tasks.create_task(self._order(waiting))
                        waiting = None
                if is_read and not self._in_flight:
                    return
                await asyncio.sleep(_LOOK_S)  # noqa: TID251  # its way of taking turns

    async def _order(self, request: dict[str, Any]) -> None:
        about = request.pop("metadata")
        url = f"{self._task['base_url']}/images/generations"
        headers = {"Authorization": f"Bearer {self._task['key']}"}
        async with self._session.post(url, headers=headers, json=request) as response:
            answer = await response.json()
        with self._answers.open("a", encoding="utf-8") as file:
            file.write(json.dumps([about, answer]) + "\n")
        self._in_flight -= 1


def tokens_of(request: dict[str, Any]) -> int:
    """The usual rule of thumb: four characters of text are a token."""
    return len(request["prompt"]) // 4


async def fetch(session: aiohttp.ClientSession, task: Task, answers: Iterator[str]) -> None:
    for line in answers:
        about, answer = json.loads(line)
        async with session.get(answer["data"][0]["url"]) as response:
            Path(task["out"], f"{about['id']}.jpg").write_bytes(await response.read())  # noqa: ASYNC240  # as scripts do


async def main() -> None:
    task = read_task()
    folder = Path(sys.argv[1]).parent
    answers = folder / "answers.jsonl"
    async with aiohttp.ClientSession(raise_for_status=True) as session:
        with (folder / "requests.jsonl").open(encoding="utf-8") as lines:  # likewise
            await Processor(session, task, answers).run(lines)
        with answers.open(encoding="utf-8") as lines:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(task["slots"]):
                    tasks.create_task(fetch(session, task, lines))


if __name__ == "__main__":
    asyncio.run(main())
