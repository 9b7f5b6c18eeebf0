from __future__ import annotations

import base64
import hashlib
from dataclasses import replace
from email.utils import formatdate
from random import Random
from typing import TYPE_CHECKING

import anyio
import pytest

from fluxbatch.errors import DeliveryError, StorageError
from fluxbatch.model.state import Reason
from fluxbatch.testing import make_jpeg
from fluxbatch.testing.sink import MemoryLanding, MemorySink
from tests.http.rawserver import Peer, RawServer, Request, Script, always, answer, in_turn, serve
from tests.http.support import NOW, Bench, lease_at

if TYPE_CHECKING:
    from collections.abc import Callable

IMAGE = Random(1).randbytes(300_000)
ETAG = '"0x8DC"'
MD5 = base64.b64encode(hashlib.md5(IMAGE, usedforsecurity=False).digest()).decode()
SIGNED = "/results/a%2Fb%20c/sample.jpeg?se=2026-08-15T19%3A22%3A20Z&sp=r&sig=a%2Bb%2F%3d&plus=a+b&path=x%2Fy:z&e=&f"


def image_answer(data: bytes = IMAGE, **headers: str) -> bytes:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return answer(data, headers={"Content-Type": "image/jpeg", **named})


async def land() -> MemoryLanding:
    return await MemorySink().land()


async def fetched(bench: Bench, script: Script, landing: MemoryLanding | None = None, path: str = SIGNED) -> RawServer:
    landing = landing or await land()
    async with serve(script) as server, bench.fetcher() as fetcher:
        with anyio.fail_after(20):
            await fetcher.fetch(lease_at(server.origin + path), landing)
    assert landing.data == IMAGE
    return server


async def failure(bench: Bench, script: Script, landing: MemoryLanding | None = None) -> DeliveryError:
    landing = landing or await land()
    async with serve(script) as server, bench.fetcher() as fetcher:
        with anyio.fail_after(20), pytest.raises(DeliveryError) as caught:
            await fetcher.fetch(lease_at(server.origin + SIGNED), landing)
    assert caught.value.reason is Reason.DOWNLOAD_FAILED
    assert "sig=" not in str(caught.value)
    return caught.value


# ---------------------------------------------------------------------------------------------------- what is asked
async def test_the_url_arrives_byte_for_byte(bench: Bench) -> None:
    server = await fetched(bench, always(image_answer()))
    (request,) = server.requests
    assert request.line == f"GET {SIGNED} HTTP/1.1"
    assert request.headers["host"] == f"127.0.0.1:{server.port}"
    assert request.headers["accept-encoding"] == "identity"
    assert not {"authorization", "cookie", "range", "if-range", "proxy-authorization"} & request.headers.keys()


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
@pytest.mark.parametrize("absolute", [True, False])
async def test_a_redirect_keeps_the_query_byte_for_byte(bench: Bench, status: str, absolute: bool) -> None:
    async def redirect(peer: Peer) -> None:
        while True:
            request = await peer.request()
            if request.target == SIGNED:
                location = "/moved%2Fon/x?sig=c%2Fd%3A%2b&se=1%3A2"
                location = peer.server.origin + location if absolute else location
                headers = {"Location": location, "Set-Cookie": "id=1; Path=/"}
                await peer.send(answer("moved", status=status, headers=headers))
            else:
                await peer.send(image_answer())

    server = await fetched(bench, redirect)
    assert [request.target for request in server.requests] == [SIGNED, "/moved%2Fon/x?sig=c%2Fd%3A%2b&se=1%3A2"]
    assert [request.method for request in server.requests] == ["GET", "GET"]
    assert "cookie" not in server.requests[1].headers
    assert "authorization" not in server.requests[1].headers


async def test_a_redirect_to_another_host(bench: Bench) -> None:
    async with serve(always(image_answer())) as elsewhere:
        location = {"Location": f"{elsewhere.origin}/there?x=%2F"}
        await fetched(bench, always(answer("", status="302 Found", headers=location)))
    assert [request.target for request in elsewhere.requests] == ["/there?x=%2F"]


