from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fluxbatch.simulator import MODELS
from tests.simulator.client import HELLO, Client, drawn, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PRO = {"model": "flux-2-pro", "prompt": "Hello"}
FLEX = {"model": "flux-2-flex", "prompt": "Hello"}
KONTEXT = {"model": "flux-kontext-pro", "prompt": "Hello"}
URL = "https://example.com/a.jpg"


def images(count: int) -> dict[str, str]:
    names = ["input_image", *(f"input_image_{n}" for n in range(2, 10))]
    return dict.fromkeys(names[:count], URL)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"model": None, "prompt": "x"}, "model"),
    ({"prompt": "x"}, "model"),
    ({"model": 3, "prompt": "x"}, "model"),
    ({"model": "flux-2-pro"}, "prompt"),
    ({**PRO, "prompt": ""}, "prompt"),
    ({**PRO, "prompt": "  \n"}, "prompt"),
    ({**PRO, "prompt": ["x"]}, "prompt"),
    ({**PRO, "prompt": "a" * (32_768 * 4 + 1)}, "prompt"),
    ({**PRO, "prompt": "图" * 32_769}, "prompt"),
    ({**PRO, "n": 1}, "n"),
    ({**PRO, "input_images": [URL]}, "input_images"),
    ({**PRO, "input_image_1": URL}, "input_image_1"),
    ({**PRO, "seeed": 1}, "seeed"),
    ({**PRO, "seed": None}, "seed"),
    ({**PRO, "seed": -1}, "seed"),
    ({**PRO, "seed": 2**32}, "seed"),
    ({**PRO, "seed": "42"}, "seed"),
    ({**PRO, "seed": True}, "seed"),
    ({**PRO, "seed": 1.0}, "seed"),
    ({**PRO, "safety_tolerance": 7}, "safety_tolerance"),
    ({**PRO, "safety_tolerance": -1}, "safety_tolerance"),
    ({**PRO, "output_format": "webp"}, "output_format"),
    ({**PRO, "output_format": "jpg"}, "output_format"),
    ({**PRO, "prompt_upsampling": "true"}, "prompt_upsampling"),
    ({**PRO, "prompt_upsampling": 1}, "prompt_upsampling"),
    ({**PRO, "steps": 20}, "steps"),
    ({**PRO, "guidance": 3}, "guidance"),
    ({**FLEX, "steps": 0}, "steps"),
    ({**FLEX, "steps": 51}, "steps"),
    ({**FLEX, "steps": 20.5}, "steps"),
    ({**FLEX, "guidance": 1.4}, "guidance"),
    ({**FLEX, "guidance": 10.1}, "guidance"),
    ({**PRO, "aspect_ratio": 969}, "aspect_ratio"),
    ({**PRO, "aspect_ratio": "16x9"}, "aspect_ratio"),
    ({**PRO, "aspect_ratio": "16:0"}, "aspect_ratio"),
    ({**PRO, "aspect_ratio": "17:9"}, "aspect_ratio"),
    ({**KONTEXT, "aspect_ratio": "3:8"}, "aspect_ratio"),
    ({**KONTEXT, "aspect_ratio": "8:3"}, "aspect_ratio"),
    ({**PRO, "aspect_ratio": "1:1", "size": "64x64"}, "size"),
    ({**PRO, "width": 64}, "height"),
    ({**PRO, "height": 64}, "width"),
    ({**PRO, "width": 64, "height": 48}, "height"),
    ({**PRO, "width": 72, "height": 64}, "width"),
    ({**PRO, "width": 2064, "height": 64}, "width"),
    ({**PRO, "width": "64", "height": 64}, "width"),
    ({**PRO, "width": 64, "height": 64, "size": "64x64"}, "width"),
    ({**PRO, "size": "64*64"}, "size"),
    ({**PRO, "size": "auto"}, "size"),
    ({**PRO, "size": "100x64"}, "size"),
    ({**PRO, "size": 1024}, "size"),
    ({**PRO, **images(9)}, "input_image_9"),
    ({"model": "flux-2-klein-9b", "prompt": "x", **images(5)}, "input_image_5"),
    ({**KONTEXT, **images(2)}, "input_image_2"),
    ({**KONTEXT, "input_image_2": URL}, "input_image_2"),
    ({**PRO, "input_image_2": URL}, "input_image"),
    ({**PRO, "input_image": URL, "input_image_3": URL}, "input_image_2"),
    ({**PRO, "input_image": [URL]}, "input_image"),
    ({**PRO, "input_image": ""}, "input_image"),
    ({**PRO, "input_image": "photo.jpg"}, "input_image"),
    ({**PRO, "input_image": "file:///etc/passwd"}, "input_image"),
    ({**PRO, "input_image": "https://exa mple.com/a"}, "input_image"),
    ({**PRO, "input_image": "https:///a.jpg"}, "input_image"),
    ({**PRO, "input_image": "http://127.0.0.1/a.jpg"}, "input_image"),
    ({**PRO, "input_image": "http://10.0.0.3/a.jpg"}, "input_image"),
    ({**PRO, "input_image": "http://localhost/a.jpg"}, "input_image"),
    ({**PRO, "input_image": "iVBORw0KGgo="}, "input_image"),
    ({**PRO, "input_image": "data:image/jpg;base64,/9j/"}, "input_image"),
    ({**PRO, "input_image": "data:image/gif;base64,R0lG"}, "input_image"),
    ({**PRO, "input_image": "data:image/png,abc"}, "input_image"),
]

