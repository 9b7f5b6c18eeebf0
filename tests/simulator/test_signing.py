from __future__ import annotations

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from fluxbatch.simulator.ranges import UnsatisfiableRangeError, if_range_holds, parse_range
from fluxbatch.simulator.signing import Signer, deadline_of

PATHS = st.from_regex(r"/results/[0-9a-f]{32}/sample\.(jpeg|png)", fullmatch=True)
DEADLINES = st.integers(0, 4_000_000_000)
SIGNER = Signer(b"secret")


@given(PATHS, DEADLINES, st.floats(-1e6, 1e6))
def test_what_was_signed_is_good_until_its_deadline(path: str, deadline: int, late: float) -> None:
    target = SIGNER.sign(path, "image/png", deadline)
    assert deadline_of(target) == deadline
    assert SIGNER.check(target, deadline + late) == ("ok" if deadline + late <= deadline else "expired")
    assert "%3A" in target
    assert "%2F" in target


@given(PATHS, DEADLINES, st.data())
def test_any_changed_character_is_a_mismatch(path: str, deadline: int, data: st.DataObject) -> None:
    target = SIGNER.sign(path, "image/png", deadline)
    place = data.draw(st.integers(0, len(target) - 1))
    character = data.draw(st.characters())
    assume(target[place] != character)
    assert SIGNER.check(target[:place] + character + target[place + 1 :], 0) == "mismatch"


@given(st.text())
@example("&sig=")
@example("/results/a?se=2026-99-99T99%3A99%3A99Z&sig=x")
def test_nothing_else_is_ever_good(target: str) -> None:
    assert SIGNER.check(target, 0) == "mismatch"


@given(PATHS, DEADLINES)
def test_another_secret_signs_otherwise(path: str, deadline: int) -> None:
    assert Signer(b"other").check(SIGNER.sign(path, "image/png", deadline), 0) == "mismatch"


@given(
    st.one_of(st.none(), st.text(), st.from_regex(r"bytes=\d*-\d*(,\d*-\d*)?", fullmatch=True)), st.integers(0, 10**7)
)
def test_a_range_lies_within_the_file_or_is_none(header: str | None, size: int) -> None:
    try:
        found = parse_range(header, size)
    except UnsatisfiableRangeError:
        return
    assert found is None or 0 <= found[0] < found[1] <= size


@given(st.integers(1, 10**7), st.data())
def test_ranges_mean_what_the_standard_says(size: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(0, size - 1))
    last = data.draw(st.integers(first, 2 * size))
    whole = range(size)
    assert parse_range(f"bytes={first}-{last}", size) == (first, len(whole[: last + 1]))
    assert parse_range(f"bytes={first}-", size) == (first, size)
    suffix = data.draw(st.integers(1, 2 * size))
    assert parse_range(f"bytes=-{suffix}", size) == (whole[-suffix:][0], size)


def test_ranges_that_mean_nothing() -> None:
    assert parse_range("bytes=5-4", 10) is None
    for header, size in (("bytes=-0", 10), ("bytes=10-", 10), ("bytes=0-", 0), ("bytes=-1", 0)):
        with pytest.raises(UnsatisfiableRangeError):
            parse_range(header, size)


def test_a_range_may_depend_on_the_version() -> None:
    assert if_range_holds(None, '"a"', "Mon")
    assert if_range_holds('"a"', '"a"', "Mon")
    assert if_range_holds("Mon", '"a"', "Mon")
    assert not if_range_holds('W/"a"', '"a"', "Mon")
