from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxbatch.adapters.http.connect import Network
from fluxbatch.errors import DeliveryError, UsageError
from fluxbatch.model.answer import Granted, Refused
from fluxbatch.telemetry.redact import clean, printable
from fluxbatch.testing.sink import MemorySink
from tests.http.rawserver import GRANTED, Peer, Script, always, answer, serve
from tests.http.support import KEY, Bench, job_of, lease_at, write_photo

if TYPE_CHECKING:
    from pathlib import Path

PLAIN_KEY = "0123456789abcdef/+plain="
"""a key without the usual form, so that only its being known can hide it"""

ECHOES = [
    answer({"error": {"message": f"bad key {PLAIN_KEY}!"}}, status="401 Unauthorized"),
    answer({"error": {"message": "", "localized_message": f"坏的 {PLAIN_KEY}"}}, status="403 Forbidden"),
    answer({"error": PLAIN_KEY}, status="500 Oh"),
    answer({"detail": PLAIN_KEY}, status="500 Oh"),
    answer(f"your key is {PLAIN_KEY}", status="500 Oh"),
    answer({"data": [{"key": PLAIN_KEY}]}),
    answer({"error": {"message": PLAIN_KEY + "x" * 70_000}}, status="400 Bad"),
    answer({"error": {"message": "no"}}, status="400 Bad", headers={"x-request-id": PLAIN_KEY}),
    answer("", status=f"500 {PLAIN_KEY}"),
    f"HTTP/1.1 {PLAIN_KEY}\r\n\r\n".encode(),
    f"HTTP/1.1 200 OK\r\nBad {PLAIN_KEY}: header\r\n\r\n".encode(),
]


@pytest.mark.parametrize("number", range(len(ECHOES)))
async def test_a_server_that_echoes_the_key(bench: Bench, caplog: pytest.LogCaptureFixture, number: int) -> None:
    caplog.set_level(logging.DEBUG)
    async with serve(always(ECHOES[number])) as server:
        answered = await bench.ask(server.base_url, key=PLAIN_KEY)
    assert isinstance(answered, Refused)
    assert server.complete[0].headers["authorization"] == f"Bearer {PLAIN_KEY}"
    assert PLAIN_KEY not in repr(answered)
    assert PLAIN_KEY not in caplog.text


@pytest.mark.parametrize("key", ["sk-1\n", "sk-1\r\nX-Evil: 1", "sk-\x00", "sk-\x7f"])
async def test_a_key_that_no_header_can_hold_is_refused_before_anything_is_sent(bench: Bench, key: str) -> None:
    with pytest.raises(UsageError, match="control character") as caught:
        await bench.ask("http://127.0.0.1:1/v1", key=key)
    assert "sk-" not in str(caught.value)


async def reset_at_once(peer: Peer) -> None:
    await peer.head()
    peer.reset()


