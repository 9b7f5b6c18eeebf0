from __future__ import annotations

import json
from collections import Counter
from typing import Any

import aiohttp
import anyio
import pytest

from fluxbatch.simulator import DELIVERY_KINDS, GENERATE_KINDS, Faults
from tests.simulator.client import HELLO, Client, exchange, request_bytes, serving, target_of

GENERATE_ANSWERS = {
    "429": (429, "rate_limit_exceeded"),
    "500": (500, "do_request_failed"),
    "500-billed": (500, "write_response_body_failed"),
    "502": (502, None),
    "503": (503, None),
    "503-no-channel": (503, "model_not_found"),
    "504": (504, None),
    "524": (524, None),
    "moderation": (400, "content_policy_violation"),
    "quota": (403, "insufficient_user_quota"),
}


def is_billed(kind: str) -> bool:
    return GENERATE_KINDS[kind].endswith("; billed")


def only(kind: str, **settings: Any) -> Faults:
    return Faults(**{"schedule": {kind: frozenset({1})}, "window_s": 0.1, "stall_s": 0.3, "slow_s": 0.4, **settings})


@pytest.mark.parametrize("kind", GENERATE_ANSWERS)
async def test_refusals(kind: str) -> None:
    status, code = GENERATE_ANSWERS[kind]
    async with serving(faults=only(kind)) as client:
        answer = await client.post(HELLO)
        assert answer.status == status
        if code is None:
            assert answer.headers["Content-Type"].startswith("text/html")
            assert str(status).encode() in answer.body
        else:
            assert answer.error["code"] == code
        assert len(client.sim.calls) == is_billed(kind)


async def test_a_502_window_hits_everything_for_a_while() -> None:
    async with serving(faults=only("502", window_s=0.3)) as client:
        assert [(await client.post(HELLO)).status for _ in range(3)] == [502] * 3
        await anyio.sleep(0.35)
        assert (await client.post(HELLO)).status == 200
        assert len(client.sim.calls) == 1


async def test_a_reset_before_the_body_was_read() -> None:
    async with serving(faults=only("reset-before-body")) as client:
        with pytest.raises((aiohttp.ClientError, ConnectionResetError)):
            await client.post(HELLO)
        assert client.sim.calls == ()
        assert (await client.post(HELLO)).status == 200


async def test_a_reset_after_the_generation_is_billed() -> None:
    async with serving(faults=only("reset")) as client:
        with pytest.raises((aiohttp.ClientError, anyio.BrokenResourceError)):
            await exchange(client.sim.port, request_bytes(client.sim, HELLO))
        assert len(client.sim.calls) == 1


async def test_success_that_is_none() -> None:
    async with serving(faults=only("empty-data")) as client:
        assert (await client.post(HELLO)).json["data"] == []
        assert len(client.sim.calls) == 1
    async with serving(faults=only("error-in-200")) as client:
        answer = await client.post(HELLO)
        assert (answer.status, answer.error["code"]) == (200, "do_request_failed")
        assert client.sim.calls == ()
    async with serving(faults=only("truncated-json")) as client:
        answer = await client.post(HELLO)
        assert answer.status == 200
        assert answer.headers["Content-Length"] == str(len(answer.body))
        with pytest.raises(json.JSONDecodeError):
            _ = answer.json
        assert len(client.sim.calls) == 1


async def test_a_tail_stall_sends_the_whole_json_and_holds_back_the_end() -> None:
    async with (
        serving(faults=only("tail-stall")) as client,
        await anyio.connect_tcp("127.0.0.1", client.sim.port) as stream,
    ):
        await stream.send(request_bytes(client.sim, HELLO))
        received = b""
        with anyio.fail_after(2):
            while b"}]}\r\n" not in received:
                received += await stream.receive()
        head, _, chunk = received.partition(b"\r\n\r\n")
        assert b"transfer-encoding: chunked" in head.lower()
        assert json.loads(chunk.split(b"\r\n")[1])["data"][0]["url"]
        with pytest.raises(TimeoutError), anyio.fail_after(0.15):
            await stream.receive()
        with anyio.fail_after(2):
            assert await stream.receive() == b"0\r\n\r\n"
        assert len(client.sim.calls) == 1


async def downloaded(client: Client) -> tuple[bytes, str]:
    """What a picture should be, once, and its URL."""
    url = (await client.post(HELLO)).url
    result = client.sim.world.folder
    (name,) = [call.result for call in client.sim.calls]
    found = await anyio.to_thread.run_sync(result.find, name)
    assert found
    return await anyio.to_thread.run_sync(result.read, found), url


@pytest.mark.parametrize(
    ("kind", "status", "text"),
    [
        ("download-403", 403, b"AuthenticationFailed"),
        ("download-404", 404, b"BlobNotFound"),
        ("download-html", 200, b"<!DOCTYPE html>"),
    ],
)
async def test_downloads_that_are_no_picture(kind: str, status: int, text: bytes) -> None:
    async with serving(faults=only(kind)) as client:
        whole, url = await downloaded(client)
        answer = await client.get(url)
        assert answer.status == status
        assert text in answer.body
        assert (await client.get(url)).body == whole


