from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import anyio
import pytest
from yarl import URL

from fluxbatch.model.answer import Granted, Refused
from fluxbatch.model.state import Charge
from tests.http.rawserver import CHUNKED, GRANTED, Peer, always, answer, serve
from tests.http.support import Bench, job_of

if TYPE_CHECKING:
    from fluxbatch.adapters.http import GatewayProvider, Network

OK = answer(GRANTED)
CHUNKED_OK = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % len(OK.split(b"\r\n\r\n")[1])
    + OK.split(b"\r\n\r\n")[1]
    + b"\r\n0\r\n\r\n"
)


async def test_connections_are_reused_at_once(bench: Bench) -> None:
    for data in (OK, CHUNKED_OK):
        async with serve(always(data)) as server, bench.provider(server.base_url) as provider:
            for _ in range(3):
                assert isinstance(await provider.generate(job_of()), Granted)
            assert len(server.peers) == 1


async def test_connections_are_reused_while_surely_alive_and_not_after(bench: Bench) -> None:
    """Below four idle seconds the same connection, above them a new one: the other end may be closing the old one.

    Here the second server does so at the moment that the next request arrives on it, which would count as maybe billed.
    """

    async def close_when_asked_again(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        await peer.head()
        peer.reset()

    async with (
        serve(always(OK)) as patient,
        serve(close_when_asked_again) as hasty,
        bench.provider(patient.base_url) as first,
        bench.provider(hasty.base_url) as second,
        anyio.create_task_group() as tasks,
    ):
        for provider, idle in ((first, 3.0), (second, 4.3)):
            tasks.start_soon(_ask_twice, provider, idle)
    assert len(patient.peers) == 1
    assert len(hasty.peers) == 2


async def _ask_twice(provider: GatewayProvider, idle: float) -> None:
    assert isinstance(await provider.generate(job_of()), Granted)
    await anyio.sleep(idle)
    assert isinstance(await provider.generate(job_of()), Granted)


async def test_a_connection_closed_while_idle_is_noticed(bench: Bench) -> None:
    async def once(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)

    async with serve(once) as server, bench.provider(server.base_url) as provider:
        for _ in range(3):
            assert isinstance(await provider.generate(job_of()), Granted)
            await server.until(lambda: server.open == 0)
            await anyio.sleep(0.01)


async def test_a_request_is_never_sent_again_behind_our_back(bench: Bench) -> None:
    """Not even on a connection that was used before, where HTTP clients like to try once more."""

    async def answer_once(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        await peer.request()

    async with serve(answer_once) as server, bench.provider(server.base_url) as provider:
        assert isinstance(await provider.generate(job_of()), Granted)
        answered = await provider.generate(job_of())
        assert len(server.requests) == 2
    assert isinstance(answered, Refused)
    assert answered.verdict.charge is Charge.UNKNOWN


async def test_a_broken_off_connection_is_not_used_again(bench: Bench) -> None:
    async def two_answers(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(answer(GRANTED, headers={"Content-Length": "10"}) + b"rest")

    async with serve(two_answers) as server, bench.provider(server.base_url) as provider:
        for _ in range(2):
            await provider.generate(job_of())
        assert len(server.peers) == 2


@pytest.mark.parametrize("kind", ["requests", "results"])
async def test_sockets_are_kept_alive(network: Network, kind: str) -> None:
    session = network.api_session() if kind == "requests" else network.delivery_session(guard=False)

    async def withhold_the_end(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED)
        await peer.gone()

    async with serve(withhold_the_end) as server, session, session.get(URL(server.origin)) as response:
        assert response.connection is not None
        assert response.connection.transport is not None
        sock = response.connection.transport.get_extra_info("socket")
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        for name in ("TCP_KEEPIDLE", "TCP_KEEPALIVE", "TCP_KEEPINTVL"):
            if hasattr(socket, name):
                assert sock.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) == 30
        assert sock.get_inheritable() is False


async def test_many_requests_at_a_time(bench: Bench) -> None:
    """No cap of the connector stands in the way of the engine's own."""
    waiting = 0

    async def wait_for_all(peer: Peer) -> None:
        nonlocal waiting
        await peer.request()
        waiting += 1
        await peer.server.until(lambda: waiting == 150)
        await peer.send(OK)

    async with (
        serve(wait_for_all) as server,
        bench.provider(server.base_url) as provider,
        anyio.create_task_group() as tasks,
    ):
        for _ in range(150):
            tasks.start_soon(provider.generate, job_of())
    assert len(server.complete) == 150
