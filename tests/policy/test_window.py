"""The hours in which something is sent, over midnight and where clocks are put forward and back."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxbatch.errors import UsageError
from fluxbatch.policy.window import Window, zone_of

ZONES = ("UTC", "Asia/Shanghai", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu")
BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str, zone: tzinfo = UTC, *, fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold).timestamp()


def shown(moment: float, zone: tzinfo) -> str:
    return datetime.fromtimestamp(moment, zone).strftime("%Y-%m-%d %H:%M:%S")


@pytest.mark.parametrize(
    ("hours", "open_at", "closed_at"),
    [
        ("01:00-06:00", ["01:00:00", "03:30", "05:59:59.9"], ["00:59:59.9", "06:00", "12:00"]),
        ("22:30-06:00", ["22:30", "23:59:59", "00:00", "05:59"], ["06:00", "12:00", "22:29:59"]),
        ("00:00-24:00", [], []),
        ("12:00-24:00", ["12:00", "23:59:59"], ["00:00", "11:59"]),
        ("9:00 – 17:05", ["09:00", "17:04:59"], ["17:05", "08:59"]),
    ],
)
def test_what_the_clock_shows_counts(hours: str, open_at: list[str], closed_at: list[str]) -> None:
    if hours == "00:00-24:00":
        with pytest.raises(UsageError):
            Window.of(hours)
        return
    shanghai = ZoneInfo("Asia/Shanghai")
    window = Window.of(hours, shanghai)
    assert all(window.is_open(at(f"2026-11-23T{time}", shanghai)) for time in open_at)
    assert not any(window.is_open(at(f"2026-11-23T{time}", shanghai)) for time in closed_at)


@pytest.mark.parametrize(
    "text", ["", "1-6", "01:00", "01:00-01:00", "25:00-26:00", "01:60-02:00", "night", "01:00-06:00x"]
)
def test_no_hours(text: str) -> None:
    with pytest.raises(UsageError, match="--window"):
        Window.of(text)


def test_a_zone_that_is_not_there() -> None:
    assert zone_of("") is None
    assert zone_of("Asia/Shanghai") is not None
    with pytest.raises(UsageError) as caught:
        zone_of("Asia/Shanghia")
    assert "did you mean 'Asia/Shanghai'" in caught.value.remedy
    for name in ("../../etc/passwd", "/etc/passwd", "Mars", "\0"):
        with pytest.raises(UsageError):
            zone_of(name)


def test_clocks_put_forward() -> None:
    """On 2026-03-29, 02:00 is followed by 03:00 at once."""
    window = Window.of("01:30-02:30", BERLIN)
    assert shown(window.changes_at(at("2026-03-29T01:45", BERLIN)), BERLIN) == "2026-03-29 03:00:00"
    never_there = Window.of("02:10-02:50", BERLIN)
    assert shown(never_there.changes_at(at("2026-03-28T12:00", BERLIN)), BERLIN) == "2026-03-30 02:10:00"


def test_clocks_put_back() -> None:
    """On 2026-10-25, 03:00 is followed by 02:00: what is between them comes twice."""
    window = Window.of("02:00-02:30", BERLIN)
    first, again = (at("2026-10-25T02:10", BERLIN, fold=fold) for fold in (0, 1))
    assert again - first == 3600
    assert window.is_open(first)
    assert window.is_open(again)
    assert not window.is_open(at("2026-10-25T02:40", BERLIN))
    long = Window.of("01:00-04:00", BERLIN)
    assert long.changes_at(at("2026-10-25T01:00", BERLIN)) - at("2026-10-25T01:00", BERLIN) == 4 * 3600


@given(
    st.sampled_from(ZONES),
    st.integers(0, 1439),
    st.integers(0, 1439),
    st.floats(at("2024-01-01"), at("2028-01-01")),
)
def test_it_changes_when_it_says(zone: str, start: int, end: int, now: float) -> None:
    if start == end:
        return
    window = Window(start, end, ZoneInfo(zone))
    change = window.changes_at(now)
    assert 0 < change - now <= 49 * 3600
    assert window.is_open(change) is not window.is_open(now)
    assert window.is_open(change - 0.001) is window.is_open(now)
    assert Window.of(str(window), window.zone) == window


def test_the_clock_of_this_machine() -> None:
    now = at("2026-11-23T12:00")
    local = datetime.fromtimestamp(now)  # noqa: DTZ006  # that is what is asked for
    minute = local.hour * 60 + local.minute
    assert Window(minute, (minute + 1) % 1440).is_open(now)
    assert not Window((minute + 1) % 1440, minute).is_open(now)
