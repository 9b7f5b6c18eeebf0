from __future__ import annotations

import base64
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import pytest

from fluxbatch.adapters.http import Network
from fluxbatch.model.answer import Action, Granted, Inline
from fluxbatch.model.state import Charge, Reason
from fluxbatch.settings import Settings
from tests.http.rawserver import CHUNKED, GRANTED, Peer, always, answer, chunk, serve
from tests.http.support import Bench, job_of, open_files, write_photo

if TYPE_CHECKING:
    from pathlib import Path

    from tests.http.conftest import Certificates

SHORT = 0.3
IMAGE = base64.b64encode(bytes(range(256)) * 4)


@pytest.fixture
def settings() -> Settings:
    return Settings(request_timeout_s=SHORT, upload_stall_s=SHORT, download_stall_s=SHORT)


async def test_an_upload_that_stalls_was_not_billed(bench: Bench, tmp_path: Path) -> None:
    photo = write_photo(tmp_path, "one.png", 16 << 20)
    left = anyio.Event()

    async def read_a_part(peer: Peer) -> None:
        head = await peer.head()
        await peer.body(head, bytes_at_most=1 << 20)
        await left.wait()

    async with serve(read_a_part, small_buffer=True) as server:
        verdict = await bench.refusal(server.base_url, job_of([photo]))
        left.set()
    assert (verdict.charge, verdict.action) == (Charge.NONE, Action.RETRY)
    assert verdict.message == "no progress in sending for 0.3 s"


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_a_stalled_upload_is_cut(bench: Bench, tmp_path: Path, certificates: Certificates, tls: bool) -> None:
    """It is not left to be flushed for as long as the other side likes, holding a socket and memory."""
    photo = write_photo(tmp_path, "one.png", 16 << 20)
    left = anyio.Event()

    async def read_nothing(peer: Peer) -> None:
        await peer.head()
        await left.wait()

    bench = replace(bench, network=Network(ca_file=certificates.ca_file))
    context = certificates.server if tls else None
    async with (
        serve(read_nothing, tls=context, small_buffer=True) as server,
        bench.provider(server.base_url) as provider,
    ):
        before = open_files()
        await provider.generate(job_of([photo]))
        await anyio.sleep(0)
        assert open_files() == before + 1, "only the server's end is left"
        left.set()


async def test_a_slow_upload_is_no_timeout(bench: Bench, tmp_path: Path) -> None:
    """The clock of the answer starts after the last byte; before it, every bit of progress counts."""
    photo = write_photo(tmp_path, "one.png", 16 << 20)
    bench = replace(bench, settings=Settings(request_timeout_s=0.8, upload_stall_s=0.8))
    begun = anyio.current_time()

    async def read_slowly(peer: Peer) -> None:
        head = await peer.head()
        left = int(head.headers["content-length"])
        while left:
            left -= len(await peer.body(head, bytes_at_most=min(left, 1 << 20)))
            await anyio.sleep(0.045)
        await peer.send(answer(GRANTED))

    async with serve(read_slowly, small_buffer=True) as server:
        answered = await bench.ask(server.base_url, job_of([photo]))
    assert isinstance(answered, Granted)
    assert anyio.current_time() - begun > 0.8


async def test_no_answer_in_time_may_be_billed(bench: Bench) -> None:
    async def listen_only(peer: Peer) -> None:
        await peer.request()
        await peer.gone()

    async with serve(listen_only) as server:
        verdict = await bench.refusal(server.base_url)
    assert (verdict.reason, verdict.charge) == (Reason.UNKNOWN_OUTCOME, Charge.UNKNOWN)
    assert verdict.message == "no answer within 0.3 s of sending"


async def test_an_answer_that_is_arriving_is_not_cut_off(bench: Bench) -> None:
    """An image in the answer may take longer than the wait for an answer may."""
    body = b'{"data":[{"b64_json":"' + IMAGE + b'"}]}'

    async def dribble(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED)
        for at in range(0, len(body), 200):
            await peer.send(chunk(body[at : at + 200]))
            await anyio.sleep(0.1)
        await peer.send(b"0\r\n\r\n")

    bench = replace(bench, settings=replace(bench.settings, download_stall_s=5.0))
    async with serve(dribble) as server:
        answered = await bench.ask(server.base_url)
    assert isinstance(answered, Inline)
    assert answered.path.read_bytes() == base64.b64decode(IMAGE)


async def test_an_answer_that_stalls_half_way_is_given_up(bench: Bench) -> None:
    async def half(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED, chunk(b'{"data":[{"url":"https://'))
        await peer.gone()

    async with serve(half) as server:
        verdict = await bench.refusal(server.base_url)
    assert (verdict.reason, verdict.charge) == (Reason.UNKNOWN_OUTCOME, Charge.UNKNOWN)


async def test_spaces_that_keep_the_connection_alive_are_no_answer(bench: Bench) -> None:
    async def spaces(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED)
        while True:
            await peer.send(chunk(b" "))
            await anyio.sleep(0.02)

    async with serve(spaces) as server:
        verdict = await bench.refusal(server.base_url)
    assert verdict.charge is Charge.UNKNOWN
    assert verdict.message == "no answer within 0.3 s of sending"


@pytest.mark.parametrize("uploading", [False, True], ids=["after the body", "while the body goes up"])
async def test_nothing_takes_away_an_answer_that_has_arrived(bench: Bench, tmp_path: Path, uploading: bool) -> None:
    """All clocks stop, even if decoding waits for a thread longer than any of them."""
    photo = write_photo(tmp_path, "one.png", 16 << 20)
    body = b'{"data":[{"b64_json":"' + IMAGE + b'"}]}'

    async def answer_early(peer: Peer) -> None:
        head = await peer.head()
        await peer.body(head, bytes_at_most=1 << 20)
        await peer.send(CHUNKED, chunk(body))
        for _ in range(8):
            await peer.body(head, bytes_at_most=1 << 20)
            await anyio.sleep(0.01)
        await peer.server.until(release.is_set)

    release = threading.Event()
    limiter = anyio.to_thread.current_default_thread_limiter()
    tokens = limiter.total_tokens
    script = answer_early if uploading else always(answer(body))
    async with serve(script, small_buffer=True) as server, anyio.create_task_group() as others:
        try:
            limiter.total_tokens = 1
            others.start_soon(_hold_a_thread, release)
            others.start_soon(_later, 2 * SHORT, release)
            answered = await bench.ask(server.base_url, job_of([photo]) if uploading else job_of())
        finally:
            release.set()
            limiter.total_tokens = tokens
    assert isinstance(answered, Inline)


async def _hold_a_thread(until: threading.Event) -> None:
    await anyio.to_thread.run_sync(until.wait)


async def _later(seconds: float, event: threading.Event) -> None:
    await anyio.sleep(seconds)
    event.set()


async def test_a_host_that_does_not_answer_the_connection_was_not_billed(bench: Bench) -> None:
    """TLS that never begins counts as no progress."""

    async def silent(peer: Peer) -> None:
        await peer.gone()

    async with serve(silent) as server:
        verdict = await bench.refusal(server.base_url.replace("http:", "https:"))
    assert (verdict.charge, verdict.action) == (Charge.NONE, Action.RETRY)
