"""The same under uvloop, which servers that call ``arun`` mostly bring along, and whose sockets are of another kind."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import anyio
import orjson
import pytest

from fluxbatch.adapters.http.connect import Network
from fluxbatch.adapters.http.patience import Patience
from fluxbatch.model.answer import Granted
from fluxbatch.model.state import Charge, Reason
from tests.http.rawserver import GRANTED, RESULT, Peer, always, answer, serve
from tests.http.support import Bench, job_of, write_photo

if TYPE_CHECKING:
    from pathlib import Path

    from tests.http.conftest import Certificates


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, object]]:
    return "asyncio", {"use_uvloop": True}


@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
async def test_an_answer_that_ends_its_connection_is_one(
    bench: Bench, certificates: Certificates, secure: bool
) -> None:
    bench = replace(bench, network=Network(ca_file=certificates.ca_file))
    last = answer(GRANTED, headers={"Connection": "close"})
    async with serve(always(last), tls=certificates.server if secure else None) as server:
        answered = await bench.ask(server.base_url)
    assert isinstance(answered, Granted), answered
    assert answered.lease.url == RESULT


async def test_an_answer_whose_end_is_held_back_is_one(bench: Bench) -> None:
    async def withhold_the_end(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\n", orjson.dumps(GRANTED))
        await peer.gone()

    async with serve(withhold_the_end) as server:
        assert isinstance(await bench.ask(server.base_url), Granted)
        await server.until(lambda: server.open == 0)


@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
async def test_an_answer_before_the_last_byte_counts(
    bench: Bench, certificates: Certificates, tmp_path: Path, secure: bool
) -> None:
    photo = write_photo(tmp_path, "one.png", 16 << 20)
    answered = anyio.Event()

    async def refuse(peer: Peer) -> None:
        head = await peer.head()
        await peer.body(head, bytes_at_most=1 << 20)
        await peer.send(answer({"error": {"message": "early"}}, status="429 Too Many Requests"))
        await peer.server.until(answered.is_set)

    bench = replace(bench, network=Network(ca_file=certificates.ca_file))
    async with serve(refuse, tls=certificates.server if secure else None, small_buffer=True) as server:
        verdict = await bench.refusal(server.base_url, job_of([photo]))
        answered.set()
    assert (verdict.reason, verdict.charge, verdict.message) == (Reason.RATE_LIMITED, Charge.NONE, "early")


async def test_an_upload_that_stalls_is_cut(bench: Bench, tmp_path: Path) -> None:
    photo = write_photo(tmp_path, "one.png", 16 << 20)
    bench = replace(bench, settings=replace(bench.settings, upload_stall_s=0.3))

    async def stop_reading(peer: Peer) -> None:
        await peer.body(await peer.head(), bytes_at_most=1 << 16)
        await asked.wait()
        with pytest.raises(ConnectionResetError):
            await peer.gone()

    asked = anyio.Event()
    async with serve(stop_reading, small_buffer=True) as server:
        verdict = await bench.refusal(server.base_url, job_of([photo]))
        asked.set()
        await server.until(lambda: server.open == 0)
    assert (verdict.reason, verdict.charge) == (Reason.SERVER_ERROR, Charge.NONE)


@pytest.mark.parametrize("seconds", [0.0, 0.0101, 0.0103, 0.0104, 0.0106, 0.0109])
async def test_a_time_limit_strikes_whatever_part_of_a_millisecond_is_left(seconds: float) -> None:
    """Timers of uvloop know whole milliseconds, and may be early by half of one."""
    with anyio.fail_after(2), Patience(seconds) as patience:
        await anyio.sleep_forever()
    assert patience.ran_out


async def test_an_answer_that_never_comes_is_not_waited_for_for_ever(bench: Bench) -> None:
    async def say_nothing(peer: Peer) -> None:
        await peer.request()
        await peer.gone()

    bench = replace(bench, settings=replace(bench.settings, request_timeout_s=0.3004))
    async with serve(say_nothing) as server:
        for _ in range(5):
            verdict = await bench.refusal(server.base_url)
            assert (verdict.reason, verdict.charge) == (Reason.UNKNOWN_OUTCOME, Charge.UNKNOWN)
