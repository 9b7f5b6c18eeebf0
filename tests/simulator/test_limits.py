from __future__ import annotations

from collections import Counter
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from tests.simulator.client import HELLO, Answer, Client, serving

if TYPE_CHECKING:
    from collections.abc import Sequence


async def together(client: Client, bodies: Sequence[dict[str, Any]]) -> list[Answer]:
    answers: list[Answer] = []

    async def one(body: dict[str, Any]) -> None:
        answers.append(await client.post(body))

    async with anyio.create_task_group() as tasks:
        for body in bodies:
            tasks.start_soon(one, body)
    return answers


async def test_more_than_the_limit_at_once_is_429() -> None:
    async with serving(concurrency=3, latency_s=0.3) as client:
        answers = await together(client, [HELLO] * 5)
        assert Counter(answer.status for answer in answers) == {200: 3, 429: 2}
        refused = next(answer for answer in answers if answer.status == 429)
        assert refused.error["code"] == "token_concurrency_limit_reached"
        assert "Retry-After" not in refused.headers
        assert client.sim.peak_in_flight == 3
        assert (await client.post(HELLO)).status == 200


async def test_each_model_has_its_own_limit_and_kontext_max_a_lower_one() -> None:
    bodies = [{**HELLO, "model": model} for model in ("flux-kontext-max", "flux-2-pro") for _ in range(8)]
    async with serving(concurrency=7, latency_s=0.4) as client:
        answers = await together(client, bodies)
        assert Counter(call.model for call in client.sim.calls) == {"flux-kontext-max": 6, "flux-2-pro": 7}
        assert Counter(answer.status for answer in answers) == {200: 13, 429: 3}


async def test_requests_a_minute() -> None:
    async with serving(rpm=3) as client:
        answers = [await client.post(HELLO) for _ in range(5)]
        assert [answer.status for answer in answers] == [200, 200, 200, 429, 429]
        assert answers[-1].error["code"] == "rate_limit_exceeded"


@pytest.mark.parametrize("form", ["seconds", "date", "body"])
async def test_the_wait_is_announced_in_three_forms(form: str) -> None:
    async with serving(rpm=1, retry_after=7, retry_after_form=form) as client:
        await client.post(HELLO)
        answer = await client.post(HELLO)
        assert answer.status == 429
        match form:
            case "seconds":
                assert answer.headers["Retry-After"] == "7"
            case "date":
                until = parsedate_to_datetime(answer.headers["Retry-After"])
                assert (until - parsedate_to_datetime(answer.headers["Date"])).total_seconds() == 7
            case _:
                assert answer.error["retry_after"] == 7
                assert "Retry-After" not in answer.headers
