"""The key and the signed queries of result URLs, looked for in every file and every line that a run leaves behind."""

from __future__ import annotations

from base64 import b64encode
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from anyio.from_thread import start_blocking_portal

from fluxbatch.simulator import Faults
from fluxbatch.testing import make_png
from tests.app.stage import KEY, Ran, names_of, results, run_command, wait_for, write_rows
from tests.http.rawserver import answer, serve

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.app.stage import Api
    from tests.http.rawserver import Peer, RawServer

PLAIN_KEY = "0123456789abcdef/+plain="
"""without the usual form, so that only its being known can hide it"""
SIGNATURE = "S1GNATURE%2Fof%2Bthe%2Furl%3D"


class Gossip:
    """An API that tells whatever it knows, wherever it can.

    It gives these answers in turn, and grants an image for an empty one and when it has run out of them.
    """

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.deliveries: list[bytes] = []
        self.server: RawServer | None = None

    def url(self, name: str, *, seconds: float = 600) -> str:
        assert self.server is not None
        until = quote((datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ"), safe="")
        return f"{self.server.origin}/{name}.png?se={until}&sig={SIGNATURE}"

    async def __call__(self, peer: Peer) -> None:
        self.server = peer.server
        while True:
            request = await peer.request()
            await peer.send(self._posted() if request.method == "POST" else self._fetched())

    def _posted(self) -> bytes:
        if self.answers and (said := self.answers.pop(0)):
            return self._filled(said)
        granted = {"data": [{"url": self.url("image")}]}
        return answer(granted, headers={"x-request-id": f"{PLAIN_KEY} {self.url('request')}"})

    def _fetched(self) -> bytes:
        if self.deliveries:
            return self._filled(self.deliveries.pop(0))
        return answer(make_png(3), headers={"Content-Type": "image/png"})

    def _filled(self, data: bytes) -> bytes:
        """An answer with everything it knows in place of ``TOLD``, and an address that works for ``URL``."""
        head, _, body = data.partition(b"\r\n\r\n")
        told = f"Bearer {PLAIN_KEY} asked for {self.url('lost')}".encode()
        body = body.replace(b"TOLD", told)
        lines = [line for line in head.split(b"\r\n") if not line.startswith(b"Content-Length")]
        head = b"\r\n".join([*lines, b"Content-Length: %d" % len(body)])
        return head.replace(b"TOLD", told).replace(b"URL", self.url("again").encode()) + b"\r\n\r\n" + body


REFUSALS = (
    answer({"error": {"message": "no: TOLD", "code": "invalid_request", "param": "TOLD"}}, status="400 Bad TOLD"),
    answer({"error": {"message": "", "localized_message": "不: TOLD"}}, status="400 Bad"),
    answer({"error": {"message": "x", "code": "TOLD", "type": "TOLD"}}, status="400 Bad"),
    answer({"error": "TOLD"}, status="422 TOLD", headers={"x-request-id": "TOLD"}),
    answer({"error": {"message": "TOLD", "code": "content_policy_violation"}}, status="403 Forbidden"),
    answer({"error": {"message": "slow down: TOLD"}}, status="429 Too Many", headers={"Retry-After": "0.1"}),
    answer("<html>TOLD</html>", status="503 TOLD", headers={"Retry-After": "0.1", "Content-Type": "text/html"}),
    answer("TOLD", status="500 TOLD"),
    answer("TOLD", status="504 Gateway Time-out"),
    answer({"data": [{"key": "TOLD"}]}),
    answer({"data": {"url": "TOLD"}}),
    answer(b'{"data":[{"url":"TOLD'),
    answer({"data": [{"b64_json": "TOLD"}]}),
    answer({"error": {"message": "TOLD"}}, headers={"Set-Cookie": "TOLD"}),
)
DELIVERIES = (
    answer("<Error>TOLD</Error>", status="403 TOLD", headers={"x-ms-error-code": "TOLD"}),
    answer("", status="302 Found", headers={"Location": "URL"}),
    answer("<html>TOLD</html>", headers={"Content-Type": "text/html; x=TOLD"}),
    answer("TOLD", status="404 Not Found"),
    answer("TOLD", status="206 Partial Content", headers={"Content-Range": "TOLD", "ETag": '"TOLD"'}),
    answer("TOLD", headers={"Content-Type": "image/png", "ETag": '"TOLD"', "Content-MD5": "TOLD"}),
    answer("", status="302 Found", headers={"Location": "http://[TOLD"}),
    answer("", status="302 Found", headers={"Location": "ftp://TOLD"}),
    answer("TOLD", headers={"Content-Encoding": "TOLD"}),
)
STOPS = (
    (answer({"error": {"message": "无效的令牌 TOLD"}}, status="401 TOLD"), "unauthorized"),
    (answer({"error": {"message": "TOLD", "code": "insufficient_user_quota"}}, status="403 No"), "out_of_credit"),
    (answer("TOLD", status="302 Found", headers={"Location": "URL"}), "wrong_base_url"),
    (answer({"error": {"message": "Invalid URL TOLD"}}, status="404 TOLD"), "wrong_base_url"),
)


@contextmanager
def gossiping(gossip: Gossip) -> Iterator[RawServer]:
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(serve(gossip)) as server:
        yield server


def ask(server: RawServer, folder: Path, *options: object) -> Ran:
    environment = {"FLUXBATCH_API_KEY": PLAIN_KEY, "FLUXBATCH_BASE_URL": server.base_url}
    return run_command("run", "jobs.jsonl", "--concurrency", "1", *options, cwd=folder, env=environment)


def where(folder: Path, secret: str) -> set[str]:
    """The files below that hold it."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.name for path in files if secret.encode() in path.read_bytes()}


def check_nowhere(folder: Path, *shown: Ran) -> None:
    for secret in (PLAIN_KEY, SIGNATURE, "sig=", "Bearer " + PLAIN_KEY[:8]):
        assert where(folder, secret) == set()
        for ran in shown:
            assert secret not in ran.out + ran.err


@pytest.mark.parametrize("form", [pytest.param("text", marks=pytest.mark.slow), "json"])
def test_whatever_an_api_tells_of_them_they_are_nowhere(tmp_path: Path, form: str) -> None:
    write_rows(tmp_path / "jobs.jsonl", 24)
    # an image in between: an API that only refuses is left alone for a while
    gossip = Gossip(*(one for refusal in REFUSALS for one in (refusal, b"")))
    gossip.deliveries = list(DELIVERIES)
    with gossiping(gossip) as server:
        ran = ask(server, tmp_path, "-vv", "--log-format", form, "--json")
        status = [run_command("status", *options, cwd=tmp_path) for options in ((), ("--json",), ("--results",))]

    assert ran.code == 1, ran.err
    assert not gossip.answers
    assert not gossip.deliveries
    assert "stored" in {line["status"] for line in results(tmp_path / "jobs-out")}
    assert PLAIN_KEY in repr(server.requests), "they were not in play"
    assert SIGNATURE in repr(server.requests)
    check_nowhere(tmp_path / "jobs-out", ran, *status)


@pytest.mark.parametrize("number", range(len(STOPS)))
def test_the_reason_of_a_stop_does_not_tell_them(tmp_path: Path, number: int) -> None:
    write_rows(tmp_path / "jobs.jsonl", 2)
    said, reason = STOPS[number]
    with gossiping(Gossip(said)) as server:
        ran = ask(server, tmp_path, "-vv", "--json")
        status = run_command("status", cwd=tmp_path)

    assert (ran.code, ran.summary["stop_reason"]) == (3, reason), ran.err
    check_nowhere(tmp_path / "jobs-out", ran, status)


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("status", ["400 Bad", "500 Oh", "200 OK"])
def test_a_photo_that_an_api_sends_back_in_its_words_is_nowhere(tmp_path: Path, status: str, form: str) -> None:
    """As a data URL, plainly or with the slashes escaped: too much to read, and somebody's picture."""
    (tmp_path / "photo.png").write_bytes(make_png(5, width=200, height=200))
    write_rows(tmp_path / "jobs.jsonl", 2, images=["photo.png"])
    photo = b64encode((tmp_path / "photo.png").read_bytes()).decode()
    url = f"data:image/png;base64,{photo}"
    said = [f'{{"error":{{"message":"not this: {one}"}}}}'.encode() for one in (url, url.replace("/", r"\/"))]
    with gossiping(Gossip(*(answer(one, status=status) for one in said))) as server:
        ran = ask(server, tmp_path, "-vv", "--log-format", form, "--json", "--max-attempts", "1")
        assert photo in repr(server.requests), "it was not in play"
    assert ran.summary["requests"] >= 2
    for part in (photo[:60], photo[-60:]):
        assert where(tmp_path / "jobs-out", part) == set()
        assert part not in ran.out + ran.err


def test_a_signed_query_is_in_the_ledger_while_it_is_owed_and_only_there(api: Api, tmp_path: Path) -> None:
    write_rows(tmp_path / "jobs.jsonl", 4)
    out = tmp_path / "jobs-out"
    api.sim.faults = Faults(rates={"download-stall": 1.0}, stall_s=60)
    with api.running("jobs.jsonl", "-vv", cwd=tmp_path) as child:
        wait_for(lambda: len(names_of(out, "job.granted")) == 4)
        assert {name.removesuffix("-wal") for name in where(out, "sig=")} == {"ledger.sqlite"}
        child.kill()
        killed = child.finish()
    assert {name.removesuffix("-wal") for name in where(out, "sig=")} == {"ledger.sqlite"}
    status = run_command("status", cwd=tmp_path)
    assert {name.removesuffix("-wal") for name in where(out, "sig=")} == {"ledger.sqlite"}
    api.sim.faults = Faults()

    ran = api.run("jobs.jsonl", "-vv", cwd=tmp_path)

    assert ran.code == 0, ran.err
    for secret in ("sig=", KEY):
        assert where(out, secret) == set()
        assert secret not in "".join(one.out + one.err for one in (killed, status, ran))
