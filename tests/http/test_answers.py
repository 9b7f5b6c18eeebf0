from __future__ import annotations

import base64
import os
import shutil
import time
from dataclasses import replace
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

import anyio
import orjson
import pytest

from fluxbatch.errors import StorageError
from fluxbatch.model.answer import Action, Granted, Inline, Refused, Scope
from fluxbatch.model.state import Charge, Reason
from tests.http.rawserver import CHUNKED, GRANTED, RESULT, Peer, always, answer, chunk, in_turn, serve
from tests.http.support import NOW, Bench, job_of

if TYPE_CHECKING:
    from fluxbatch.model.answer import Answer

LIMITED = {"error": {"message": "slow down", "code": "rate_limit_exceeded"}}


async def granted(bench: Bench, data: bytes) -> Granted:
    async with serve(always(data)) as server:
        answered = await bench.ask(server.base_url)
    assert isinstance(answered, Granted), answered
    return answered


# ------------------------------------------------------------------------------------------------------- parse early
@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
async def test_a_complete_json_is_an_answer_whatever_the_connection_still_does(bench: Bench, framing: str) -> None:
    body = orjson.dumps(GRANTED)

    async def withhold_the_end(peer: Peer) -> None:
        await peer.request()
        match framing:
            case "chunked":
                await peer.send(CHUNKED, chunk(body))
            case "length":
                await peer.send(answer(body, headers={"Content-Length": str(len(body) + 1)}))
            case _:
                await peer.send(b"HTTP/1.1 200 OK\r\n\r\n", body)
        await peer.gone()

    async with serve(withhold_the_end) as server, bench.provider(server.base_url) as provider:
        with anyio.fail_after(2):
            for _ in range(2):
                answered = await provider.generate(job_of())
                assert isinstance(answered, Granted)
                assert answered.lease.url == RESULT
        await server.until(lambda: server.open == 0)
        assert [peer.number for peer in server.peers] == [0, 1], "a connection with its end unseen is not used again"


async def test_a_json_that_comes_byte_by_byte(bench: Bench) -> None:
    async def dribble(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED)
        for byte in orjson.dumps(GRANTED):
            await peer.send(chunk(bytes([byte])))
        await peer.send(b"0\r\n\r\n")

    async with serve(dribble) as server:
        assert isinstance(await bench.ask(server.base_url), Granted)


async def test_spaces_before_the_json_are_skipped(bench: Bench) -> None:
    async def keep_alive(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED, *[chunk(b" \n") for _ in range(50)])
        await peer.send(chunk(orjson.dumps(GRANTED)), b"0\r\n\r\n")

    async with serve(keep_alive) as server:
        assert isinstance(await bench.ask(server.base_url), Granted)