async def test_redirects_come_to_an_end(bench: Bench) -> None:
    error = await failure(bench, always(answer("", status="302 Found", headers={"Location": SIGNED})))
    assert str(error) == "more than 5 redirects"


BAD_LOCATIONS = [
    "https://host:port/?sig=1",
    "https://[::1/?sig=1",
    "ftp://127.0.0.1/?sig=1",
    "file:///etc/passwd?sig=1",
    "http:///nowhere?sig=1",
    "https://h:99999/?sig=1",
    "http://exa mple/?sig=1",
    "/with\xe9\x80raw?sig=1",
    "javascript:alert(1)?sig=1",
    "http://127.0.0.1:1/?sig=1",
    "http://[fe80::1%25lo]:1/?sig=1",
    "http://\xff\xfe/?sig=1",
    "http://xn--a/?sig=1",
    "http://" + "a" * 300 + "/?sig=1",
    "http://a..b/?sig=1",
]


@pytest.mark.parametrize("location", BAD_LOCATIONS)
async def test_a_redirect_that_leads_nowhere_is_a_failed_try(bench: Bench, location: str) -> None:
    data = answer("", status="302 Found", headers={"Location": location})
    answers = [data, answer("", status="500 Oh")]
    error = await failure(bench, in_turn(*answers, *answers))
    assert not error.refused


@pytest.mark.parametrize(
    "url", [*BAD_LOCATIONS, "", "/", "not a url", "http://", "\x00", "http://127.0.0.1:1/\r\nX: y"]
)
@pytest.mark.parametrize("local", [True, False])
async def test_a_lease_that_leads_nowhere_is_a_failed_try(bench: Bench, url: str, local: bool) -> None:
    async with bench.fetcher(local=local) as fetcher:
        with pytest.raises(DeliveryError) as caught:
            await fetcher.fetch(lease_at(url), await land())
    assert "sig=" not in str(caught.value)


# ------------------------------------------------------------------------------------------------------------ resuming


def ranged(
    request: Request, *, data: bytes = IMAGE, etag: str = ETAG, status: str = "206 Partial Content", shift: int = 0
) -> bytes:
    start = int(request.headers["range"].removeprefix("bytes=").removesuffix("-"))
    part = data[start + shift :]
    span = f"bytes {start + shift}-{len(data) - 1}/{len(data)}"
    return answer(part, status=status, headers={"Content-Range": span, "ETag": etag, "Content-Type": "image/jpeg"})


def broken_then(second: Callable[[Request], bytes], *, etag: str = ETAG, data: bytes = IMAGE) -> Script:
    """Break off after 100 000 bytes, then do something else."""

    async def script(peer: Peer) -> None:
        request = await peer.request()
        if len(peer.server.requests) == 1:
            whole = image_answer(data, ETag=etag, Content_MD5=MD5)
            await peer.send(whole[: len(whole) - len(data) + 100_000])
            return
        await peer.send(second(request))

    return script


async def resumed(bench: Bench, script: Script, *, fails: bool = False) -> tuple[MemoryLanding, RawServer]:
    """Two tries into one landing, or three if the second is to fail."""
    landing = await land()
    async with serve(script) as server, bench.fetcher() as fetcher:
        lease = lease_at(server.origin + SIGNED)
        for _ in range(2 if fails else 1):
            with pytest.raises(DeliveryError) as caught:
                await fetcher.fetch(lease, landing)
            assert not caught.value.refused
        await fetcher.fetch(lease, landing)
    assert landing.data == IMAGE
    return landing, server


async def test_a_broken_transfer_goes_on_where_it_broke(bench: Bench) -> None:
    landing, server = await resumed(bench, broken_then(ranged))
    second = server.requests[1].headers
    assert (second["range"], second["if-range"]) == ("bytes=100000-", ETAG)
    assert server.requests[1].target == SIGNED
    assert (landing.etag, landing.md5) == (ETAG, MD5)


async def test_a_host_that_ignores_ranges_starts_over(bench: Bench) -> None:
    await resumed(bench, broken_then(lambda _: image_answer(ETag=ETAG)))


