from __future__ import annotations

import base64
import io
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from tests.simulator.client import PHOTOS, Client, data_url, drawn, photo, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

MAX = {"model": "flux-2-max", "prompt": "Hello", "output_format": "png"}


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with serving() as client:
        yield client


def jpeg_bytes() -> bytes:
    return (PHOTOS / "person.jpg").read_bytes()


def animated(kind: str) -> str:
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("red", "blue")]
    target = io.BytesIO()
    frames[0].save(target, kind, save_all=True, append_images=frames[1:], duration=100)
    return data_url(target.getvalue(), kind.lower())


def mpo() -> str:
    target = io.BytesIO()
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("red", "blue")]
    frames[0].save(target, "MPO", save_all=True, append_images=frames[1:])
    return data_url(target.getvalue(), "jpeg")


def broken_png() -> str:
    data = bytearray((PHOTOS / "cup.png").read_bytes())
    data[len(data) // 2] ^= 0xFF
    return data_url(bytes(data), "png")


REFUSED: dict[str, tuple[Any, str]] = {
    "png named jpeg": (drawn().replace("image/png", "image/jpeg"), "says image/jpeg but its bytes are image/png"),
    "jpeg named webp": (data_url(jpeg_bytes(), "webp"), "its bytes are image/jpeg"),
    "gif named png": (data_url(b"GIF89a" + bytes(40), "png"), "none of png, jpeg, webp"),
    "heic named jpeg": (data_url(b"\0\0\0\x18ftypheic" + bytes(40), "jpeg"), "none of png, jpeg, webp"),
    "no padding": (photo("person.jpg").rstrip("=")[:-1], "base64"),
    "line breaks": (photo("person.jpg")[:1000] + "\n\n\n\n" + photo("person.jpg")[1000:], "base64"),
    "url-safe": ("data:image/jpeg;base64," + base64.urlsafe_b64encode(jpeg_bytes()).decode(), "base64"),
    "blank": ("data:image/jpeg;base64, " + base64.b64encode(jpeg_bytes()).decode(), "base64"),
    "nothing": ("data:image/png;base64,", "empty"),
    "truncated jpeg": (data_url(jpeg_bytes()[:-4000], "jpeg"), "can't be decoded"),
    "header only": (data_url(jpeg_bytes()[:40], "jpeg"), "can't be decoded"),
    "damaged png": (broken_png(), "can't be decoded"),
    "too narrow": (drawn((63, 640)), "at least 64x64"),
    "above 20 MP": (partial(drawn, (5000, 4200), mode="L"), "20 MP"),
    "far above": (partial(drawn, (12_000, 12_000), mode="1"), "20 MP"),
    "cmyk": (drawn(kind="JPEG", mode="CMYK"), "CMYK"),
    "animated png": (animated("PNG"), "animated"),
    "animated webp": (animated("WEBP"), "animated"),
    "mpo": (mpo(), "MPO"),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_pictures_that_break_things_are_refused(client: Client, case: str) -> None:
    value, reason = REFUSED[case]
    value = value() if callable(value) else value
    answer = await client.post({**MAX, "input_image": drawn(), "input_image_2": value})
    assert (answer.status, answer.error["param"]) == (400, "input_image_2")
    assert reason in answer.error["message"]
    assert client.sim.calls == ()


async def test_more_than_20_mb_is_refused(client: Client) -> None:
    answer = await client.post({**MAX, "input_image": data_url(jpeg_bytes() + bytes(20 * 2**20), "jpeg")})
    assert "at most 20 MB" in answer.error["message"]


@pytest.mark.parametrize("name", ["person.jpg", "cat.webp", "cup.png"])
async def test_photos_are_accepted_and_recorded_byte_for_byte(client: Client, name: str) -> None:
    assert (await client.post({**MAX, "input_image": photo(name)})).status == 200
    (record,) = client.sim.calls[0].inputs
    assert record["bytes"] == (PHOTOS / name).stat().st_size


@pytest.mark.parametrize(
    "value",
    [
        drawn(mode="P"),
        drawn(mode="L", kind="JPEG"),
        drawn(mode="RGBA"),
        drawn(mode="LA", kind="PNG"),
        drawn(mode="I;16"),
        drawn(kind="WEBP", lossless=True),
        drawn(kind="JPEG", progressive=True),
    ],
    ids=["palette", "grey", "alpha", "grey alpha", "16 bit", "lossless", "progressive"],
)
async def test_other_kinds_of_png_jpeg_webp_are_accepted(client: Client, value: str) -> None:
    async with serving(render="montage") as drawing:
        assert (await drawing.post({**MAX, "input_image": value})).status == 200


@pytest.mark.parametrize(
    ("sent", "result"),
    [((1000, 1000), (992, 992)), ((65, 81), (64, 80)), ((3000, 2000), (2048, 1360)), ((4000, 100), (2048, 64))],
)
async def test_the_result_follows_image_1_as_upstream_sees_it(
    client: Client, sent: tuple[int, int], result: tuple[int, int]
) -> None:
    assert (await client.picture({**MAX, "input_image": drawn(sent, "JPEG")})).size == result


async def test_exif_rotation_is_ignored_as_upstream_does(client: Client) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert (await client.picture({**MAX, "input_image": drawn((128, 64), "JPEG", exif=exif)})).size == (128, 64)


@pytest.mark.parametrize("size", [(1000, 1000), (2064, 2048)])
async def test_strict_dimensions_are_a_setting(size: tuple[int, int]) -> None:
    async with serving(strict_dimensions=True) as client:
        assert "multiples of 16" in (await client.post({**MAX, "input_image": drawn(size)})).error["message"]
        assert (await client.post({**MAX, "input_image": drawn((1024, 1008))})).status == 200


async def test_pro_takes_9_megapixels_in_all(client: Client) -> None:
    two = {
        "model": "flux-2-pro",
        "prompt": "x",
        "input_image": drawn((2048, 2048)),
        "input_image_2": drawn((2048, 2048)),
    }
    assert (await client.post({**two, "size": "1024x1024"})).status == 200
    answer = await client.post({**two, "size": "1040x1024"})
    assert "at most 9 MP" in answer.error["message"]
    assert (await client.post({**two, "model": "flux-2-max", "size": "2048x2048"})).status == 200


async def test_urls_are_never_fetched_and_stand_in_the_log(client: Client) -> None:
    url = "https://unreachable.example/photo.jpg"
    assert (await client.post({**MAX, "input_image": url})).status == 200
    assert client.sim.calls[0].inputs == [{"url": url}]
