"""What is done to photos: never above a limit, never larger, never a side too small, and nothing without a reason."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from fluxbatch.formats import ImageFacts
from fluxbatch.model.job import Fit, Fitting, Photo
from fluxbatch.policy.fitting import (
    LARGEST_FILE,
    MEGAPIXEL,
    MOST_PIXELS,
    SHRUNK_ABOVE,
    common_cap,
    fitting_of,
    sent_bytes,
    sent_pixels,
    sent_size,
)

AUTO = Fit()
JPEG = ImageFacts("image/jpeg", "jpg", 1600, 1200)
PNG = ImageFacts("image/png", "png", 1600, 1200)
RGBA = replace(PNG, components=4, alpha=True)


def fitted(facts: ImageFacts, fit: Fit = AUTO, size: int = 1000, cap: int | None = None) -> Fitting:
    fitting = fitting_of(facts, size, fit, cap)
    assert fitting is not None
    return fitting


# ------------------------------------------------------------------------------------------------------------- auto
@pytest.mark.parametrize(
    "facts",
    [
        JPEG,
        RGBA,
        ImageFacts("image/webp", "webp", 1600, 1200, components=4, alpha=True),
        replace(JPEG, components=1),
        replace(PNG, components=2, alpha=True),
        replace(PNG, components=1, bits=1),
        replace(JPEG, width=5120, height=4096),
        replace(JPEG, width=10, height=10),
        replace(JPEG, bits=12),
    ],
    ids=["JPEG", "RGBA", "WebP", "grey", "grey with alpha", "bitmap", "20 MP", "tiny", "12 bits"],
)
def test_what_the_api_takes_goes_byte_for_byte(facts: ImageFacts) -> None:
    assert fitting_of(facts, LARGEST_FILE, AUTO) is None


@pytest.mark.parametrize(
    ("facts", "why", "mime"),
    [
        (replace(JPEG, orientation=3), "turned upright (EXIF)", "image/jpeg"),
        (replace(JPEG, multi_picture=True), "first picture of several (MPO)", "image/jpeg"),
        (replace(JPEG, components=4), "CMYK to RGB", "image/jpeg"),
        (replace(JPEG, arithmetic=True), "arithmetic coding to Huffman coding", "image/jpeg"),
        (replace(PNG, palette=True, components=1), "palette to RGB", "image/jpeg"),
        (replace(PNG, palette=True, components=1, alpha=True), "palette to RGB", "image/png"),
        (replace(PNG, bits=16), "16 to 8 bits", "image/jpeg"),
        (replace(RGBA, animated=True), "first frame of an animation", "image/png"),
        (ImageFacts("image/heic", "heic", 1600, 1200), "HEIC to JPEG", "image/jpeg"),
        (ImageFacts("image/gif", "gif", 1600, 1200, 1, palette=True, alpha=True), "GIF to PNG", "image/png"),
        (ImageFacts("image/bmp", "bmp", 1600, 1200, 1, palette=True), "BMP to JPEG", "image/jpeg"),
    ],
)
def test_what_is_refused_or_seen_wrongly_is_mended(facts: ImageFacts, why: str, mime: str) -> None:
    assert fitted(facts) == Fitting(1600, 1200, 1600, 1200, mime, why=(why,))
    assert fitting_of(facts, 1000, Fit(off=True)) is None


def test_a_photo_that_lies_is_measured_upright() -> None:
    fitting = fitted(replace(JPEG, orientation=6), Fit(long_edge=800))

    assert (fitting.width, fitting.height) == (600, 800)
    assert fitting.why == ("turned upright (EXIF)", "scaled from 1200×1600 to 600×800")


def test_more_than_20_mp_become_4() -> None:
    fitting = fitted(replace(JPEG, width=6000, height=4000))

    assert (fitting.width, fitting.height) == (2508, 1672)
    assert fitting.why == ("scaled from 6000×4000 to 2508×1672",)


def test_more_than_20_mb_become_4_mp_or_are_written_anew() -> None:
    heavy = LARGEST_FILE + 1

    assert fitted(replace(JPEG, width=4000, height=4000), size=heavy).why == ("scaled from 4000×4000 to 2048×2048",)
    assert fitted(JPEG, size=heavy).why == ("written anew, 20.0 MB are too large",)


# ----------------------------------------------------------------------------------------------------------- wishes
@pytest.mark.parametrize(
    "fit",
    [
        Fit(max_megapixels=4),
        Fit(max_megapixels=1600 * 1200 / MEGAPIXEL),
        Fit(long_edge=1600),
        Fit(multiple_of=16),
        Fit(background="#FFFFFF"),
    ],
)
def test_wishes_that_are_fulfilled_already_touch_nothing(fit: Fit) -> None:
    assert fitting_of(JPEG, 1000, fit) is None


@pytest.mark.parametrize(
    ("facts", "fit", "scaled", "left"),
    [
        (JPEG, Fit(max_megapixels=1), (1182, 886), (1182, 886)),
        (JPEG, Fit(long_edge=1024), (1024, 768), (1024, 768)),
        (JPEG, Fit(long_edge=1024, max_megapixels=0.25), (591, 443), (591, 443)),
        (JPEG, Fit(multiple_of=48), (1600, 1200), (1584, 1200)),
        (JPEG, Fit(long_edge=1000, multiple_of=16), (1000, 750), (992, 736)),
        (replace(JPEG, width=6400, height=640), Fit(long_edge=320), (640, 64), (640, 64)),
        (replace(JPEG, width=6400, height=640), Fit(long_edge=320, multiple_of=48), (960, 96), (960, 96)),
        (replace(JPEG, width=800, height=80), Fit(multiple_of=48), (800, 80), (768, 80)),
    ],
)
def test_wishes(facts: ImageFacts, fit: Fit, scaled: tuple[int, int], left: tuple[int, int]) -> None:
    fitting = fitted(facts, fit)

    assert (fitting.width, fitting.height) == scaled
    assert (fitting.crop_width, fitting.crop_height) == left


def test_a_background_is_put_behind_what_is_transparent() -> None:
    fitting = fitted(RGBA, Fit(background="#102030"))

    assert (fitting.background, fitting.mime) == ("#102030", "image/jpeg")
    assert fitting.why == ("#102030 put behind what is transparent",)
    assert fitted(PNG, Fit(background="#102030", long_edge=100)).background == ""


SIDES = st.integers(1, 20_000)
FITS = st.builds(
    Fit,
    max_megapixels=st.none() | st.floats(0.01, 30),
    multiple_of=st.none() | st.integers(1, 200),
    long_edge=st.none() | st.integers(64, 30_000),
)


@given(SIDES, SIDES, st.integers(1, 8), FITS, st.none() | st.integers(1, 20 * MEGAPIXEL))
@example(20_000, 64, 1, Fit(), 1)
@example(6144, 2048, 1, Fit(max_megapixels=3), None)
def test_limits_hold(width: int, height: int, orientation: int, fit: Fit, cap: int | None) -> None:
    facts = replace(JPEG, width=width, height=height, orientation=orientation)
    upright = (height, width) if orientation >= 5 else (width, height)
    fitting = fitting_of(facts, 1000, fit, cap)
    if fitting is None:
        wide, high = left = upright
    else:
        wide, high = fitting.width, fitting.height
        left = fitting.crop_width, fitting.crop_height

    assert wide <= upright[0]
    assert high <= upright[1], "never larger"
    assert left[0] <= wide
    assert left[1] <= high
    assert min(left) >= min(64, *upright), "never too small"
    scale = max(Fraction(wide, upright[0]), Fraction(high, upright[1]))
    assert abs(wide - upright[0] * scale) <= 1
    assert abs(high - upright[1] * scale) <= 1, "the same shape"

    least = fit.multiple_of * -(-64 // fit.multiple_of) if fit.multiple_of else 64
    for side in left:
        assert not fit.multiple_of or side % fit.multiple_of == 0 or side < least
    if min(wide, high) > least:
        pixels = wide * high
        assert pixels <= (MOST_PIXELS if width * height <= MOST_PIXELS else SHRUNK_ABOVE)
        assert cap is None or pixels <= max(cap, 1)
        assert fit.max_megapixels is None or pixels <= fit.max_megapixels * MEGAPIXEL
        assert fit.long_edge is None or max(wide, high) <= fit.long_edge


@given(SIDES, SIDES, FITS)
def test_once_is_enough(width: int, height: int, fit: Fit) -> None:
    assume(min(width, height) >= 200)
    first = fitting_of(replace(JPEG, width=width, height=height), 1000, fit)
    assume(first is not None)
    assert first is not None

    assert fitting_of(replace(JPEG, width=first.crop_width, height=first.crop_height), 1000, fit) is None


# -------------------------------------------------------------------------------------------------- a common limit
@pytest.mark.parametrize(
    ("pixels", "limit", "cap"),
    [
        ([], 9, None),
        ([4, 4], 8, None),
        ([4, 4], 7, 3),
        ([4, 4, 1], 7, 3),
        ([1, 2, 30], 9, 6),
        ([4, 4], 0, None),
        ([4, 4], -5, None),
        ([4, 4, 4], 2, None),
    ],
)
def test_what_is_over_is_taken_from_the_largest(pixels: list[int], limit: int, cap: int | None) -> None:
    assert common_cap(pixels, limit) == cap


@given(st.lists(st.integers(1, 10**7), max_size=8), st.integers(8, 10**8))
def test_the_common_cap_is_the_largest_that_fits(pixels: list[int], limit: int) -> None:
    cap = common_cap(pixels, limit)

    if cap is None:
        assert sum(pixels) <= limit
    else:
        assert sum(min(one, cap) for one in pixels) <= limit < sum(min(one, cap + 1) for one in pixels)


def photo(**changes: Any) -> Photo:
    whole = Photo("a.jpg", "/a.jpg", "image/jpeg", 5000, 1, 1, 3000, 2000, "d")
    return replace(whole, **changes)


def test_what_is_sent_is_counted_once_it_is_fitted() -> None:
    fitting = Fitting(1500, 1000, 1488, 992, "image/jpeg")

    assert sent_size(photo()) == (3000, 2000)
    assert sent_size(photo(fitting=fitting)) == (1488, 992)
    assert sent_pixels(photo()) == 3000 * 2000
    assert sent_pixels(photo(fitting=fitting)) == 1488 * 992
    assert sent_bytes(photo()) == 5000
    assert sent_bytes(photo(fitting=fitting)) < sent_bytes(photo(fitting=replace(fitting, mime="image/png")))
