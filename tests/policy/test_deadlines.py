"""When a result URL dies: each family of signatures, clocks that are off, and junk."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxbatch.policy.deadlines import URL_LIFE_S, lease_of, signed_until

AT = 1_786_821_740.0  # 2026-08-15T19:22:20Z
HOST = "https://delivery-eu1.bfl.ai/results/ab/cd/sample.jpeg"


@pytest.mark.parametrize(
    "query",
    [
        "se=2026-08-15T19%3A22%3A20Z&sp=r&sv=2024-11-04&sr=b&rsct=image/jpeg&sig=a%2Bb%2F%3D",
        "sp=r&SE=2026-08-15T19:22:20Z",
        "se=2026-08-15T19%3A22%3A20.000Z",
        "se=2026-08-15T21%3A22%3A20%2B02%3A00",
        "X-Amz-Algorithm=AWS4&X-Amz-Date=20260815T191220Z&X-Amz-Expires=600&X-Amz-Signature=ab",
        "X-Goog-Date=20260815T191220Z&X-Goog-Expires=600&X-Goog-Signature=ab",
        "AWSAccessKeyId=AK&Expires=1786821740&Signature=ab",
        # the order of trust
        "se=2026-08-15T19%3A22%3A20Z&Expires=1",
        "se=nonsense&Expires=1786821740",
    ],
)
def test_signatures_tell_the_deadline(query: str) -> None:
    assert signed_until(f"{HOST}?{query}") == AT


@pytest.mark.parametrize(
    "query",
    [
        "",
        "sig=ab",
        "se=",
        "se=tomorrow",
        "Expires=soon",
        "Expires=-5",
        "Expires=1e9",
        "Expires=99999999999999",
        "Expires=٣",
        "X-Amz-Date=20260815T191220Z",
        "X-Amz-Expires=600",
        "X-Amz-Date=junk&X-Amz-Expires=600",
        "X-Amz-Date=20260815T191220Z&X-Amz-Expires=10m",
        "se=0001-01-01T00:00:00Z",
        "se=0001-01-01T00:00:00%2B23:00",
        "se=9999-12-31T23:59:59-23:00",
    ],
)
def test_junk_tells_none(query: str) -> None:
    assert signed_until(f"{HOST}?{query}") is None


@given(st.text() | st.text(alphabet="se=&?/:%0123456789-TZXAmzDatExpirs[]").map(lambda tail: f"{HOST}?{tail}"))
def test_no_url_is_too_odd(url: str) -> None:
    until = signed_until(url)
    assert until is None or until > 0
    lease = lease_of(url, received_at=AT)
    assert lease.url == url
    assert lease.granted_at <= AT
    assert url == "" or len(url) < 20 or url not in repr(lease)


def test_without_a_signature_it_lives_600_s_from_the_answer() -> None:
    lease = lease_of(HOST, received_at=AT, server_date=AT - 1000, request_id="req")
    assert (lease.deadline, lease.granted_at, lease.request_id) == (AT + URL_LIFE_S, AT, "req")


@pytest.mark.parametrize("skew", [-7200.0, -3.0, 0.0, 3.0, 7200.0])
def test_a_clock_that_is_off_is_corrected(skew: float) -> None:
    """Generation ended 20 s before the answer came; our clock shows ``skew`` more than the server's."""
    url = f"{HOST}?se=2026-08-15T19%3A22%3A20Z"
    server = AT - URL_LIFE_S + 20
    lease = lease_of(url, received_at=server + skew, server_date=server)
    assert lease.deadline == AT + skew
    assert lease.deadline - (server + skew) == 580
    assert lease.granted_at == server + skew - 20


@given(
    received=st.floats(1e9, 3e9),
    life=st.floats(-1e6, 1e6),
    date=st.none() | st.floats(1e9, 3e9),
)
def test_ages_are_sane(received: float, life: float, date: float | None) -> None:
    lease = lease_of(f"{HOST}?Expires={max(1, int(received + life))}", received_at=received, server_date=date)
    assert received - URL_LIFE_S <= lease.granted_at <= received
