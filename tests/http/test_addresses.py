from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fluxbatch.adapters.http.connect import check_base_url, is_loopback, is_public
from fluxbatch.errors import DeliveryError, UsageError
from fluxbatch.testing.sink import MemorySink
from tests.http.rawserver import Peer, always, answer, serve
from tests.http.support import Bench, lease_at

if TYPE_CHECKING:
    from fluxbatch.adapters.http import Network

PRIVATE = [
    "127.0.0.1",
    "127.1.2.3",
    "0.0.0.0",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "198.18.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "::1",
    "::",
    "fe80::1",
    "fe80::1%lo",
    "fc00::1",
    "fd12::1",
    "fec0::1",
    "ff02::1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::a00:1",
    "64:ff9b::7f00:1",
    "2002:7f00:1::",
    "2001:db8::1",
    "no address",
    "",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_addresses_that_are_not_of_the_internet(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["1.1.1.1", "20.60.1.1", "2606:4700::1111", "64:ff9b::101:101"])
def test_addresses_of_the_internet(address: str) -> None:
    assert is_public(address)


SPELLINGS = [
    *(f"[{address}]" if ":" in address else address for address in PRIVATE[:-2] if "%" not in address),
    "localhost",
    "LOCALHOST.",
    "127.1",
    "0",
    "0x7f000001",
    "0x7f.0.0.1",
    "2130706433",
    "017700000001",
    "127.0.0.1.",
    "[::ffff:7f00:1]",
    "[0:0:0:0:0:0:0:1]",
]


@pytest.mark.parametrize("host", SPELLINGS)
async def test_a_result_in_a_private_network_is_not_fetched(bench: Bench, host: str) -> None:
    async def never(peer: Peer) -> None:
        await peer.head()

    async with serve(never) as server, bench.fetcher(local=False) as fetcher:
        with pytest.raises(DeliveryError) as caught:
            await fetcher.fetch(lease_at(f"https://{host}:{server.port}/x?sig=1"), await MemorySink().land())
        assert server.peers == [], "not even a connection"
    assert not caught.value.refused
    assert "sig=" not in str(caught.value)


async def test_only_https_is_fetched(bench: Bench) -> None:
    async with bench.fetcher(local=False) as fetcher:
        with pytest.raises(DeliveryError, match="only https is fetched"):
            await fetcher.fetch(lease_at("http://delivery.example.com/x?sig=1"), await MemorySink().land())


async def test_a_name_that_leads_to_this_machine_is_not_fetched(bench: Bench) -> None:
    """``ip6-localhost`` and the machine's own name stand in ``/etc/hosts``; any DNS name may do the same."""
    async with serve(always(answer(b"x"))) as server, bench.fetcher(local=False) as fetcher:
        for name in ("localhost.localdomain", "x.localhost", "ip6-localhost"):
            with pytest.raises(DeliveryError):
                await fetcher.fetch(lease_at(f"https://{name}:{server.port}/x"), await MemorySink().land())
        assert server.peers == []


async def test_the_resolver_of_results_refuses_private_addresses(network: Network) -> None:
    async with network.delivery_session(guard=True) as session:
        with pytest.raises(OSError, match="localhost") as caught:
            await session.get("https://localhost:1/")
    assert str(caught.value.__cause__) == "localhost leads into a private network"


async def test_a_local_api_may_have_local_results(bench: Bench) -> None:
    async with serve(always(answer(b"x"))) as server, bench.fetcher(local=True) as fetcher:
        await fetcher.fetch(lease_at(f"http://localhost:{server.port}/x"), await MemorySink().land())
        assert server.requests[0].headers["host"] == f"localhost:{server.port}"


async def test_a_name_that_does_not_exist_is_not_called_private(bench: Bench) -> None:
    async with bench.fetcher(local=False) as fetcher:
        with pytest.raises(DeliveryError) as caught:
            await fetcher.fetch(lease_at("https://no-such-host.invalid/x?sig=1"), await MemorySink().land())
    assert "private" not in str(caught.value)


# ------------------------------------------------------------------------------------------------------ the base URL
@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://api.apiyi.com/v1", "https://api.apiyi.com/v1"),
        ("https://api.apiyi.com/v1///", "https://api.apiyi.com/v1"),
        ("HTTPS://API.apiyi.com", "https://api.apiyi.com"),
        ("http://127.0.0.1:8765/v1", "http://127.0.0.1:8765/v1"),
        ("http://localhost:8765/v1", "http://localhost:8765/v1"),
        ("http://[::1]:8765/v1", "http://[::1]:8765/v1"),
    ],
)
def test_base_urls(text: str, url: str) -> None:
    assert str(check_base_url(text)).rstrip("/") == url


@pytest.mark.parametrize(
    "text",
    [
        "",
        "api.apiyi.com/v1",
        "ftp://api.apiyi.com",
        "https://",
        "https:///v1",
        "https://host:port/v1",
        "https://host:99999/v1",
        "https://[::1/v1",
        "https://a..b/v1",
        "https://" + "a" * 70 + ".com/v1",
        "https://exa mple.com/v1",
        "https://api.apiyi.com/v1?key=HIDDEN",
        "https://api.apiyi.com/v1#HIDDEN",
        "https://me:HIDDEN@api.apiyi.com/v1",
        "https://HIDDEN@api.apiyi.com/v1",
        "ftp://me:HIDDEN@api.apiyi.com/v1",
        "https://me:HIDDEN@host:port/v1",
        "http://api.apiyi.com/v1",
        "http://0.0.0.0/v1",
        "http://10.0.0.1/v1",
        "http://127.0.0.1.example.com/v1",
        "http://localhost.example.com/v1",
    ],
)
def test_what_is_no_base_url(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_base_url(text)
    assert "HIDDEN" not in str(caught.value)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("localhost", True),
        ("localhost.", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("[::1]", True),
        ("0.0.0.0", False),
        ("localhost.com", False),
        ("::2", False),
        ("", False),
        ("127.1", False),
    ],
)
def test_loopback(host: str, local: bool) -> None:
    assert is_loopback(host) is local
