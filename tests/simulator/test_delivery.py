from __future__ import annotations

import base64
import hashlib
import re
from typing import TYPE_CHECKING

import anyio
import pytest

from fluxbatch.simulator.signing import deadline_of
from tests.simulator.client import HELLO, Client, exchange, serving, target_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with serving() as client:
        yield client


async def raw_get(port: int, target: str) -> bytes:
    request = f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n"
    return await exchange(port, request.encode())


async def test_the_url_looks_like_those_of_the_real_hosts(client: Client) -> None:
    target = target_of((await client.post(HELLO)).url)
    pattern = (
        r"/results/[0-9a-f]{32}/sample\.jpeg\?se=\d{4}-\d\d-\d\dT\d\d%3A\d\d%3A\d\dZ"
        r"&sp=r&sr=b&sv=\d{4}-\d\d-\d\d&rsct=image%2Fjpeg&sig=[A-Za-z0-9%]+"
    )
    assert re.fullmatch(pattern, target)


async def test_the_query_counts_byte_for_byte(client: Client) -> None:
    target = target_of((await client.post(HELLO)).url)
    assert (await raw_get(client.sim.delivery_port, target)).startswith(b"HTTP/1.1 200 OK\r\n")
    changed = (
        target.replace("%3A", ":", 1),
        target.replace("%2F", "/", 1),
        target.replace("%3A", "%3a", 1),
        target.replace("sp=r&sr=b", "sr=b&sp=r"),
        target.replace("/results/", "/results/%2e/", 1).replace("/%2e/", "/./"),
        target + "&x=1",
        target[:-3],
        target.split("?")[0],
        target.replace("sample", "%73ample"),
    )
    for other in changed:
        answer = await raw_get(client.sim.delivery_port, other)
        assert answer.split()[1] in {b"403", b"404"}, other
        assert b"200 OK" not in answer
    answer = await raw_get(client.sim.delivery_port, changed[0])
    assert b"<Code>AuthenticationFailed</Code>" in answer
    assert b"Signature did not match" in answer


async def test_past_the_deadline_it_is_403_with_the_words_of_azure() -> None:
    clock = Clock()
    async with serving(clock=clock) as client:
        url = (await client.post(HELLO)).url
        clock.now += 600
        assert (await client.get(url)).status == 200
        clock.now += 1
        answer = await client.get(url)
        assert answer.status == 403
        assert answer.headers["x-ms-error-code"] == "AuthenticationFailed"
        assert b"Signature not valid in the specified time frame" in answer.body


async def test_the_life_of_urls_is_a_setting() -> None:
    clock = Clock()
    async with serving(clock=clock, url_life=5) as client:
        url = (await client.post(HELLO)).url
        clock.now += 5
        assert (await client.get(url)).status == 200
        clock.now += 1
        assert (await client.get(url)).status == 403


async def test_the_deadline_counts_from_the_end_of_the_generation() -> None:
    def fast_clock() -> float:
        return 1_800_000_000 + anyio.current_time() * 1000

    async with serving(latency_s=0.1, clock=fast_clock) as client:
        started = fast_clock()
        answer = await client.post(HELLO)
        assert answer.json["created"] - started > 99
        assert deadline_of(answer.url) == answer.json["created"] + 600


async def test_a_key_at_the_delivery_host_is_refused_and_counted(client: Client) -> None:
    url = (await client.post(HELLO)).url
    answer = await client.get(url, {"Authorization": f"Bearer {client.sim.api_key}"})
    assert answer.status == 400
    assert b"<Code>InvalidAuthenticationInfo</Code>" in answer.body
    assert client.sim.leaked_keys == 1
    await client.get(url, {"X-Key": client.sim.api_key})
    assert client.sim.leaked_keys == 2
    assert (await client.get(url)).status == 200


