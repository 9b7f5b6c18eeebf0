"""What a peer is asked to do. Imports next to nothing: it is part of what is measured."""

from __future__ import annotations

import json
import sys
from typing import Final, TypedDict

AHEAD: Final = "ahead-"
"""begins the ids of jobs that are not looked at"""


class Job(TypedDict):
    id: str
    prompt: str
    photos: list[str]


class Task(TypedDict):
    base_url: str
    authority: str
    """file of the certificate to trust, if it is TLS"""
    key: str
    model: str
    slots: int
    out: str
    jobs: list[Job]


def read_task() -> Task:
    with open(sys.argv[1], encoding="utf-8") as file:  # noqa: PTH123  # pathlib would be one more import to pay for
        task: Task = json.load(file)
    return task


def input_name(number: int) -> str:
    """The API's name of image ``number``, from 1."""
    return "input_image" if number == 1 else f"input_image_{number}"
