"""A site over real sockets: who is let in, what is given out, what becomes of readers who take nothing."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any

import pytest
from anyio.from_thread import start_blocking_portal

from fluxbatch.errors import StorageError
from fluxbatch.web.address import bind
from fluxbatch.web.server import Server
from fluxbatch.web.shelf import Refused
from tests.app.stage import wait_for
from tests.web.visitor import Visitor, read_until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
    from pathlib import Path

    from anyio.from_thread import BlockingPortal

MB = 1 << 20


class Shelf:
    """Ten jobs; one picture; breaks when told to."""

    def __init__(self, folder: Path) -> None:
        self.files = {"index.html": b"<!doctype html>", "app.js": b"1"}
        self.pages = 2
        self.breaks_at = -1
        self.asked: list[tuple[str, int]] = []
        self._picture = folder / "picture.png"
        self._picture.write_bytes(b"\x89PNG\r\n\x1a\nmore")

    async def about(self) -> dict[str, Any]:
        return {"out": "<b>out</b>"}

    async def jobs(self) -> AsyncGenerator[Sequence[dict[str, Any]], None]:
        for number in range(self.pages):
            if number == self.breaks_at:
                raise StorageError("the ledger is gone")
            yield [{"id": f"job-{number}", "prompt": "x" * (MB if self.pages > 100 else 1)}]

    async def more(self, job_id: str) -> dict[str, Any]:
        return {"about": job_id}

    async def picture(self, job_id: str, place: int, *, small: bool) -> tuple[Path, str] | None:  # noqa: ARG002  # the protocol
        self.asked.append((job_id, place))
        return (self._picture, "image/png") if job_id == "job/1 ü" else None


class Site:
    def __init__(self, server: Server, shelf: Shelf, done: list[Any], portal: BlockingPortal) -> None:
        self.server, self.shelf, self.done = server, shelf, done
        self.call: Callable[..., Any] = portal.call
        self.visitor = Visitor(server.link)
        assert self.visitor.enter().status == 200


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    done: list[Any] = []
    shelf = Shelf(tmp_path)

    async def act(said: dict[str, Any]) -> dict[str, Any]:
        if said.get("no"):
            raise Refused("not today")
        done.append(said)
        return {"done": True}

    server = Server(bind("127.0.0.1"), shelf, {"act": act})
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(server):
        yield Site(server, shelf, done, portal)


def test_the_token_is_taken_for_a_cookie_that_scripts_and_strangers_dont_get(site: Site) -> None:
    answer = Visitor(site.server.link).enter()
    cookie = answer.headers["set-cookie"]
    token = site.server.link.partition("token=")[2]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert token not in cookie + answer.body.decode()
    assert b"url=/" in answer.body


@pytest.mark.parametrize("path", ["/", "/app.js", "/about", "/jobs", "/events", "/picture?id=job/1", "/nothing"])
def test_without_the_cookie_nothing_is_given_out(site: Site, path: str) -> None:
    for visitor in (Visitor(site.server.link), Visitor(site.server.link, cookie=f"{site.visitor.cookie}x")):
        assert visitor.get(path).status == 401
    assert Visitor(site.server.link.replace("token=", "token=x")).enter().status == 401
    assert site.shelf.asked == []


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "0.0.0.0", ""])
def test_a_name_that_a_stranger_points_here_is_refused(site: Site, host: str) -> None:
    assert site.visitor.get("/jobs", Host=host).status == 403
    query = site.server.link.partition("?")[2]
    assert site.visitor.get(f"/?{query}", Host=host).status == 403
    assert site.visitor.post("/act", {}, Host=host, Origin=f"http://{host}").status == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Content_Type": "text/plain"},
        {"Content_Type": "application/x-www-form-urlencoded"},
    ],
)
def test_another_page_can_do_nothing(site: Site, headers: dict[str, str]) -> None:
    assert site.visitor.post("/act", {}, **headers).status == 403
    assert site.done == []


def test_the_page_itself_can(site: Site) -> None:
    assert site.visitor.post("/act", {"a": 1}).json() == {"done": True}
    assert site.done == [{"a": 1}]
    refused = site.visitor.post("/act", {"no": True})
    assert (refused.status, refused.json()) == (409, {"error": "not today"})
    assert site.visitor.post("/act", ["no object"]).status == 400
    assert site.visitor.post("/act", "x" * MB).status == 413
    assert site.visitor.get("/act").status == 405
    assert site.visitor.post("/jobs", {}).status == 405


@pytest.mark.parametrize(
    "path",
    [
        "/../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/..%2f..%2fetc%2fpasswd",
        "//etc/passwd",
        "/picture.png",
        "/index.html/../../pyproject.toml",
        "/picture?id=../../etc/passwd",
        "/picture?id=job/1%20%C3%BC&n=9999999999",
        "/picture?id=job/1%20%C3%BC&n=../0",
        "/picture",
    ],
)
def test_no_path_leads_to_another_file(site: Site, path: str) -> None:
    answer = site.visitor.get(path)
    assert answer.status in {400, 404}
    assert b"root:" not in answer.body


def test_pictures_by_id_and_headers_with_all(site: Site) -> None:
    answer = site.visitor.get("/picture?id=job/1%20%C3%BC&n=0&v=1")
    assert (answer.status, answer.headers["content-type"]) == (200, "image/png")
    for path in ("/", "/app.js", "/about", "/jobs", "/picture?id=job/1%20%C3%BC", "/nothing"):
        headers = site.visitor.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"


def test_jobs_that_break_off_dont_pass_for_all(site: Site) -> None:
    assert [job["id"] for job in site.visitor.jobs()] == ["job-0", "job-1"]
    site.shelf.breaks_at = 0
    assert site.visitor.get("/jobs").status == 503
    assert "the ledger is gone" in site.visitor.get("/jobs").json()["error"]
    site.shelf.breaks_at = 1
    with pytest.raises((ConnectionError, OSError, Exception)) as caught:
        site.visitor.get("/jobs")
    assert type(caught.value).__name__ in {"IncompleteRead", "ConnectionResetError"}


def test_events_begin_with_how_it_stands(site: Site) -> None:
    site.call(site.server.feed.stand, "progress", {"made": 3})
    with site.visitor.listen() as stream:
        assert b"retry" in read_until(stream, b'{"made":3}')
        site.call(site.server.feed.tell, "jobs", ["<b>\n"])
        assert json.loads(read_until(stream, b"\\n").split(b"data: ")[-1].splitlines()[0]) == ["<b>\n"]


def test_readers_who_take_nothing_hold_up_nobody(site: Site) -> None:
    hung = [site.visitor.listen() for _ in range(3)]
    site.shelf.pages = 200  # 200 MB, if anybody took them
    host, _, port = site.visitor.host.rpartition(":")
    lists = [socket.create_connection((host, int(port))) for _ in range(2)]
    for one in lists:
        one.sendall(
            f"GET /jobs HTTP/1.1\r\nHost: {site.visitor.host}\r\nCookie: {site.visitor.cookie}\r\n\r\n".encode()
        )
    wait_for(lambda: bool(site.call(lambda: len(site.server.feed._readers) == 3)))
    for number in range(500):
        site.call(site.server.feed.tell, "jobs", [f"{number}" * 3000])
    with site.visitor.listen() as quick:
        read_until(quick, b"retry")
        site.call(site.server.feed.tell, "jobs", ["now"])
        read_until(quick, b'["now"]')
    assert site.visitor.get("/about").status == 200
    waiting = site.call(lambda: [len(reader._waiting) for reader in site.server.feed._readers])
    assert max(waiting) <= 64
    for one in [*hung, *lists]:
        one.close()
    wait_for(lambda: bool(site.call(lambda: not site.server.feed.is_read)))


def test_too_many_pages_are_turned_away(site: Site) -> None:
    streams = [site.visitor.listen() for _ in range(32)]
    for stream in streams:
        read_until(stream, b"retry")
    assert site.visitor.get("/events").status == 503
    streams.pop().close()
    wait_for(lambda: site.visitor.get("/about").status == 200 and len(site.server.feed._readers) < 32)
    with site.visitor.listen() as stream:
        read_until(stream, b"200 OK")
    for stream in streams:
        stream.close()


def test_connections_are_bounded(site: Site) -> None:
    host, _, port = site.visitor.host.rpartition(":")
    idle = [socket.create_connection((host, int(port)), timeout=20) for _ in range(230)]
    try:
        assert idle[-1].recv(1) == b""  # closed at once
    finally:
        for one in idle:
            one.close()
    wait_for(lambda: _answers(site.visitor))


def _answers(visitor: Visitor) -> bool:
    try:
        return visitor.get("/about").status == 200
    except OSError:
        return False