async def test_another_image_at_the_same_url_starts_over(bench: Bench) -> None:
    old = Random(2).randbytes(len(IMAGE))
    landing, _ = await resumed(bench, broken_then(lambda _: image_answer(ETag='"new"'), data=old))
    assert landing.etag == '"new"'
    assert landing.md5 == "", "the checksum of the old image is forgotten"


@pytest.mark.parametrize("etag", ["", 'W/"weak"', "unquoted", '"\xe9"'])
async def test_without_a_strong_etag_nothing_is_resumed(bench: Bench, etag: str) -> None:
    _, server = await resumed(bench, broken_then(lambda _: image_answer(), etag=etag))
    assert "range" not in server.requests[1].headers


def range_of_another(request: Request) -> bytes:
    return ranged(request, etag='"new"') if "range" in request.headers else image_answer()


def range_at_the_wrong_place(request: Request) -> bytes:
    return ranged(request, shift=1) if "range" in request.headers else image_answer()


def range_without_place(request: Request) -> bytes:
    return answer(IMAGE[100_000:], status="206 Partial") if "range" in request.headers else image_answer()


def range_of_another_unit(request: Request) -> bytes:
    if "range" not in request.headers:
        return image_answer()
    return answer(IMAGE[100_000:], status="206 Partial", headers={"Content-Range": "lines 100000-299999/300000"})


def range_not_satisfiable(request: Request) -> bytes:
    return answer("", status="416 No") if "range" in request.headers else image_answer()


@pytest.mark.parametrize(
    "second",
    [range_of_another, range_at_the_wrong_place, range_without_place, range_of_another_unit, range_not_satisfiable],
    ids=lambda second: second.__name__,
)
async def test_a_range_that_does_not_fit_starts_over(bench: Bench, second: Callable[[Request], bytes]) -> None:
    _, server = await resumed(bench, broken_then(second), fails=True)
    assert "range" in server.requests[1].headers
    assert "range" not in server.requests[2].headers


async def test_a_range_may_be_answered_in_parts(bench: Bench) -> None:
    """A host that sends less than was asked for is asked again."""

    def half(request: Request) -> bytes:
        start = int(request.headers["range"].removeprefix("bytes=").removesuffix("-"))
        end = min(start + 100_000, len(IMAGE))
        span = f"bytes {start}-{end - 1}/{len(IMAGE)}"
        return answer(IMAGE[start:end], status="206 Partial", headers={"Content-Range": span, "ETag": ETAG})

    _, server = await resumed(bench, broken_then(half), fails=True)
    assert server.requests[2].headers["range"] == "bytes=200000-"


# ------------------------------------------------------------------------------------------------------------ failures
@pytest.mark.parametrize("after", [0, 100_000], ids=["before the first byte", "half-way"])
async def test_a_stall_is_given_up(bench: Bench, after: int) -> None:
    async def stall(peer: Peer) -> None:
        await peer.request()
        await peer.send(image_answer()[:after])
        await peer.gone()

    error = await failure(replace(bench, settings=replace(bench.settings, download_stall_s=0.2)), stall)
    assert str(error) == "no byte for 0.2 s"
    assert not error.refused


async def test_a_slow_transfer_is_no_stall(bench: Bench) -> None:
    async def trickle(peer: Peer) -> None:
        await peer.request()
        data = image_answer()
        for at in range(0, len(data), 40_000):
            await peer.send(data[at : at + 40_000])
            await anyio.sleep(0.1)

    await fetched(replace(bench, settings=replace(bench.settings, download_stall_s=0.6)), trickle)


async def test_closed_before_the_end(bench: Bench) -> None:
    async def close(peer: Peer) -> None:
        await peer.request()
        await peer.send(image_answer()[:-1])

    landing = await land()
    error = await failure(bench, close, landing)
    assert not error.refused
    assert landing.data == IMAGE[:-1], "what came is kept"