async def test_headers_allow_checks_and_resumption(client: Client) -> None:
    url = (await client.post({**HELLO, "output_format": "png"})).url
    answer = await client.get(url)
    assert answer.headers["Content-Type"] == "image/png"
    assert answer.headers["Content-Length"] == str(len(answer.body))
    assert answer.headers["Content-MD5"] == base64.b64encode(hashlib.md5(answer.body).digest()).decode()
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.headers["ETag"].startswith('"0x8D')
    assert "Access-Control-Allow-Origin" not in answer.headers
    head = await client.get(url, method="HEAD")
    assert (head.status, head.body) == (200, b"")
    assert {**head.headers, "Date": ""} == {**answer.headers, "Date": ""}


async def test_ranges(client: Client) -> None:
    url = (await client.post(HELLO)).url
    whole = await client.get(url)
    size = len(whole.body)
    middle = await client.get(url, {"Range": "bytes=100-199"})
    assert (middle.status, middle.body) == (206, whole.body[100:200])
    assert middle.headers["Content-Range"] == f"bytes 100-199/{size}"
    assert "Content-MD5" not in middle.headers
    rest = await client.get(url, {"Range": "bytes=100-", "If-Range": whole.headers["ETag"]})
    assert (rest.status, rest.body) == (206, whole.body[100:])
    dated = await client.get(url, {"Range": "bytes=-7", "If-Range": whole.headers["Last-Modified"]})
    assert (dated.status, dated.body) == (206, whole.body[-7:])
    other = await client.get(url, {"Range": "bytes=100-", "If-Range": '"0x8D000000000000"'})
    assert (other.status, other.body) == (200, whole.body)
    beyond = await client.get(url, {"Range": f"bytes={size}-"})
    assert beyond.status == 416
    assert beyond.headers["Content-Range"] == f"bytes */{size}"
    assert (await client.get(url, {"Range": "bytes=0-1,4-5"})).status == 200


async def test_a_redirect_leads_to_a_second_signed_url() -> None:
    async with serving(redirect_delivery=True) as client:
        url = (await client.post(HELLO)).url
        hop = await client.get(url, redirects=False)
        assert hop.status == 302
        location = hop.headers["Location"]
        assert "/durable/" in location
        assert {"%3A", "%2F"} <= set(re.findall("%[0-9A-F]{2}", location))
        assert (await client.get(location)).status == 200
        assert (await client.get(location.replace("%2F", "/"))).status == 403
        assert client.sim.deliveries == 1


async def test_results_may_come_from_another_port() -> None:
    async with serving(delivery_port=0) as client:
        url = (await client.post(HELLO)).url
        assert client.sim.delivery_port != client.sim.port
        assert url.startswith(f"http://127.0.0.1:{client.sim.delivery_port}/results/")
        assert (await client.get(url)).status == 200


async def test_a_restart_on_the_same_folder_serves_old_urls_on_the_same_port(tmp_path: Path) -> None:
    async with serving(data=tmp_path, delivery_port=0) as client:
        url, ports = (await client.post(HELLO)).url, (client.sim.port, client.sim.delivery_port)
        body = (await client.get(url)).body
    async with serving(data=tmp_path, delivery_port=0) as client:
        assert (client.sim.port, client.sim.delivery_port) == ports
        assert (await client.get(url)).body == body


async def test_results_are_deleted_long_after_they_expired(tmp_path: Path) -> None:
    clock = Clock()
    async with serving(data=tmp_path, clock=clock) as client:
        await client.post(HELLO)
    clock.now += 600 + 3600
    async with serving(data=tmp_path, clock=clock):
        assert len(list((tmp_path / "results").iterdir())) == 2
    clock.now += 1
    async with serving(data=tmp_path, clock=clock):
        assert list((tmp_path / "results").iterdir()) == []


async def test_a_signed_url_of_what_is_gone_is_404(tmp_path: Path) -> None:
    async with serving(data=tmp_path) as client:
        url = (await client.post(HELLO)).url
        for file in (tmp_path / "results").iterdir():
            file.unlink()
        answer = await client.get(url)
        assert answer.status == 404
        assert b"<Code>BlobNotFound</Code>" in answer.body
