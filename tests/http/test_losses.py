from __future__ import annotations

import socket
from dataclasses import replace
from typing import TYPE_CHECKING

import anyio
import pytest

from fluxbatch.adapters.http.connect import Network
from fluxbatch.model.answer import Action, Scope
from fluxbatch.model.state import Charge, Reason
from tests.http.rawserver import CHUNKED, GRANTED, Peer, Script, always, answer, chunk, serve
from tests.http.support import KEY, Bench, job_of, write_photo

if TYPE_CHECKING:
    from pathlib import Path

    from tests.http.conftest import Certificates

HTML = b"<html><head><title>524: A timeout occurred</title></head><body>cloudflare</body></html>"
HTML_HEADERS = {"Content-Type": "text/html; charset=UTF-8"}


async def test_connection_refused_was_not_billed(bench: Bench) -> None:
    async with serve(always(b"")) as server:
        gone = server.base_url
    verdict = await bench.refusal(gone)
    assert (verdict.reason, verdict.action) == (Reason.SERVER_ERROR, Action.RETRY)
    assert (verdict.charge, verdict.scope) == (Charge.NONE, Scope.ENDPOINT)
    assert verdict.message.startswith("no connection to 127.0.0.1:")


async def test_a_name_that_does_not_exist_was_not_billed(bench: Bench) -> None:
    verdict = await bench.refusal("https://no-such-host.invalid/v1")
    assert (verdict.action, verdict.charge, verdict.scope) == (Action.RETRY, Charge.NONE, Scope.ENDPOINT)