async def test_reset_half_way(bench: Bench) -> None:
    async def reset(peer: Peer) -> None:
        await peer.request()
        await peer.send(image_answer()[:100_000])
        await anyio.sleep(0.02)
        peer.reset()

    assert not (await failure(bench, reset)).refused


async def test_garbage(bench: Bench) -> None:
    assert not (await failure(bench, always(b"\x00\x01garbage\r\n\r\n"))).refused


@pytest.mark.parametrize(
    ("status", "refused"),
    [(403, True), (404, True), (410, True), (400, False), (429, False), (500, False), (503, False)],
)
async def test_what_the_host_refuses(bench: Bench, status: int, refused: bool) -> None:
    body = "<?xml version='1.0'?><Error><Code>AuthenticationFailed</Code></Error>"
    landing = await land()
    error = await failure(bench, always(answer(body, status=f"{status} No")), landing)
    assert error.refused is refused
    assert str(error) == f"the host says HTTP {status}"
    assert landing.size == 0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7.0),
        ("0.5", 0.5),
        (formatdate(NOW + 30, usegmt=True), 30.0),
        ("", None),
        ("\xb2", None),
        ("9" * 400, None),
    ],
)
async def test_how_long_to_wait(bench: Bench, text: str, seconds: float | None) -> None:
    error = await failure(bench, always(answer("", status="503 Busy", headers={"Retry-After": text})))
    assert error.retry_after == seconds


@pytest.mark.parametrize("announced", [True, False])
async def test_a_result_above_the_cap_is_not_kept(bench: Bench, announced: bool) -> None:
    data = image_answer() if announced else b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + IMAGE

    async def send(peer: Peer) -> None:
        await peer.request()
        await peer.send(data)

    landing = await land()
    error = await failure(replace(bench, settings=replace(bench.settings, max_image_bytes=200_000)), send, landing)
    assert "200000" in str(error)
    assert landing.size <= 200_000


# --------------------------------------------------------------------------------------------------- what is kept of it
@pytest.mark.parametrize(
    ("header", "kept"),
    [(MD5, MD5), ("", ""), (hashlib.md5(b"").hexdigest(), ""), ("AAAA", ""), ("!" * 24, ""), (MD5 + "=", "")],
    ids=["one", "none", "in hex", "short", "no base64", "too long"],
)
async def test_a_checksum_that_is_none_is_ignored(bench: Bench, header: str, kept: str) -> None:
    """A header that no image could match must not make a paid one undeliverable."""
    landing = await land()
    await fetched(bench, always(image_answer(Content_MD5=header)), landing)
    assert landing.md5 == kept


async def test_chunked_and_unframed_results(bench: Bench) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    await fetched(bench, always(head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(IMAGE), IMAGE)))

    async def until_the_end(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\n", IMAGE)

    await fetched(bench, until_the_end)


async def test_a_folder_landing_takes_the_bytes(bench: Bench) -> None:
    image = make_jpeg(3, width=20_000, height=20_000)
    async with serve(always(image_answer(image))) as server, bench.fetcher() as fetcher, bench.landing() as landing:
        await fetcher.fetch(lease_at(server.origin + SIGNED), landing)
        assert landing.size == len(image)
        stored = await landing.commit("image")
    assert (bench.folder / stored.file).read_bytes() == image


async def test_a_full_disk_is_told_as_such(bench: Bench) -> None:
    landing = await MemorySink(capacity=1000).land()
    async with serve(always(image_answer())) as server, bench.fetcher() as fetcher:
        with pytest.raises(StorageError):
            await fetcher.fetch(lease_at(server.origin + SIGNED), landing)


async def test_connections_are_reused_and_broken_ones_are_not(bench: Bench) -> None:
    refusal = answer("gone", status="404 Gone")
    async with serve(in_turn(image_answer(), image_answer(), refusal)) as server, bench.fetcher() as fetcher:
        for _ in range(2):
            await fetcher.fetch(lease_at(server.origin + SIGNED), await land())
        with pytest.raises(DeliveryError):
            await fetcher.fetch(lease_at(server.origin + SIGNED), await land())
    assert len(server.peers) == 1