ACCEPTED: list[dict[str, Any]] = [
    *({"model": name, "prompt": "x"} for name in MODELS),
    {**HELLO, "prompt": "a" * (32_768 * 4)},
    {**HELLO, "prompt": "图" * 32_768},
    {**HELLO, "seed": 0},
    {**HELLO, "seed": 2**32 - 1},
    {**HELLO, "safety_tolerance": 0},
    {**HELLO, "safety_tolerance": 6},
    {**HELLO, "output_format": "jpeg"},
    {**HELLO, "output_format": "png"},
    {**HELLO, "prompt_upsampling": True},
    {**FLEX, "steps": 1, "guidance": 1.5},
    {**FLEX, "steps": 50, "guidance": 10},
    *({**HELLO, "aspect_ratio": ratio} for ratio in ("1:1", "16:9", "9:16", "4:3", "3:4", "3:2", "2:3")),
    *({**KONTEXT, "aspect_ratio": ratio} for ratio in ("3:7", "7:3", "17:11")),
    {**HELLO, "width": 64, "height": 64},
    {**HELLO, "width": 2048, "height": 64},
    {**HELLO, "size": "512x768"},
    {"model": "flux-2-max", "prompt": "x", **images(8)},
    {**PRO, **images(8)},
    {"model": "flux-2-klein-9b", "prompt": "x", **images(4)},
    {**KONTEXT, **images(1)},
    {**PRO, "input_image": "http://93.184.216.34/a.jpg"},
    {**PRO, "input_image": drawn(), "input_image_2": URL},
]


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with serving() as client:
        yield client


def ids(count: int) -> list[str]:
    return [str(number) for number in range(count)]


@pytest.mark.parametrize(("body", "param"), REFUSED, ids=ids(len(REFUSED)))
async def test_broken_rules_are_refused_and_named(client: Client, body: dict[str, Any], param: str) -> None:
    answer = await client.post(body)
    assert answer.status == 400
    assert answer.error["code"] == "invalid_request"
    assert answer.error["param"] == param
    assert param in answer.error["message"]
    assert client.sim.calls == ()


@pytest.mark.parametrize("body", ACCEPTED, ids=ids(len(ACCEPTED)))
async def test_what_the_reference_allows_is_accepted(client: Client, body: dict[str, Any]) -> None:
    answer = await client.post(body)
    assert answer.status == 200, answer.body
    assert [call.model for call in client.sim.calls] == [body["model"]]


async def test_errors_have_the_shape_of_the_gateway(client: Client) -> None:
    answer = await client.post({**PRO, "seed": "x"})
    request_id = answer.headers["X-Oneapi-Request-Id"]
    assert answer.error.keys() == {"message", "localized_message", "type", "param", "code"}
    assert answer.error["type"] == "shell_api_error"
    assert answer.error["message"].endswith(f"(request id: {request_id})")


async def test_an_unknown_model_is_503_without_a_channel(client: Client) -> None:
    answer = await client.post({"model": "flux-3", "prompt": "x"})
    assert (answer.status, answer.error["code"]) == (503, "model_not_found")
    assert "无可用渠道" in answer.error["message"]


async def test_a_parameter_of_another_model_says_whose_it_is(client: Client) -> None:
    answer = await client.post({**PRO, "steps": 20})
    assert "flux-2-flex only" in answer.error["message"]


async def test_a_misspelt_parameter_gets_a_suggestion(client: Client) -> None:
    answer = await client.post({**PRO, "input_imge": URL})
    assert "did you mean input_image?" in answer.error["message"]


async def test_the_cap_that_bfl_documents_is_a_setting() -> None:
    async with serving(flux2_safety_cap=True) as client:
        assert (await client.post({**PRO, "safety_tolerance": 6})).error["param"] == "safety_tolerance"
        assert (await client.post({**PRO, "safety_tolerance": 5})).status == 200
        assert (await client.post({**KONTEXT, "safety_tolerance": 6})).status == 200


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'"text"', b"\xff\xfe", b'{"a": NaN}', b'{"prompt": "a", "prompt": "b"}', b"[" * 100_000],
    ids=ids(8),
)
async def test_what_is_no_json_object_is_refused(client: Client, body: bytes) -> None:
    answer = await client.post(body)
    assert (answer.status, answer.error["code"]) == (400, "invalid_request")
