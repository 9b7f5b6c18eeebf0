"""As little as aiohttp can do: POST, GET, write the file. No ledger, no checks, no retry, nothing durable."""

from __future__ import annotations

import asyncio
import base64
import mimetypes
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp

from benchmarks.peers.task import Job, Task, input_name, read_task

if TYPE_CHECKING:
    from collections.abc import Iterator


def body_of(task: Task, job: Job) -> dict[str, str]:
    body = {"model": task["model"], "prompt": job["prompt"]}
    for number, path in enumerate(job["photos"], start=1):
        mime = mimetypes.guess_type(path)[0] or "image/png"
        body[input_name(number)] = f"data:{mime};base64,{base64.b64encode(Path(path).read_bytes()).decode()}"
    return body


async def make(session: aiohttp.ClientSession, task: Task, job: Job) -> None:
    url = f"{task['base_url']}/images/generations"
    async with session.post(url, json=body_of(task, job)) as response:
        answer = await response.json()
    async with session.get(answer["data"][0]["url"]) as response:
        Path(task["out"], f"{job['id']}.jpg").write_bytes(await response.read())  # noqa: ASYNC240  # the floor


async def work(session: aiohttp.ClientSession, task: Task, jobs: Iterator[Job]) -> None:
    for job in jobs:
        await make(session, task, job)


async def main() -> None:
    task = read_task()
    jobs = iter(task["jobs"])
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        headers={"Authorization": f"Bearer {task['key']}"},
        raise_for_status=True,
    )
    async with session, asyncio.TaskGroup() as tasks:
        for _ in range(task["slots"]):
            tasks.create_task(work(session, task, jobs))


if __name__ == "__main__":
    asyncio.run(main())
