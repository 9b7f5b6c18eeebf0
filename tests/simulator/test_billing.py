from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from tests.simulator.client import HELLO, PHOTOS, Client, photo, request_bytes, serving

if TYPE_CHECKING:
    from pathlib import Path

    from fluxbatch.simulator import Call

FUSION = {
    "model": "flux-2-pro",
    "prompt": "自然融合这两个图片",
    "input_image": photo("cat.webp"),
    "input_image_2": photo("person.jpg"),
    "seed": 42,
}


async def billed(client: Client, count: int) -> tuple[Call, ...]:
    with anyio.fail_after(5):
        while len(client.sim.calls) < count:
            await anyio.sleep(0.01)
    return client.sim.calls


async def test_a_call_is_recorded_with_its_inputs_in_order(tmp_path: Path) -> None:
    async with serving(data=tmp_path) as client:
        answer = await client.post(FUSION)
    line = json.loads((tmp_path / "calls.jsonl").read_text())
    assert line["request_id"] == answer.headers["X-Oneapi-Request-Id"]
    assert (line["model"], line["usd"], line["client_gone"]) == ("flux-2-pro", 0.03, False)
    assert line["prompt_sha256"] == hashlib.sha256(FUSION["prompt"].encode()).hexdigest()  # type: ignore[attr-defined]
    assert line["fields"] == {"model": "flux-2-pro", "prompt": FUSION["prompt"], "seed": 42}
    assert [entry["sha256"] for entry in line["inputs"]] == [
        hashlib.sha256((PHOTOS / name).read_bytes()).hexdigest() for name in ("cat.webp", "person.jpg")
    ]
    assert [entry["mime"] for entry in line["inputs"]] == ["image/webp", "image/jpeg"]


async def test_a_client_that_hangs_up_is_billed_at_the_end_of_the_generation() -> None:
    async with serving(latency_s=0.3) as client:
        stream = await anyio.connect_tcp("127.0.0.1", client.sim.port)
        await stream.send(request_bytes(client.sim, HELLO))
        with anyio.fail_after(5):
            while client.sim.in_flight == 0:
                await anyio.sleep(0.01)
        await stream.aclose()
        assert client.sim.calls == ()
        (call,) = await billed(client, 1)
        assert call.client_gone
        with anyio.fail_after(5):
            while client.sim.in_flight:
                await anyio.sleep(0.01)


async def test_a_generation_whose_client_left_is_billed_before_the_end(tmp_path: Path) -> None:
    async with serving(latency_s=0.3, grace_s=2, data=tmp_path) as client:
        stream = await anyio.connect_tcp("127.0.0.1", client.sim.port)
        await stream.send(request_bytes(client.sim, HELLO))
        with anyio.fail_after(5):
            while client.sim.in_flight == 0:
                await anyio.sleep(0.01)
        await stream.aclose()
    assert json.loads((tmp_path / "calls.jsonl").read_text())["client_gone"]


async def test_a_client_that_leaves_before_its_body_is_complete_is_not_billed() -> None:
    async with serving() as client:
        async with await anyio.connect_tcp("127.0.0.1", client.sim.port) as stream:
            await stream.send(request_bytes(client.sim, HELLO)[:-5])
            with anyio.fail_after(5):
                while client.sim.requests == 0:
                    await anyio.sleep(0.01)
        assert (await client.post(HELLO)).status == 200
        assert [call.client_gone for call in client.sim.calls] == [False]


async def test_calls_survive_a_restart_and_a_torn_last_line(tmp_path: Path) -> None:
    async with serving(data=tmp_path) as client:
        await client.post(HELLO)
    with (tmp_path / "calls.jsonl").open("a") as file:
        file.write('{"request_id": "torn')
    async with serving(data=tmp_path) as client:
        assert len(client.sim.calls) == 1
        await client.post(HELLO)
    lines = (tmp_path / "calls.jsonl").read_text().splitlines()
    assert len({json.loads(line)["request_id"] for line in lines}) == 2


async def test_an_empty_account_is_refused_and_parallel_requests_can_not_overdraw_it() -> None:
    async with serving(credit_usd=0.02, latency_s=0.05) as client:
        answers: list[Any] = []

        async def one() -> None:
            answers.append(await client.post(HELLO))

        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(one)
        assert sorted(answer.status for answer in answers) == [200, 200, 403, 403]
        refused = await client.post(HELLO)
        assert (refused.status, refused.error["code"]) == (403, "insufficient_user_quota")
        assert client.sim.spent_usd == 0.02


async def test_refused_requests_give_their_reservation_back() -> None:
    async with serving(credit_usd=0.01) as client:
        for _ in range(3):
            assert (await client.post({**HELLO, "seed": "x"})).status == 400
        assert (await client.post(HELLO)).status == 200


async def test_prices_are_a_setting() -> None:
    prices = dict.fromkeys(serving_prices(), 0.5)
    async with serving(prices=prices) as client:
        await client.post(HELLO)
        assert client.sim.spent_usd == 0.5


def serving_prices() -> list[str]:
    from fluxbatch.simulator import MODELS

    return list(MODELS)


async def test_the_call_log_is_paged_by_ten_newest_first() -> None:
    async with serving() as client:
        for _ in range(11):
            await client.post(HELLO)
        await client.post({**HELLO, "model": "flux-2-pro"})

        async def page(query: str) -> list[dict[str, Any]]:
            answer = await client.get(f"/api/log/self?{query}", {"Authorization": client.sim.system_token})
            assert answer.json["success"] is True
            return list(answer.json["data"])

        first = await page("type=2&pageSize=100&p=0")
        assert len(first) == 10
        assert len(await page("type=2&p=1")) == 2
        assert await page("type=2&p=2") == []
        assert first[0]["model_name"] == "flux-2-pro"
        assert first[0]["quota"] / 500_000 == 0.03
        assert first[0]["request_id"] == client.sim.calls[-1].request_id
        assert json.loads(first[0]["other"])["request_path"] == "/v1/images/generations"
        assert len(await page("type=2&model_name=flux-2-pro")) == 1
        assert await page("type=1") == []
        now = int(client.sim.world.clock())
        assert await page(f"type=2&end_timestamp={now - 60}") == []
        assert len(await page(f"type=2&start_timestamp={now - 60}&end_timestamp={now + 60}&page_size=3")) == 3


@pytest.mark.parametrize("authorization", ["", "Bearer simulator-system-token", "Bearer sk-simulator", "sk-simulator"])
async def test_the_call_log_wants_the_bare_system_token(authorization: str) -> None:
    async with serving() as client:
        answer = await client.get("/api/log/self", {"Authorization": authorization})
        assert answer.status == 200
        assert answer.json["success"] is False
        assert "data" not in answer.json