async def test_downloads_with_wrong_bytes() -> None:
    async with serving(faults=only("download-empty")) as client:
        _, url = await downloaded(client)
        answer = await client.get(url)
        assert (answer.status, answer.body, answer.headers["Content-Length"]) == (200, b"", "0")
    async with serving(faults=only("download-corrupt")) as client:
        whole, url = await downloaded(client)
        answer = await client.get(url)
        assert (answer.status, len(answer.body)) == (200, len(whole))
        assert (answer.body[:4], answer.body[-4:]) == (whole[:4], whole[-4:])
        assert answer.body != whole


async def test_a_truncated_download_announces_more_than_it_sends() -> None:
    async with serving(faults=only("download-truncated")) as client:
        whole, url = await downloaded(client)
        request = f"GET {target_of(url)} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        head, _, body = (await exchange(client.sim.port, request)).partition(b"\r\n\r\n")
        assert f"Content-Length: {len(whole)}".encode() in head
        assert body == whole[: len(whole) // 2]
        with pytest.raises(aiohttp.ClientError):
            await Client(client.sim, client.session).get(await again(client, "download-truncated", url))


async def again(client: Client, kind: str, url: str) -> str:
    """The next download has the fault, too."""
    client.sim.faults = Faults(schedule={kind: frozenset({client.sim.deliveries + 1})})
    return url


async def test_a_download_that_is_reset_half_way() -> None:
    async with serving(faults=only("download-reset")) as client:
        whole, url = await downloaded(client)
        with pytest.raises(aiohttp.ClientError):
            await client.get(url)
        assert (await client.get(url)).body == whole


async def test_a_download_that_stalls_half_way() -> None:
    async with serving(faults=only("download-stall", stall_s=0.5)) as client:
        whole, url = await downloaded(client)
        async with await anyio.connect_tcp("127.0.0.1", client.sim.port) as stream:
            await stream.send(f"GET {target_of(url)} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            received = b""
            with anyio.move_on_after(0.3):
                while True:
                    received += await stream.receive()
            assert received.endswith(whole[: len(whole) // 2])


async def test_a_slow_download_arrives_in_the_end() -> None:
    async with serving(faults=only("download-slow")) as client:
        whole, url = await downloaded(client)
        start = anyio.current_time()
        assert (await client.get(url)).body == whole
        assert anyio.current_time() - start > 0.3


async def test_a_redirect_now_and_then() -> None:
    async with serving(faults=only("download-redirect")) as client:
        whole, url = await downloaded(client)
        assert (await client.get(url, redirects=False)).status == 302
        assert (await client.get(url, redirects=False)).body == whole


async def test_every_kind_comes_by_rate_and_none_else() -> None:
    for kinds, pick in ((GENERATE_KINDS, Faults.on_generate), (DELIVERY_KINDS, Faults.on_delivery)):
        share = 1 / (len(kinds) + 1)
        plan = Faults(rates=dict.fromkeys(kinds, share), seed=5)
        counts = Counter(pick(plan, number) for number in range(1, 4001))
        assert counts.keys() == {*kinds, None}
        assert all(abs(count / 4000 - share) < 0.02 for count in counts.values())


def test_the_plan_depends_on_seed_and_number_alone() -> None:
    plan, same, other = (Faults(rates={"429": 0.5}, seed=seed) for seed in (1, 1, 2))
    first = [plan.on_generate(number) for number in range(1, 100)]
    assert first == [same.on_generate(number) for number in range(1, 100)]
    assert first != [other.on_generate(number) for number in range(1, 100)]


def test_the_schedule_goes_before_the_rates() -> None:
    plan = Faults(rates={"429": 1.0}, schedule={"reset": frozenset({2})})
    assert [plan.on_generate(number) for number in (1, 2, 3)] == ["429", "reset", "429"]
    assert plan.on_delivery(2) is None


def test_specs_of_the_command_line() -> None:
    plan = Faults.from_specs(["429=0.1", "reset@3,5", "reset@9", "download-slow=1"], seed=7)
    assert plan == Faults(rates={"429": 0.1, "download-slow": 1}, schedule={"reset": frozenset({3, 5, 9})}, seed=7)


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("429", "neither"),
        ("429=x", "neither"),
        ("reset@", "neither"),
        ("reset@a", "neither"),
        ("reset@0", "numbered from 1"),
        ("nonsense=0.1", "unknown fault 'nonsense'"),
        ("429=1.5", "0 to 1"),
        ("429=nan", "0 to 1"),
    ],
)
def test_specs_that_can_not_be_meant(spec: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Faults.from_specs([spec])


def test_rates_of_a_leg_add_up_to_one_at_most() -> None:
    with pytest.raises(ValueError, match=r"add up to 1\.2"):
        Faults(rates={"429": 0.6, "reset": 0.6})
    Faults(rates={"429": 0.6, "download-slow": 0.6})


async def test_refused_keys_and_heads_do_not_count() -> None:
    async with serving(faults=Faults(schedule={"429": frozenset({2}), "download-404": frozenset({2})})) as client:
        url = (await client.post(HELLO)).url
        await client.post(HELLO, Authorization="Bearer sk-wrong")
        assert (await client.post(HELLO)).status == 429
        assert [(await client.get(url, method=method)).status for method in ("GET", "HEAD", "GET")] == [200, 200, 404]