@pytest.mark.parametrize("script", [reset_at_once, always(b"garbage\r\n\r\n")], ids=["reset", "garbage"])
async def test_errors_of_the_connection_do_not_show_the_key(
    bench: Bench, tmp_path: Path, script: Script, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    photo = write_photo(tmp_path, "one.png", 16 << 20)
    async with serve(script) as server, bench.provider(server.base_url) as provider:
        assert KEY not in repr(provider)
        assert KEY not in repr(await provider.generate(job_of([photo])))
    assert KEY not in caplog.text


async def test_the_key_stays_with_the_api(bench: Bench) -> None:
    """The result is fetched, through a redirect, by the same process over the same network."""
    async with (
        serve(always(answer(b"image"))) as end,
        serve(always(answer("", status="302 Found", headers={"Location": f"{end.origin}/end?x=1"}))) as delivery,
    ):
        granted = answer({"data": [{"url": f"{delivery.origin}/start?sig=1"}]})
        async with serve(always(granted)) as api, bench.fetcher() as fetcher:
            answered = await bench.ask(api.base_url)
            assert isinstance(answered, Granted)
            await fetcher.fetch(answered.lease, await MemorySink().land())
    assert len(delivery.requests) == len(end.requests) == 1
    for request in (*delivery.requests, *end.requests):
        assert KEY not in repr(request)
        assert "authorization" not in request.headers


async def test_netrc_is_not_read(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    async with serve(always(answer(b"image"))) as delivery, bench.fetcher() as fetcher:
        await fetcher.fetch(lease_at(f"{delivery.origin}/x"), await MemorySink().land())
    assert "authorization" not in delivery.requests[0].headers


ESCAPED_URL = "https:\\/\\/d.example.com\\/x?se=2026&sig=SIGNATURE"
LEAKS: list[dict[str, Any] | bytes] = [
    {"data": {"url": "https://d.example.com/x?se=2026&sig=SIGNATURE"}},
    {"error": {"message": "lost https://d.example.com/x?se=2026&sig=SIGNATURE on the way"}},
    {"error": {"message": "lost HTTPS://d.example.com/x?se=2026&sig=SIGNATURE"}},
    {"error": {"message": "lost s3://bucket/x?se=2026&sig=SIGNATURE"}},
    {"error": {"message": "lost https://d.example.com?sig=SIGNATURE"}},
    b'{"data":{"url":"' + ESCAPED_URL.encode() + b'"}}',
    ESCAPED_URL.encode(),
]


@pytest.mark.parametrize("number", range(len(LEAKS)))
async def test_a_signed_query_is_never_in_a_message(bench: Bench, number: int) -> None:
    async with serve(always(answer(LEAKS[number]))) as server:
        verdict = await bench.refusal(server.base_url)
    assert "SIGNATURE" not in verdict.message
    assert "?…" in verdict.message


@pytest.mark.parametrize("status", ["403 Forbidden", "500 Oh", "206 Partial Content", "416 No"])
async def test_a_signed_query_is_not_in_a_failed_try(bench: Bench, status: str) -> None:
    body = "<Error>https://d.example.com/x?sig=SIGNATURE</Error>"
    async with serve(always(answer(body, status=status))) as server, bench.fetcher() as fetcher:
        lease = lease_at(f"{server.origin}/x?sig=SIGNATURE")
        assert "SIGNATURE" not in repr(lease)
        with pytest.raises(DeliveryError) as caught:
            await fetcher.fetch(lease, await MemorySink().land())
    assert "SIGNATURE" not in repr(caught.value)


@pytest.mark.parametrize(
    "proxy",
    ["http://me:HIDDEN@proxy:notaport", "socks5://me:HIDDEN@proxy:1080", "ftp://me:HIDDEN@proxy", "me:HIDDEN@:1"],
)
def test_a_proxys_password_is_not_in_the_message(proxy: str) -> None:
    with pytest.raises(UsageError) as caught:
        Network(proxies={"https": proxy})
    assert "HIDDEN" not in str(caught.value)


async def test_an_answer_of_control_characters_is_made_fit_to_be_shown(bench: Bench) -> None:
    said = "\x1b[31mred\x1b[0m \u202eevil\u2066 \r\nline\ttab \x07 end"
    async with serve(always(answer({"error": {"message": said}}, status="400 Bad"))) as server:
        verdict = await bench.refusal(server.base_url)
    assert verdict.message == "[31mred[0m evil line tab end"


async def test_a_header_that_is_no_text_can_be_stored(bench: Bench) -> None:
    data = answer(GRANTED).replace(b"Content-Type", b"x-request-id: r\xff\xfe1\r\nContent-Type")
    async with serve(always(data)) as server:
        answered = await bench.ask(server.base_url)
    assert isinstance(answered, Granted)
    assert answered.lease.request_id.encode() == b"r1"


@given(st.text())
def test_clean_text_is_one_line_that_can_be_encoded(text: str) -> None:
    cleaned = clean(text)
    assert len(cleaned) <= 300
    assert "\n" not in cleaned
    assert cleaned.isprintable() or cleaned.encode()
    assert printable(cleaned) == cleaned


@given(st.text(), st.text(), st.text(st.characters(codec="ascii", exclude_characters=" "), min_size=4))
def test_a_known_secret_never_survives(before: str, after: str, secret: str) -> None:
    cleaned = clean(before + secret + after, secrets=(secret,), limit=10_000)
    assert secret not in cleaned or secret in clean(before + "***" + after, limit=10_000)


def test_surrogates_are_dropped() -> None:
    assert clean("a\udc9bb\ud83dc") == "abc"


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("Bearer abcdefgh", "Bearer ***"),
        ("Authorization: bearer  abc.def-ghi", "Authorization: bearer  ***"),
        ("key sk-abcdef1234 is bad", "key sk-*** is bad"),
        ("http://me:pw@host/x", "http://***@host/x"),
        ("data:image/png;base64," + "A" * 50, "data:image/png;base64,…"),
        ("in DATA:image/JPEG;Base64,/9j/" + "A" * 50 + "== it", "in DATA:image/JPEG;Base64,… it"),
        (r"data:image\/png;base64,iVBOR\/" + r"w0KGgo\/" * 9, r"data:image\/png;base64,…"),
        ("data:image/webp;charset=utf-8;base64," + "A-_%2B" * 9, "data:image/webp;charset=utf-8;base64,…"),
        ("see https://host/path for more?", "see https://host/path for more?"),
        ("ratio 3:4? yes", "ratio 3:4? yes"),
    ],
)
def test_what_is_cleaned(text: str, cleaned: str) -> None:
    assert clean(text) == " ".join(cleaned.split())
