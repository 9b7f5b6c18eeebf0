from __future__ import annotations

import hashlib
import io
from itertools import combinations
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops

from fluxbatch.simulator.layout import Box, arrange
from fluxbatch.simulator.text import Typesetter, drawable_text
from tests.simulator.client import Client, drawn, photo, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

MAX = {"model": "flux-2-max", "prompt": "Hello", "output_format": "png"}
COLOURS = ["red", "lime", "blue", "yellow", "cyan", "magenta", "plum", "orange"]
NAMES = ["input_image", *(f"input_image_{n}" for n in range(2, 9))]
ALL = ["person.jpg", "cat.webp", "cup.png", "bricks.jpg", "grass.jpg", "launch.jpg", "stars.jpg", "cat.webp"]


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with serving(render="montage") as client:
        yield client


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ({}, (1024, 1024)),
        ({"aspect_ratio": "16:9"}, (1360, 768)),
        ({"aspect_ratio": "9:16"}, (768, 1360)),
        ({"width": 64, "height": 64}, (64, 64)),
        ({"width": 2048, "height": 64}, (2048, 64)),
        ({"size": "320x256"}, (320, 256)),
    ],
    ids=str,
)
@pytest.mark.parametrize(("output_format", "count"), [("jpeg", 0), ("png", 3)])
async def test_results_have_the_size_and_format_asked_for(
    client: Client, shape: dict[str, Any], size: tuple[int, int], output_format: str, count: int
) -> None:
    pictures = {name: photo(file) for name, file in zip(NAMES[:count], ALL, strict=False)}
    expected = (512, 512) if count and not shape else size
    picture = await client.picture({**MAX, **pictures, **shape, "output_format": output_format})
    assert (picture.size, picture.format) == (expected, output_format.upper())


@pytest.mark.parametrize("count", range(1, 9))
async def test_a_montage_shows_every_input_in_order(client: Client, count: int) -> None:
    inputs = {name: drawn((96, 64), colour=colour) for name, colour in zip(NAMES[:count], COLOURS, strict=False)}
    picture = (await client.picture({**MAX, **inputs, "size": "768x512"})).convert("RGB")
    places = [centre_of(picture, colour) for colour in COLOURS[:count]]
    assert all(places)
    reading = sorted(places, key=lambda place: (round(place[1] / 60), place[0])) if len(places) != 3 else places
    assert places == reading
    for colour in COLOURS[count:]:
        assert centre_of(picture, colour) == ()


def centre_of(picture: Image.Image, colour: str) -> tuple[int, ...]:
    """Centre of the pixels of about this colour, () if there are few."""
    plain = Image.new("RGB", picture.size, colour)
    mask = ImageChops.difference(picture, plain).convert("L").point(lambda value: 255 * (value < 12))
    box = mask.getbbox()
    if box is None or mask.histogram()[255] < picture.width * picture.height / 60:
        return ()
    return ((box[0] + box[2]) // 2, (box[1] + box[3]) // 2)


async def test_the_same_request_gives_the_same_bytes_and_another_seed_does_not(client: Client) -> None:
    async def digest(seed: int) -> str:
        answer = await client.get((await client.post({**MAX, "input_image": photo("cat.webp"), "seed": seed})).url)
        return hashlib.sha256(answer.body).hexdigest()

    assert await digest(1) == await digest(1) != await digest(2)


async def test_results_say_that_they_are_simulated(client: Client) -> None:
    for output_format, key in (("png", "Software"), ("jpeg", "comment")):
        picture = await client.picture({**MAX, "output_format": output_format})
        assert "simulated" in str(picture.info[key])


@pytest.mark.parametrize(
    "prompt",
    ["自然融合这两个图片", "word " * 700, "x" * 3000, "\x1b[31m\u202e\0\n\n\tred", "😀 emoji", "שלום", "a\ud83d"],
    ids=["cjk", "long", "one word", "controls", "emoji", "rtl", "surrogate"],
)
async def test_any_prompt_can_be_shown(client: Client, prompt: str) -> None:
    picture = await client.picture({**MAX, "prompt": prompt, "input_image": photo("cat.webp"), "size": "512x512"})
    assert picture.size == (512, 512)


async def test_a_url_is_shown_as_a_placeholder(client: Client) -> None:
    with_url = await client.picture({**MAX, "input_image": "https://example.com/some/where.jpg"})
    other = await client.picture({**MAX, "input_image": "https://example.com/else/where.jpg"})
    assert ImageChops.difference(with_url.convert("RGB"), other.convert("RGB")).getbbox()


@given(
    st.lists(st.floats(0.35, 2.9), min_size=1, max_size=8),
    st.integers(64, 2048),
    st.integers(64, 2048),
    st.integers(2, 20),
)
def test_tiles_lie_in_their_area_and_apart(ratios: list[float], width: int, height: int, gap: int) -> None:
    area = Box(7, 11, width, height)
    boxes = arrange(ratios, area, gap)
    assert len(boxes) == len(ratios)
    for box in boxes:
        assert box.left >= area.left
        assert box.top >= area.top
        assert box.left + box.width <= area.left + area.width + 1
        assert box.top + box.height <= area.top + area.height + 1
    for one, other in combinations(boxes, 2):
        apart_x = one.left + one.width <= other.left + 1 or other.left + other.width <= one.left + 1
        apart_y = one.top + one.height <= other.top + 1 or other.top + other.height <= one.top + 1
        assert apart_x or apart_y


@settings(max_examples=30)
@given(st.text(max_size=300), st.integers(40, 500), st.integers(1, 5))
def test_wrapped_lines_fit(text: str, width: int, lines: int) -> None:
    setter = Typesetter(10)
    wrapped = setter.wrap(text, width, lines)
    assert len(wrapped) <= lines
    note = setter.width(" … +300 characters")
    assert all(setter.width(line) <= max(width, note) + 24 * 12 for line in wrapped)


def test_what_no_font_can_draw_is_counted() -> None:
    assert drawable_text("a\u0378\u0379 b") == "a[2 other characters: no font] b"
    assert drawable_text("自然") in {"自然", "[2 CJK characters: no font]"}
    assert drawable_text("Café – “naïve”…") in {"Café – “naïve”…", "Cafe - “naive”…"}


def test_pictures_are_encoded_as_real_files() -> None:
    from fluxbatch.simulator.montage import encode

    for output_format in ("png", "jpeg"):
        data = encode(Image.new("RGB", (64, 64)), output_format)
        assert Image.open(io.BytesIO(data)).format == output_format.upper()
