"""What is flagged by numbers alone, and above all what isn't: a false alarm is worse than none."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fluxbatch.model.job import Stored
from fluxbatch.policy.flags import may_be_blank, size_asked, wrong_size
from fluxbatch.simulator.sizes import FLUX2_RATIOS, size_of_ratio

SIDES = st.integers(64, 2048)


@given(SIDES, SIDES, st.integers(-16, 16), st.integers(-16, 16))
def test_rounding_is_no_other_size(width: int, height: int, wider: int, higher: int) -> None:
    assert not wrong_size(f"{width}x{height}", width + wider, height + higher)


@given(SIDES, SIDES, st.integers(17, 2000))
def test_more_than_rounding_is(width: int, height: int, more: int) -> None:
    assert wrong_size(f"{width}x{height}", width + more, height)
    assert wrong_size(f"{width}x{height}", width, height + more)


@given(st.integers(1, 21), st.integers(1, 21), st.floats(0.1, 4.2))
def test_a_ratio_rounded_to_16_pixels_is_no_other_ratio(across: int, down: int, megapixels: float) -> None:
    width = (megapixels * 1024 * 1024 * across / down) ** 0.5
    height = width * down / across
    if min(width, height) >= 64:
        assert not wrong_size(f"{across}:{down}", round(width / 16) * 16, round(height / 16) * 16)


# what kontext is known to answer with, which knows 17 sizes and takes the closest
@pytest.mark.parametrize(
    ("asked", "got"),
    [("16:9", (1392, 752)), ("9:16", (752, 1392)), ("3:2", (1248, 832)), ("4:3", (1184, 880)), ("21:9", (1568, 672))],
)
def test_the_sizes_of_kontext_raise_no_alarm(asked: str, got: tuple[int, int]) -> None:
    assert not wrong_size(asked, *got)


@pytest.mark.parametrize("asked", FLUX2_RATIOS)
def test_no_ratio_passes_for_another(asked: str) -> None:
    across, down = map(int, asked.split(":"))
    assert not wrong_size(asked, *size_of_ratio(across, down))
    for other in FLUX2_RATIOS:
        if other != asked and {other, asked} not in ({"5:4", "4:3"}, {"4:5", "3:4"}):  # those are too close
            assert wrong_size(asked, *size_of_ratio(*map(int, other.split(":")))), other


@pytest.mark.parametrize("asked", ["", "x", "16:0", "0:1", "wide", "1024", "16:9:1", "9" * 20 + ":1"])
def test_nonsense_is_never_wrong(asked: str) -> None:
    assert not wrong_size(asked, 1024, 1024)


def test_what_is_asked() -> None:
    assert size_asked({"width": 640, "height": 480}) == "640x480"
    assert size_asked({"size": "1024x768"}) == "1024x768"
    assert size_asked({"aspect_ratio": "16:9"}) == "16:9"
    assert size_asked({"prompt": "A cup", "width": 640}) == ""


@pytest.mark.parametrize("side", [64, 1024, 2048])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_plain_picture_is_always_worth_a_look(side: int, kind: str) -> None:
    file = io.BytesIO()
    Image.new("RGB", (side, side), "#4080C0").save(file, kind, quality=100, subsampling=0)
    stored = Stored("a", "", len(file.getvalue()), side, side)
    assert may_be_blank(stored)


def test_a_real_one_is_not_opened() -> None:
    assert not may_be_blank(Stored("a", "", 200_000, 1024, 1024))
