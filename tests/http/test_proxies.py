from __future__ import annotations

import base64
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import anyio
import pytest
from yarl import URL

from fluxbatch.adapters.http.connect import Network
from fluxbatch.app.compose import networks
from fluxbatch.app.request import RunRequest
from fluxbatch.errors import DeliveryError, UsageError
from fluxbatch.model.answer import Action, Granted, Scope
from fluxbatch.model.state import Charge
from fluxbatch.testing.sink import MemorySink
from tests.http.conftest import API_HOST, DELIVERY_HOST
from tests.http.rawserver import GRANTED, Peer, RawServer, always, answer, serve
from tests.http.support import KEY, Bench, job_of, lease_at, write_photo

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from anyio.abc import SocketStream

    from tests.http.conftest import Certificates

OK = answer(GRANTED)
IMAGE = b"\xff\xd8 an image"


@asynccontextmanager
async def proxy_to(target: RawServer) -> AsyncIterator[RawServer]:
    """A proxy whose tunnels all end at one server, whatever host they were asked for."""

    async def pump(receive: SocketStream, peer: Peer) -> None:
        async for data in receive:
            await peer.send(data)
        peer.half_close()

    async def tunnel(peer: Peer) -> None:
        await peer.head()
        async with await anyio.connect_tcp("127.0.0.1", target.port) as stream, anyio.create_task_group() as tasks:
            await peer.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
            tasks.start_soon(pump, stream, peer)
            while data := await peer.reader.read(1 << 16):
                await stream.send(data)
            tasks.cancel_scope.cancel()

    async with serve(tunnel) as proxy:
        yield proxy


def behind(bench: Bench, certificates: Certificates, proxy: str) -> Bench:
    return replace(bench, network=Network(ca_file=certificates.ca_file, proxies={"https": proxy, "http": proxy}))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_requests_and_results_go_through_the_proxy(
    bench: Bench, certificates: Certificates, tmp_path: Path, host: str
) -> None:
    """A proxy mostly stands in a private network, under a name; the rule about private addresses is not for it."""
    photo = write_photo(tmp_path, "one.png", 1 << 20)
    async with serve(always(OK), tls=certificates.server) as api, proxy_to(api) as proxy:
        bench = behind(bench, certificates, f"http://me:p%40ss@{host}:{proxy.port}")
        async with bench.provider(f"https://{API_HOST}/v1") as provider:
            for _ in range(2):
                assert isinstance(await provider.generate(job_of([photo])), Granted)
        async with bench.fetcher(local=False) as fetcher:
            landing = await MemorySink().land()
            await fetcher.fetch(lease_at(f"https://{DELIVERY_HOST}/x%2Fy?sig=a%2Bb"), landing)
    assert [request.line for request in proxy.requests] == [
        f"CONNECT {API_HOST}:443 HTTP/1.1",
        f"CONNECT {DELIVERY_HOST}:443 HTTP/1.1",
    ], "the tunnel is used again"
    credentials = base64.b64encode(b"me:p@ss").decode()
    for request in proxy.requests:
        assert request.headers["proxy-authorization"] == f"Basic {credentials}"
        assert "authorization" not in request.headers
        assert KEY not in repr(request)
    assert [request.target for request in api.requests][-1] == "/x%2Fy?sig=a%2Bb"
    assert all("proxy-authorization" not in request.headers for request in api.requests)
    assert api.requests[0].headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("status", ["407 Proxy Authentication Required", "502 Bad Gateway", "403 Forbidden"])
async def test_a_proxy_that_refuses_was_not_billed(bench: Bench, certificates: Certificates, status: str) -> None:
    async def refuse(peer: Peer) -> None:
        await peer.head()
        await peer.send(answer("no", status=status))

    async with serve(refuse) as proxy:
        bench = behind(bench, certificates, proxy.origin)
        verdict = await bench.refusal(f"https://{API_HOST}/v1")
        assert (verdict.action, verdict.charge, verdict.scope) == (Action.RETRY, Charge.NONE, Scope.ENDPOINT)
        assert status[:3] in verdict.message
        async with bench.fetcher(local=False) as fetcher:
            with pytest.raises(DeliveryError) as caught:
                await fetcher.fetch(lease_at(f"https://{DELIVERY_HOST}/x?sig=1"), await MemorySink().land())
        assert not caught.value.refused, "the proxy's 403 says nothing about the result"


@pytest.mark.parametrize("behaviour", ["closes", "resets", "is gone"])
async def test_a_proxy_that_fails_was_not_billed(bench: Bench, certificates: Certificates, behaviour: str) -> None:
    async def fail(peer: Peer) -> None:
        await peer.head()
        if behaviour == "resets":
            peer.reset()

    async with serve(fail) as proxy:
        bench = behind(bench, certificates, proxy.origin if behaviour != "is gone" else "http://127.0.0.1:1")
        verdict = await bench.refusal(f"https://{API_HOST}/v1")
    assert (verdict.action, verdict.charge) == (Action.RETRY, Charge.NONE)


async def test_loopback_needs_no_proxy(bench: Bench, certificates: Certificates) -> None:
    async with serve(always(OK)) as server, serve(always(answer("", status="502 No"))) as proxy:
        bench = behind(bench, certificates, proxy.origin)
        assert isinstance(await bench.ask(server.base_url), Granted)
        assert isinstance(await bench.ask(server.base_url.replace("127.0.0.1", "localhost")), Granted)
        assert proxy.peers == []