@pytest.mark.parametrize("greeting", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x15\x03\x03\x00\x02\x02\x28", b""])
async def test_tls_that_fails_for_reasons_that_may_pass_is_tried_again(bench: Bench, greeting: bytes) -> None:
    """A plain answer, a handshake alert, a closed connection: a gateway that restarts does all of these."""

    async def fail_the_handshake(peer: Peer) -> None:
        await peer.reader.read(1)
        await peer.send(greeting)

    async with serve(fail_the_handshake) as server:
        verdict = await bench.refusal(server.base_url.replace("http:", "https:"))
    assert (verdict.action, verdict.charge, verdict.scope) == (Action.RETRY, Charge.NONE, Scope.ENDPOINT)
    assert ("is it http://?" in verdict.message) is greeting.startswith(b"HTTP"), "a likely slip is not pointed out"


async def test_reset_before_the_last_byte_was_not_billed(bench: Bench, tmp_path: Path) -> None:
    photo = write_photo(tmp_path, "one.png", 16 << 20)

    async def reset_half_way(peer: Peer) -> None:
        head = await peer.head()
        await peer.body(head, bytes_at_most=1 << 20)
        peer.reset()

    async with serve(reset_half_way, small_buffer=True) as server:
        verdict = await bench.refusal(server.base_url, job_of([photo]))
    assert (verdict.reason, verdict.action, verdict.charge) == (Reason.SERVER_ERROR, Action.RETRY, Charge.NONE)


@pytest.mark.skipif(not hasattr(socket, "TCP_NOTSENT_LOWAT"), reason="the system buffers what it likes")
async def test_what_only_the_system_has_taken_is_not_sent(bench: Bench, tmp_path: Path) -> None:
    """A photo of the usual size would fit into the buffers of the system whole, and count as maybe billed."""
    photo = write_photo(tmp_path, "one.png", 3 << 19)

    async def reset_while_all_wait(peer: Peer) -> None:
        head = await peer.head()
        await peer.body(head, bytes_at_most=1 << 16)
        await anyio.sleep(0.1)
        peer.reset()

    async with serve(reset_while_all_wait, small_buffer=True) as server:
        verdict = await bench.refusal(server.base_url, job_of([photo]))
    assert (verdict.action, verdict.charge) == (Action.RETRY, Charge.NONE)


async def test_closed_before_the_last_byte_was_not_billed(bench: Bench, tmp_path: Path) -> None:
    photo = write_photo(tmp_path, "one.png", 16 << 20)

    async def close_half_way(peer: Peer) -> None:
        head = await peer.head()
        await peer.body(head, bytes_at_most=1 << 20)

    async with serve(close_half_way, small_buffer=True) as server:
        verdict = await bench.refusal(server.base_url, job_of([photo]))
    assert (verdict.action, verdict.charge) == (Action.RETRY, Charge.NONE)


async def reset(peer: Peer) -> None:
    await peer.request()
    peer.reset()


async def close(peer: Peer) -> None:
    await peer.request()


async def half_close(peer: Peer) -> None:
    await peer.request()
    peer.half_close()
    await peer.gone()


async def reset_in_the_headers(peer: Peer) -> None:
    await peer.request()
    await peer.send(b"HTTP/1.1 200 OK\r\nContent-Ty")
    await anyio.sleep(0.01)
    peer.reset()


async def reset_in_the_json(peer: Peer) -> None:
    await peer.request()
    await peer.send(answer(GRANTED)[:-20])
    await anyio.sleep(0.01)
    peer.reset()


async def close_in_the_json(peer: Peer) -> None:
    await peer.request()
    await peer.send(answer(GRANTED)[:-20])


async def close_in_a_chunk(peer: Peer) -> None:
    await peer.request()
    await peer.send(CHUNKED, b"fff\r\n", b'{"data":[{"url":"https://exam')


async def end_in_the_json(peer: Peer) -> None:
    """The answer says that it is complete, and isn't."""
    await peer.request()
    await peer.send(CHUNKED, chunk(b'{"data":[{"url":"https://exam'), b"0\r\n\r\n")


async def garbage(peer: Peer) -> None:
    await peer.request()
    await peer.send(b"\x00\x01SSH-2.0-OpenSSH_9.6\r\n\r\n")


LOST = [
    reset,
    close,
    half_close,
    reset_in_the_headers,
    reset_in_the_json,
    close_in_the_json,
    close_in_a_chunk,
    end_in_the_json,
    garbage,
]


@pytest.mark.parametrize("script", LOST, ids=lambda script: script.__name__)
async def test_lost_after_the_last_byte_may_be_billed(bench: Bench, script: Script) -> None:
    async with serve(script) as server:
        verdict = await bench.refusal(server.base_url)
    assert (verdict.reason, verdict.action, verdict.charge) == (Reason.UNKNOWN_OUTCOME, Action.RETRY, Charge.UNKNOWN)
    assert verdict.message
    assert len(server.requests) == 1, "a request that may be billed is never repeated behind our back"


EARLY = {
    "401 Unauthorized": (Reason.UNAUTHORIZED, Action.STOP_RUN, Charge.NONE),
    "413 Content Too Large": (Reason.TOO_LARGE, Action.FAIL_JOB, Charge.NONE),
    "429 Too Many Requests": (Reason.RATE_LIMITED, Action.RETRY, Charge.NONE),
    "408 Request Timeout": (Reason.SERVER_ERROR, Action.RETRY, Charge.NONE),
    "503 Service Unavailable": (Reason.SERVER_ERROR, Action.RETRY, Charge.NONE),
}


@pytest.mark.parametrize("status", EARLY)
@pytest.mark.parametrize("then", ["reads on", "stops reading", "ends"])
@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
async def test_an_answer_before_the_last_byte_counts(
    bench: Bench, certificates: Certificates, tmp_path: Path, status: str, then: str, secure: bool
) -> None:
    photo = write_photo(tmp_path, "one.png", 16 << 20)

    async def answer_early(peer: Peer) -> None:
        head = await peer.head()
        await peer.body(head, bytes_at_most=1 << 20)
        early = answer({"error": {"message": "early"}}, status=status, headers={"Connection": "close"})
        if then == "ends":  # as nginx does, which reads on for a while
            peer.end_with(early)
        else:
            await peer.send(early)
        if then == "stops reading":
            await peer.server.until(answered.is_set)
        else:
            await peer.body(head)

    answered = anyio.Event()
    bench = replace(bench, network=Network(ca_file=certificates.ca_file))
    async with serve(answer_early, tls=certificates.server if secure else None, small_buffer=True) as server:
        with anyio.fail_after(5):  # nor does closing the connection wait for the rest to be taken
            verdict = await bench.refusal(server.base_url, job_of([photo]))
        answered.set()
    assert (verdict.reason, verdict.action, verdict.charge) == EARLY[status]
    assert verdict.message == "early"
    sent = server.peers[0].received
    assert sent < int(server.requests[0].headers["content-length"]), "the rest of the body is not sent"


async def test_an_answer_may_come_with_the_end_of_the_connection(
    bench: Bench, certificates: Certificates, tmp_path: Path
) -> None:
    """The whole body was on its way when a gateway refused it for its size, as nginx does."""
    photo = write_photo(tmp_path, "one.png", 60_000)

    async def refuse(peer: Peer) -> None:
        head = await peer.head()
        refusal = answer({"error": {"message": "no"}}, status="413 Content Too Large", headers={"Connection": "close"})
        peer.end_with(refusal)
        await peer.body(head)
        await peer.server.until(answered.is_set)

    answered = anyio.Event()
    bench = replace(bench, network=Network(ca_file=certificates.ca_file))
    async with serve(refuse, tls=certificates.server) as server:
        with anyio.fail_after(5):
            verdict = await bench.refusal(server.base_url, job_of([photo]))
        answered.set()
    assert (verdict.reason, verdict.action, verdict.message) == (Reason.TOO_LARGE, Action.FAIL_JOB, "no")


ANSWERS = {
    "408": (answer("", status="408 Request Timeout"), Reason.UNKNOWN_OUTCOME, None),
    "504 html": (answer(HTML, status="504 Gateway Timeout", headers=HTML_HEADERS), Reason.UNKNOWN_OUTCOME, None),
    "524 html": (answer(HTML, status="524 ", headers=HTML_HEADERS), Reason.UNKNOWN_OUTCOME, None),
    "502 html": (answer(HTML, status="502 Bad Gateway", headers=HTML_HEADERS), Reason.SERVER_ERROR, Charge.NONE),
    "500 empty": (answer("", status="500 Internal Server Error"), Reason.SERVER_ERROR, None),
    "empty": (answer(""), Reason.UNKNOWN_OUTCOME, None),
    "204": (b"HTTP/1.1 204 No Content\r\n\r\n", Reason.UNKNOWN_OUTCOME, None),
    "html": (answer(HTML, headers=HTML_HEADERS), Reason.UNKNOWN_OUTCOME, None),
    "no data": (answer({"created": 1}), Reason.UNKNOWN_OUTCOME, None),
    "empty data": (answer({"created": 1, "data": []}), Reason.UNKNOWN_OUTCOME, None),
    "null data": (answer({"data": None}), Reason.UNKNOWN_OUTCOME, None),
    "null item": (answer({"data": [None]}), Reason.UNKNOWN_OUTCOME, None),
    "null fields": (answer({"data": [{"url": None, "b64_json": None}]}), Reason.UNKNOWN_OUTCOME, None),
    "empty url": (answer({"data": [{"url": ""}]}), Reason.UNKNOWN_OUTCOME, None),
    "no url": (answer({"data": [{"url": "file:///etc/passwd"}]}), Reason.UNKNOWN_OUTCOME, None),
    "list": (answer("[1]"), Reason.UNKNOWN_OUTCOME, None),
    "number": (answer("42"), Reason.UNKNOWN_OUTCOME, None),
    "bad json": (answer('{"data":[}]}'), Reason.UNKNOWN_OUTCOME, None),
    "error in 200": (answer({"error": {"message": "no", "code": "rate_limit_exceeded"}}), Reason.RATE_LIMITED, None),
    "text error in 200": (answer({"error": "upstream said no"}), Reason.UNKNOWN_OUTCOME, None),
    "number as code": (
        answer({"error": {"message": "", "code": 429}}, status="429 Too Many Requests"),
        Reason.RATE_LIMITED,
        Charge.NONE,
    ),
}


@pytest.mark.parametrize("case", ANSWERS)
async def test_answers_without_an_image(bench: Bench, case: str) -> None:
    data, reason, charge = ANSWERS[case]
    async with serve(always(data)) as server:
        verdict = await bench.refusal(server.base_url)
    assert (verdict.reason, verdict.charge) == (reason, charge or Charge.UNKNOWN)
    assert verdict.message
    assert "<" not in verdict.message
    assert verdict.http_status == int(data[9:12])


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
async def test_a_redirect_of_the_request_is_not_followed(bench: Bench, status: str) -> None:
    async with serve(always(answer(GRANTED))) as elsewhere:
        location = {"Location": f"{elsewhere.base_url}/images/generations"}
        async with serve(always(answer("", status=status, headers=location))) as server:
            verdict = await bench.refusal(server.base_url)
    assert (verdict.action, verdict.scope, verdict.charge) == (Action.STOP_RUN, Scope.ENDPOINT, Charge.NONE)
    assert elsewhere.peers == [], "the key stays with the host that it was meant for"


async def test_a_huge_answer_is_capped(bench: Bench) -> None:
    async def flood(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED, chunk(b'{"data":[{"b64_json":"'))
        while True:
            await peer.send(chunk(b"A" * (1 << 20)))

    async with serve(flood) as server:
        verdict = await bench.refusal(server.base_url)
    assert verdict.charge is Charge.UNKNOWN
    assert verdict.message == "the answer is larger than 96 MB"
    assert bench.leftovers() == []


async def test_a_flood_of_something_else_is_not_read_to_its_end(bench: Bench) -> None:
    async def flood(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED.replace(b"200 OK", b"500 Oh"))
        while True:
            await peer.send(chunk(b"lorem ipsum " * 10_000))

    async with serve(flood) as server:
        verdict = await bench.refusal(server.base_url)
    assert verdict.message.startswith("HTTP 500: lorem ipsum")


async def test_the_message_of_an_error_that_echoes_the_photo_is_still_read(bench: Bench) -> None:
    said = "invalid image: data:image/png;base64," + "iVBOR" * 40_000 + " (request id: 1)"
    async with serve(always(answer({"error": {"message": said}}, status="400 Bad Request"))) as server:
        verdict = await bench.refusal(server.base_url)
    assert verdict.reason is Reason.INVALID_REQUEST
    assert verdict.message.startswith("invalid image: data:image/png;base64,…")
    assert bench.leftovers() == []


async def test_a_page_that_echoes_the_key_does_not_show_it(bench: Bench) -> None:
    body = f"<html>moved, {KEY}</html>"
    async with serve(always(answer(f"denied for {KEY} {body}", status="403 Forbidden"))) as server:
        verdict = await bench.refusal(server.base_url)
    assert KEY not in verdict.message
    assert "denied for" in verdict.message
