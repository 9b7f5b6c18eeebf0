"""The Python sample of the API reference (`requests`, local files as base64), with a thread pool around it.

``to_data_url``, the request and the download are the reference's own lines; nothing is made better or worse.
"""

from __future__ import annotations

import base64
import mimetypes
from concurrent.futures import ThreadPoolExecutor

import requests

from benchmarks.peers.task import Job, input_name, read_task

TASK = read_task()


def to_data_url(path: str) -> str:
    mime = mimetypes.guess_type(path)[0] or "image/png"
    with open(path, "rb") as f:  # noqa: PTH123  # the reference's own line
        b64 = base64.b64encode(f.read()).decode()
    return f"data:{mime};base64,{b64}"


def make(job: Job) -> None:
    images = {input_name(number): to_data_url(path) for number, path in enumerate(job["photos"], start=1)}
    resp = requests.post(
        f"{TASK['base_url']}/images/generations",
        headers={
            "Authorization": f"Bearer {TASK['key']}",
            "Content-Type": "application/json",
        },
        json={
            "model": TASK["model"],
            "prompt": job["prompt"],
            **images,
        },
        timeout=120,
    )
    image_url = resp.json()["data"][0]["url"]
    with open(f"{TASK['out']}/{job['id']}.jpg", "wb") as f:  # noqa: PTH123  # likewise
        f.write(requests.get(image_url, timeout=30).content)


def main() -> None:
    with ThreadPoolExecutor(max_workers=TASK["slots"]) as pool:
        for _ in pool.map(make, TASK["jobs"]):
            pass


if __name__ == "__main__":
    main()