@pytest.mark.parametrize(
    ("no_proxy", "url", "direct"),
    [
        ("", "https://api.apiyi.com/v1", False),
        ("api.apiyi.com", "https://api.apiyi.com/v1", True),
        (".apiyi.com", "https://api.apiyi.com/v1", True),
        ("apiyi.com,other", "https://api.apiyi.com/v1", True),
        ("notapiyi.com", "https://api.apiyi.com/v1", False),
        ("api.apiyi.com:8443", "https://api.apiyi.com:8443/v1", True),
        ("api.apiyi.com:8443", "https://api.apiyi.com/v1", False),
        ("fd00::7", "https://[fd00::7]:8443/v1", True),
        ("*", "https://api.apiyi.com/v1", True),
        ("", "https://127.0.0.1:8443/v1", True),
        ("", "https://[::1]:8443/v1", True),
        ("", "https://localhost/v1", True),
    ],
)
def test_who_is_reached_directly(monkeypatch: pytest.MonkeyPatch, no_proxy: str, url: str, direct: bool) -> None:
    monkeypatch.setenv("NO_PROXY", no_proxy)
    monkeypatch.setenv("no_proxy", no_proxy)
    proxy = Network(proxies={"https": "http://proxy:3128"}).proxy(URL(url))
    assert proxy.url == (None if direct else URL("http://proxy:3128"))


def test_each_scheme_has_its_proxy() -> None:
    network = Network(proxies={"https": "proxy:3128", "http": "http://other:80", "no": "x", "all": "y", "ftp": "::"})
    assert network.proxy(URL("https://a.example/")).url == URL("http://proxy:3128")
    assert network.proxy(URL("http://a.example/")).url == URL("http://other:80")
    assert Network().proxy(URL("https://a.example/")).url is None


def test_all_proxy_stands_in_for_the_one_of_https() -> None:
    network = Network(proxies={"all": "http://any:1", "http": "http://other:80"})
    assert network.proxy(URL("https://a.example/")).url == URL("http://any:1")
    assert network.proxy(URL("http://a.example/")).url == URL("http://other:80")
    with pytest.raises(UsageError, match="SOCKS is not supported"):
        Network(proxies={"all": "socks5://127.0.0.1:1080"})
    Network(proxies={"all": "socks5://127.0.0.1:1080", "https": "http://proxy:3128"})


async def test_results_may_have_a_proxy_of_their_own(bench: Bench, certificates: Certificates) -> None:
    async with (
        serve(always(OK), tls=certificates.server) as api,
        proxy_to(api) as for_requests,
        proxy_to(api) as for_results,
    ):
        asked = RunRequest(
            sources=[],
            ca_file=certificates.ca_file,
            download_proxy=f"http://me:p%40ss@127.0.0.1:{for_results.port}",
        )
        environment = {"https": for_requests.origin}
        requests, results = networks(asked, environment)
        async with replace(bench, network=requests).provider(f"https://{API_HOST}/v1") as provider:
            assert isinstance(await provider.generate(job_of()), Granted)
        async with replace(bench, network=results).fetcher(local=False) as fetcher:
            await fetcher.fetch(lease_at(f"https://{DELIVERY_HOST}/x?sig=1"), await MemorySink().land())
        assert [request.line for request in for_requests.requests] == [f"CONNECT {API_HOST}:443 HTTP/1.1"]
        assert [request.line for request in for_results.requests] == [f"CONNECT {DELIVERY_HOST}:443 HTTP/1.1"]
        credentials = base64.b64encode(b"me:p@ss").decode()
        assert for_results.requests[0].headers["proxy-authorization"] == f"Basic {credentials}"
        assert KEY not in repr(for_results.requests)
        assert "p%40ss" not in repr(asked)


def test_results_may_go_without_the_proxy() -> None:
    requests, results = networks(RunRequest(sources=[], download_proxy="direct"), {"https": "http://proxy:3128"})
    assert requests.proxy(URL("https://a.example/")).url == URL("http://proxy:3128")
    assert results.proxy(URL("https://a.example/")).url is None
    same, too = networks(RunRequest(sources=[]), {"https": "http://proxy:3128"})
    assert same is too


@pytest.mark.parametrize("address", ["socks5://me:HIDDEN@proxy:1080", "me:HIDDEN@:1", "ftp://me:HIDDEN@proxy"])
def test_what_is_no_proxy_for_results(address: str) -> None:
    with pytest.raises(UsageError, match="--download-proxy") as caught:
        networks(RunRequest(sources=[], download_proxy=address), {})
    assert "HIDDEN" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["socks", "socks4", "socks5", "socks5h", "SOCKS5"])
def test_socks_is_not_supported(scheme: str) -> None:
    with pytest.raises(UsageError, match="SOCKS is not supported"):
        Network(proxies={"https": f"{scheme}://me:secret@127.0.0.1:1080"})


@pytest.mark.parametrize("proxy", ["http://proxy:notaport", "ftp://proxy", "http://", "http://[::1", ":"])
def test_what_is_no_proxy(proxy: str) -> None:
    with pytest.raises(UsageError, match="no http"):
        Network(proxies={"https": proxy})
