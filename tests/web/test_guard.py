"""Who is let in, and who may act: pure decisions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxbatch.errors import UsageError
from fluxbatch.web.address import bind, host_of
from fluxbatch.web.guard import Guard, Visit

if TYPE_CHECKING:
    from pathlib import Path

HOST = "127.0.0.1:8000"
GUARD = Guard(lambda host: host_of(host) in {"127.0.0.1", "localhost", "::1"})


def own(**more: object) -> Visit:
    facts: dict[str, object] = {"host": HOST, "cookie": GUARD.session, **more}
    return Visit(**facts)  # type: ignore[arg-type]  # as the test says


def acting(**more: object) -> Visit:
    return own(**{"acts": True, "origin": f"http://{HOST}", "kind": "application/json", **more})


def status(visit: Visit) -> int:
    refusal = GUARD.judge(visit)
    return 200 if refusal is None else refusal.status


@pytest.mark.parametrize(
    ("visit", "expected"),
    [
        (own(), 200),
        (own(fetched_from="same-origin"), 200),
        (own(fetched_from="none"), 200),
        (own(cookie=""), 401),
        (own(cookie=GUARD.token), 401),
        (own(cookie="ä\udcff"), 401),
        (own(host="evil.example:8000"), 403),
        (own(host="127.0.0.1.evil.example"), 403),
        (own(host=""), 403),
        (own(fetched_from="same-site"), 403),
        (own(fetched_from="cross-site"), 403),
        (acting(), 200),
        (acting(host="localhost:9999", origin="http://localhost:9999"), 200),
        (acting(origin=""), 403),
        (acting(origin="null"), 403),
        (acting(origin="http://evil.example"), 403),
        (acting(origin="http://127.0.0.1:8001"), 403),
        (acting(kind="text/plain"), 403),
        (acting(kind="application/x-www-form-urlencoded"), 403),
        (acting(cookie=""), 401),
    ],
)
def test_visits(visit: Visit, expected: int) -> None:
    assert status(visit) == expected


@given(st.text(max_size=60))
def test_no_other_token_opens(token: str) -> None:
    assert not GUARD.admits(token)
    assert GUARD.admits(GUARD.token)


def test_secrets_are_in_no_text() -> None:
    assert GUARD.token not in repr(GUARD)
    assert GUARD.session not in repr(GUARD)


@pytest.mark.parametrize(
    ("header", "host"),
    [("A.b:80", "a.b"), ("[::1]:80", "::1"), ("::", ""), ("localhost", "localhost"), ("[::1", "::1")],
)
def test_host_of(header: str, host: str) -> None:
    assert host_of(header) == host


@pytest.mark.parametrize(
    ("header", "is_answered"),
    [("127.0.0.1", True), ("localhost:1", True), ("[::1]:2", True), ("192.168.1.7", False), ("evil.example", False)],
)
def test_a_page_of_this_machine_answers_to_loopback_alone(header: str, *, is_answered: bool) -> None:
    bound = bind("127.0.0.1")
    bound.socket.close()
    assert bound.answers_to(header) is is_answered
    assert not bound.is_open


def test_a_page_for_others_answers_to_addresses_and_its_own_names() -> None:
    bound = bind("0.0.0.0:0")
    bound.socket.close()
    assert bound.is_open
    assert bound.answers_to("192.168.1.7:80")
    assert not bound.answers_to("evil.example")


@pytest.mark.parametrize("address", ["jobs.yaml", "127.0.0.1:http", "127.0.0.1:99999", "photos/", "http://localhost"])
def test_what_is_no_address_is_told(address: str) -> None:
    with pytest.raises(UsageError) as caught:
        bind(address)
    assert address in caught.value.message
    assert caught.value.remedy


@pytest.mark.parametrize("address", ["0", "localhost", "localhost:0", "[::1]", "[::1]:0", "::1", ":0"])
def test_addresses_of_this_machine(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "0").touch()
    monkeypatch.chdir(tmp_path)
    bound = bind(address)
    bound.socket.close()
    assert not bound.is_open
    assert bound.answers_to(bound.origin.removeprefix("http://"))


def test_a_file_is_no_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "jobs").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="no address"):
        bind("jobs")


def test_a_port_in_use_is_told() -> None:
    first = bind("127.0.0.1")
    port = first.socket.getsockname()[1]
    with first.socket, pytest.raises(UsageError, match=f"port {port}.*in use"):
        bind(str(port))
