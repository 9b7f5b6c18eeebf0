"""The ``openai`` package's asynchronous client, told of the photos by ``extra_body``, and its HTTP client to fetch."""

from __future__ import annotations

import asyncio
import base64
import mimetypes
from pathlib import Path
from typing import TYPE_CHECKING, Final

from openai import AsyncOpenAI, DefaultAsyncHttpxClient

from benchmarks.peers.task import Job, Task, input_name, read_task

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE_S: Final = 600.0
"""for everything: of 5 s to connect, its default, encoding eight photos for each of eight requests leaves none"""


def to_data_url(path: str) -> str:
    mime = mimetypes.guess_type(path)[0] or "image/png"
    return f"data:{mime};base64,{base64.b64encode(Path(path).read_bytes()).decode()}"


async def make(client: AsyncOpenAI, delivery: DefaultAsyncHttpxClient, task: Task, job: Job) -> None:
    answer = await client.images.generate(
        model=task["model"],
        prompt=job["prompt"],
        extra_body={input_name(number): to_data_url(path) for number, path in enumerate(job["photos"], start=1)},
    )
    assert answer.data
    assert answer.data[0].url
    response = await delivery.get(answer.data[0].url)
    response.raise_for_status()
    Path(task["out"], f"{job['id']}.jpg").write_bytes(response.content)  # noqa: ASYNC240  # as scripts do


async def work(client: AsyncOpenAI, delivery: DefaultAsyncHttpxClient, task: Task, jobs: Iterator[Job]) -> None:
    for job in jobs:
        await make(client, delivery, task, job)


async def main() -> None:
    task = read_task()
    jobs = iter(task["jobs"])
    client = AsyncOpenAI(base_url=task["base_url"], api_key=task["key"], max_retries=0, timeout=PATIENCE_S)
    async with client, DefaultAsyncHttpxClient(timeout=PATIENCE_S) as delivery, asyncio.TaskGroup() as tasks:
        for _ in range(task["slots"]):
            tasks.create_task(work(client, delivery, task, jobs))


if __name__ == "__main__":
    asyncio.run(main())
