"""A middlebox that cuts connections after the API has answered: it is billed, and nothing of the answer arrives."""

from __future__ import annotations

import itertools
import socket
import struct
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import anyio
import pytest
from anyio.abc import SocketAttribute
from anyio.from_thread import start_blocking_portal

from tests.app.stage import check_bills, check_folder, check_stored, results, write_rows

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from anyio.abc import SocketStream

    from tests.app.stage import Api

_RESET = struct.pack("ii", 1, 0)
_GONE = (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError)


class Middlebox:
    """Passes bytes on, and cuts some answers.

    Attributes:
        upstream: port of the API.
        cuts: whether the answer of this number (from 1) is cut.
        after: bytes of it that are let through.
        cut: the answers that it cut, by number.
    """

    def __init__(self, upstream: int, cuts: Callable[[int], bool], *, after: int) -> None:
        self.upstream, self.cuts, self.after = upstream, cuts, after
        self.cut: list[int] = []
        self._numbers = itertools.count(1)

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[int]:
        """On this port."""
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        async with listener, anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, self._take)
            yield listener.extra(SocketAttribute.local_port)
            tasks.cancel_scope.cancel()

    async def _take(self, client: SocketStream) -> None:
        async with (
            client,
            await anyio.connect_tcp("127.0.0.1", self.upstream) as api,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(self._pass_on, client, api)
            with suppress(*_GONE):
                await self._answer(api, client)
            tasks.cancel_scope.cancel()

    async def _pass_on(self, source: SocketStream, target: SocketStream) -> None:
        with suppress(*_GONE):
            async for data in source:
                await target.send(data)
            await target.send_eof()

    async def _answer(self, api: SocketStream, client: SocketStream) -> None:
        async for data in api:
            number = next(self._numbers)
            if self.cuts(number):
                self.cut.append(number)
                await client.send(data[: self.after])
                client.extra(SocketAttribute.raw_socket).setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                await anyio.aclose_forcefully(client)
                return
            await client.send(data)


@pytest.mark.parametrize("after", [0, 200])
def test_what_was_cut_is_maybe_billed_and_made_once_more(api: Api, tmp_path: Path, after: int) -> None:
    upstream = int(api.sim.base_url.rpartition(":")[2].partition("/")[0])
    write_rows(tmp_path / "jobs.jsonl", 24)
    box = Middlebox(upstream, lambda number: number % 6 == 3, after=after)
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(box.serve()) as port:
        api.env["FLUXBATCH_BASE_URL"] = f"http://127.0.0.1:{port}/v1"
        ran = api.run("jobs.jsonl", "--json", cwd=tmp_path)
    api.settle()

    lines = results(tmp_path / "jobs-out")
    assert box.cut, "nothing was cut"
    assert ran.summary["unknown_charges"] == len(box.cut)
    assert ran.summary["stored"] + ran.summary["failed"] == 24
    assert {line["error"]["code"] for line in lines if line["error"]} <= {"unknown_outcome"}
    assert ran.summary["charged"] <= len(api.sim.calls) <= ran.summary["charged"] + ran.summary["unknown_charges"]
    check_bills(api, lines)
    check_stored(api, tmp_path / "jobs-out", lines)
    check_folder(tmp_path / "jobs-out")