async def test_an_interim_answer_is_no_answer(bench: Bench) -> None:
    await granted(bench, b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n" + answer(GRANTED))


BESIDE = {
    "half an emoji": rb'"a cat \ud83d"',  # as JavaScript and Python write a text that was cut
    "the other half": rb'"\ude00 a cat"',
    "a line break": b'"a cat\n\ton a mat"',
    "no UTF-8": b'"a cat \xe7\x8c"',
    "no number": b"NaN",
    "endless": b"-Infinity",
    "a number too large": b"1e999",
}


@pytest.mark.parametrize("pieces", [1, 2])
@pytest.mark.parametrize("beside", BESIDE)
async def test_what_stands_beside_an_image_does_not_cost_it(bench: Bench, beside: str, pieces: int) -> None:
    """Who sends such JSON does so with each answer to a prompt: each would be paid in vain."""
    body = b'{"data":[{"revised_prompt":%b,"url":"%b"}],"more":%b}' % (BESIDE[beside], RESULT.encode(), BESIDE[beside])
    cut = len(body) // pieces
    data = CHUNKED + b"".join(chunk(body[at : at + cut]) for at in range(0, len(body), cut)) + b"0\r\n\r\n"
    assert (await granted(bench, data)).lease.url == RESULT


async def test_half_a_character_in_a_url_is_none(bench: Bench) -> None:
    """Nothing could write it down."""
    url = (await granted(bench, answer(rb'{"data":[{"url":"https://d.example.com/\ud83d?sig=1"}]}'))).lease.url
    assert url.encode() == b"https://d.example.com/??sig=1"


async def test_an_answer_too_deep_to_be_read_is_maybe_billed(bench: Bench) -> None:
    async with serve(always(answer(b'{"data":' + b"[" * 5000 + b"]" * 5000 + b"}"))) as server:
        assert (await bench.refusal(server.base_url)).charge is Charge.UNKNOWN


@pytest.mark.parametrize("wait", ["1" + "0" * 400, "NaN", "Infinity"])
async def test_a_wait_that_is_no_number_is_none(bench: Bench, wait: str) -> None:
    body = rb'{"error":{"message":"slow \ud83d down","code":"rate_limit_exceeded","retry_after":%b}}' % wait.encode()
    async with serve(always(answer(body, status="429 Too Many Requests"))) as server:
        verdict = await bench.refusal(server.base_url)
    assert (verdict.reason, verdict.pause, verdict.message) == (Reason.RATE_LIMITED, None, "slow ? down")


# --------------------------------------------------------------------------------------------- image in the answer
async def inline(bench: Bench, item: dict[str, Any], *, escape: bool = False) -> Answer:
    body = orjson.dumps({"created": 1, "data": [item]})
    if escape:
        body = body.replace(b"/", b"\\/").replace(b"+", b"\\u002b")
    async with serve(always(answer(body, headers={"x-request-id": "r-1"}))) as server:
        return await bench.ask(server.base_url)


@pytest.mark.parametrize("escape", [False, True])
@pytest.mark.parametrize(
    ("name", "prefix"),
    [("b64_json", ""), ("b64_json", "data:image/png;base64,"), ("url", "data:image/png;base64,")],
)
@pytest.mark.parametrize("size", [1, 1000, 48_000, 50_000, 3_000_001])
async def test_an_image_in_the_answer_becomes_a_file(
    bench: Bench, size: int, name: str, prefix: str, escape: bool
) -> None:
    image = os.urandom(size)
    answered = await inline(bench, {name: prefix + base64.b64encode(image).decode()}, escape=escape)
    assert isinstance(answered, Inline), answered
    assert answered.request_id == "r-1"
    assert answered.path.read_bytes() == image
    assert bench.leftovers() == [answered.path.name], "the spool is gone"


async def test_lines_of_base64(bench: Bench) -> None:
    image = os.urandom(1000)
    answered = await inline(bench, {"b64_json": base64.encodebytes(image).decode()})
    assert isinstance(answered, Inline)
    assert answered.path.read_bytes() == image


async def test_null_beside_a_url_is_no_image(bench: Bench) -> None:
    answered = await inline(bench, {"b64_json": None, "url": RESULT})
    assert isinstance(answered, Granted)
    assert answered.lease.request_id == "r-1"


async def test_an_image_in_the_answer_is_preferred_to_a_url(bench: Bench) -> None:
    assert isinstance(await inline(bench, {"url": RESULT, "b64_json": "AAAA"}), Inline)


@pytest.mark.parametrize("text", ["not base64!", "AAAAA", "é" * 8, "!" * 100_000])
async def test_an_image_that_is_no_base64_may_be_billed(bench: Bench, text: str) -> None:
    answered = await inline(bench, {"b64_json": text})
    assert isinstance(answered, Refused), answered
    assert (answered.verdict.reason, answered.verdict.charge) == (Reason.UNKNOWN_OUTCOME, Charge.UNKNOWN)
    assert "no base64" in answered.verdict.message
    assert answered.request_id == "r-1"
    assert bench.leftovers() == []


@pytest.mark.parametrize("size", [10, 1_000_000])
async def test_no_room_for_an_image_in_the_answer_stops_the_run(bench: Bench, size: int) -> None:
    shutil.rmtree(bench.folder)
    with pytest.raises(StorageError, match="an image came in an answer"):
        await inline(bench, {"b64_json": "A" * 4 * size})


# -------------------------------------------------------------------------------------------------- ids, dates, waits
@pytest.mark.parametrize("name", ["x-request-id", "X-Request-ID", "request-id", "X-Oneapi-Request-Id"])
async def test_request_ids(bench: Bench, name: str) -> None:
    assert (await granted(bench, answer(GRANTED, headers={name: "2026-r"}))).lease.request_id == "2026-r"
    async with serve(always(answer(LIMITED, status="429 Slow", headers={name: "2026-r"}))) as server:
        refused = await bench.ask(server.base_url)
    assert isinstance(refused, Refused)
    assert refused.request_id == "2026-r"


async def test_request_ids_are_made_fit_to_be_shown(bench: Bench) -> None:
    header = {"x-request-id": "a\x9b31m" + "b" * 500}
    assert (await granted(bench, answer(GRANTED, headers=header))).lease.request_id == "a31m" + "b" * 123 + "…"


@pytest.mark.parametrize("skew", [-7200.0, 0.0, 90.0])
async def test_a_clock_that_is_off_is_corrected_by_the_answers_date(bench: Bench, skew: float) -> None:
    deadline = 1_790_000_500.0
    url = f"https://d.example.com/x?Expires={deadline:.0f}&sig=1"
    bench = replace(bench, clock=replace(bench.clock, at=NOW + skew))
    headers = {"Date": formatdate(NOW, usegmt=True)}
    lease = (await granted(bench, answer({"data": [{"url": url}]}, headers=headers))).lease
    assert lease.url == url
    assert lease.deadline == deadline + skew
    assert lease.granted_at == deadline + skew - 600


@pytest.mark.parametrize("date", ["", "yesterday", "Sun, 99 Nov 2026 00:00:00 GMT"])
async def test_a_date_that_cannot_be_read_is_none(bench: Bench, date: str) -> None:
    url = f"https://d.example.com/x?Expires={NOW + 100:.0f}"
    lease = (await granted(bench, answer({"data": [{"url": url}]}, headers={"Date": date}))).lease
    assert lease.deadline == NOW + 100


@pytest.mark.parametrize("zone", ["Asia/Shanghai", "UTC", "America/New_York"])
async def test_a_date_without_a_zone_is_utc(bench: Bench, monkeypatch: pytest.MonkeyPatch, zone: str) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        url = f"https://d.example.com/x?Expires={NOW + 100:.0f}"
        headers = {"Date": formatdate(NOW, usegmt=True).removesuffix(" GMT")}
        lease = (await granted(bench, answer({"data": [{"url": url}]}, headers=headers))).lease
    finally:
        monkeypatch.undo()
        time.tzset()
    assert lease.deadline == NOW + 100


WAITS: dict[str, tuple[dict[str, str], dict[str, Any], float | None]] = {
    "seconds": ({"Retry-After": "7"}, {}, 7.0),
    "fraction": ({"Retry-After": "0.5"}, {}, 0.5),
    "date": ({"Retry-After": formatdate(NOW + 30, usegmt=True)}, {}, 30.0),
    "past date": ({"Retry-After": formatdate(NOW - 30, usegmt=True)}, {}, 0.0),
    "in the error": ({}, {"error": {**LIMITED["error"], "retry_after": 9}}, 9.0),
    "in the body": ({}, {"retry_after": "11"}, 11.0),
    "header first": ({"Retry-After": "7"}, {"retry_after": 11}, 7.0),
    "none": ({}, {}, None),
    "nonsense": ({"Retry-After": "soon"}, {"retry_after": True}, None),
    "negative": ({"Retry-After": "-5"}, {}, None),
    "endless": ({"Retry-After": "9" * 400}, {"retry_after": 1e300}, None),
    "nan": ({"Retry-After": "nan"}, {}, None),
    "superscript": ({"Retry-After": "\xb2"}, {}, None),
}


@pytest.mark.parametrize("case", WAITS)
async def test_how_long_to_wait(bench: Bench, case: str) -> None:
    headers, fields, pause = WAITS[case]
    body = {**LIMITED, **fields}
    async with serve(always(answer(body, status="429 Too Many Requests", headers=headers))) as server:
        verdict = await bench.refusal(server.base_url)
    assert (verdict.reason, verdict.action, verdict.scope) == (Reason.RATE_LIMITED, Action.RETRY, Scope.KEY)
    assert verdict.congestion
    assert verdict.pause == pause


async def test_the_next_request_is_not_harmed_by_a_bad_answer(bench: Bench) -> None:
    bad = [answer("", status="502 Bad Gateway"), answer('{"data":['), answer("plain")]
    async with serve(in_turn(*bad, answer(GRANTED))) as server, bench.provider(server.base_url) as provider:
        for _ in bad:
            assert isinstance(await provider.generate(job_of()), Refused)
        assert isinstance(await provider.generate(job_of()), Granted)
