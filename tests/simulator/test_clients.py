"""Real clients, with the examples of the API reference: curl, requests, the OpenAI SDK."""

from __future__ import annotations

import base64
import json
import mimetypes
import shutil
import subprocess
from io import BytesIO
from typing import TYPE_CHECKING, Any

import openai
import pytest
import requests
from anyio.to_thread import run_sync
from PIL import Image

from tests.simulator.client import PHOTOS, Client, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

TWO_URLS = {
    "model": "flux-2-pro",
    "prompt": "自然融合这两个图片",
    "input_image": "https://static.apiyi.com/apiyi-logo.png",
    "input_image_2": "https://images.unsplash.com/photo-1762138012600-2ab523f8b35a",
    "seed": 42,
    "output_format": "jpeg",
}
CURL_EXAMPLES: list[dict[str, Any]] = [
    {"model": "flux-2-pro", "prompt": "自然融合这两个图片", "input_image": "https://static.apiyi.com/apiyi-logo.png"},
    TWO_URLS,
    {
        "model": "flux-2-pro",
        "prompt": "The person from image 1 is petting the cat from image 2, the bird from image 3 is next to them",
        "input_image": "https://example.com/person.jpg",
        "input_image_2": "https://example.com/cat.jpg",
        "input_image_3": "https://example.com/bird.jpg",
        "seed": 42,
        "output_format": "jpeg",
    },
    {
        "model": "flux-kontext-pro",
        "prompt": "Convert this architectural photo into a pencil sketch style, preserve all structural details",
        "input_image": "https://your-oss.example.com/architecture.jpg",
    },
]

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl, which .ci/run installs")


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with serving(render="montage") as client:
        yield client


def curl(*arguments: str) -> bytes:
    return subprocess.run(["curl", "-sS", "--fail", *arguments], check=True, capture_output=True, timeout=30).stdout


def post_with_curl(base_url: str, key: str, data: str) -> Image.Image:
    answer = curl(
        *("-X", "POST", f"{base_url}/images/generations"),
        *("-H", f"Authorization: Bearer {key}", "-H", "Content-Type: application/json", "-d", data),
    )
    picture = Image.open(BytesIO(curl(json.loads(answer)["data"][0]["url"])))
    picture.load()
    return picture


@needs_curl
@pytest.mark.parametrize("number", range(len(CURL_EXAMPLES)))
async def test_the_curl_examples(client: Client, number: int) -> None:
    data = json.dumps(CURL_EXAMPLES[number], ensure_ascii=False, indent=1)
    picture = await run_sync(post_with_curl, client.sim.base_url, client.sim.api_key, data)
    assert picture.format == "JPEG"


@needs_curl
async def test_the_curl_example_with_a_local_file(client: Client, tmp_path: Path) -> None:
    url = "data:image/png;base64," + base64.b64encode((PHOTOS / "cup.png").read_bytes()).decode()
    (tmp_path / "body.json").write_text(
        json.dumps({"model": "flux-2-pro", "prompt": "把图1风格化为油画", "input_image": url})
    )
    arguments = (client.sim.base_url, client.sim.api_key, f"@{tmp_path / 'body.json'}")
    picture = await run_sync(post_with_curl, *arguments)
    with Image.open(PHOTOS / "cup.png") as cup:
        assert picture.size == cup.size


def to_data_url(path: Path) -> str:
    mime = mimetypes.guess_type(path)[0] or "image/png"
    return f"data:{mime};base64,{base64.b64encode(path.read_bytes()).decode()}"


def post_with_requests(base_url: str, key: str, body: dict[str, Any]) -> Image.Image:
    response = requests.post(
        f"{base_url}/images/generations",
        headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
        json=body,
        timeout=120,
    )
    url = response.json()["data"][0]["url"]
    picture = Image.open(BytesIO(requests.get(url, timeout=30).content))
    picture.load()
    return picture


async def test_the_requests_examples(client: Client) -> None:
    local = {
        "model": "flux-2-pro",
        "prompt": "把图1人物放进图2场景",
        "input_image": to_data_url(PHOTOS / "person.jpg"),
        "input_image_2": "https://your-oss.example.com/scene.jpg",
    }
    for body, size in ((TWO_URLS, (1024, 1024)), (local, (512, 512))):
        picture = await run_sync(post_with_requests, client.sim.base_url, client.sim.api_key, body)
        assert (picture.format, picture.size) == ("JPEG", size)
    assert client.sim.leaked_keys == 0


def generate_with_openai(base_url: str, key: str) -> str:
    extra = {name: value for name, value in TWO_URLS.items() if name not in ("model", "prompt")}
    with openai.OpenAI(api_key=key, base_url=base_url) as sdk:
        answer = sdk.images.generate(model="flux-2-pro", prompt="自然融合这两个图片", extra_body=extra)
        assert next(model.id for model in sdk.models.list()) == "flux-2-pro"
    assert answer.data
    assert answer.data[0].url
    return answer.data[0].url


async def test_the_openai_sdk_example(client: Client) -> None:
    url = await run_sync(generate_with_openai, client.sim.base_url, client.sim.api_key)
    assert (await client.get(url)).image.size == (1024, 1024)
    assert client.sim.calls[0].fields["seed"] == 42


async def test_the_openai_sdk_understands_the_errors(client: Client) -> None:
    def unknown_model() -> None:
        with openai.OpenAI(api_key=client.sim.api_key, base_url=client.sim.base_url, max_retries=0) as sdk:
            sdk.images.generate(model="flux-2-pro", prompt="x", n=2)

    with pytest.raises(openai.BadRequestError) as caught:
        await run_sync(unknown_model)
    assert (caught.value.code, caught.value.param) == ("invalid_request", "n")


@needs_curl
async def test_curl_waits_for_leave_to_send_a_large_body(client: Client, tmp_path: Path) -> None:
    body = {"model": "flux-2-max", "prompt": "x", "input_image": to_data_url(PHOTOS / "stars.jpg")}
    body |= {f"input_image_{n}": body["input_image"] for n in range(2, 9)}
    (tmp_path / "body.json").write_text(json.dumps(body))
    arguments = ("-H", "Expect: 100-continue", "-H", "Content-Type: application/json")
    answer = await run_sync(
        lambda: curl(
            *arguments,
            *("-H", f"Authorization: Bearer {client.sim.api_key}", "-d", f"@{tmp_path / 'body.json'}"),
            f"{client.sim.base_url}/images/generations",
        )
    )
    assert json.loads(answer)["data"]
    assert len(client.sim.calls[0].inputs) == 8
