"""What the API accepts, by model: each rule on both sides of its limit."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from fluxbatch.model.flux import FluxModel, known_models
from fluxbatch.model.job import Photo
from fluxbatch.model.state import Reason
from fluxbatch.planning.fields import JobFields
from fluxbatch.planning.rules import Request, check_request
from fluxbatch.planning.values import typed

if TYPE_CHECKING:
    from fluxbatch.model.job import Json
    from tests.planning.helpers import Desk


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"seed": 0},
        {"seed": 2**32 - 1},
        {"seed": "42"},
        {"seed": 42.0},
        {"width": 64, "height": 2048},
        {"size": "1024x768"},
        {"aspect_ratio": "9:16"},
        {"model": "flux-kontext-pro", "aspect_ratio": "3:7"},
        {"model": "flux-kontext-max", "aspect_ratio": "7:3"},
        {"model": "flux-2-flex", "steps": 50, "guidance": 1.5},
        {"model": "flux-2-flex", "steps": 1, "guidance": 10},
        {"safety_tolerance": 5},
        {"model": "flux-kontext-pro", "safety_tolerance": 6},
        {"output_format": "png"},
        {"prompt_upsampling": True},
        {"prompt_upsampling": " Yes "},
        {"prompt_upsampling": "0"},
        {"seed": " 42.0 "},
        {"model": "flux-2-flex", "steps": "20", "guidance": "2"},
        {"prompt": "a " * 60_000},
        {"prompt": "图" * 32_000},
        {"prompt": "Imagine 5 images in a frame"},
    ],
)
def test_what_is_accepted_without_a_word(desk: Desk, fields: dict[str, Json]) -> None:
    assert desk.take_rules(**fields).lines == []


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"prompt": None}, "prompt: there is no prompt (say what to make: prompt: …)"),
        ({"prompt": " \n"}, "prompt: the prompt ' \\n' is empty (say what to make)"),
        ({"prompt": "图" * 33_000}, "prompt: the prompt has about 33,000 tokens, the limit is 32,768 (shorten it)"),
        ({"prompt": "word " * 28_000}, "prompt: the prompt has about 35,000 tokens, the limit is 32,768 (shorten it)"),
        ({"prompt": 7}, 'prompt: 7 is not text (write it in quotes: "7")'),
        ({"model": "flux2-pro"}, "model: 'flux2-pro' is not a known model (did you mean 'flux-2-pro'?)"),
        ({"model": "gpt"}, "model: 'gpt' is not a known model (see: fluxbatch models)"),
        ({"aspect_ratio": 969}, 'aspect_ratio: 969 is not text (write it in quotes: "16:9")'),
        ({"aspect_ratio": "16x9"}, "aspect_ratio: '16x9' is not an aspect ratio (write 16:9)"),
        ({"aspect_ratio": "wide"}, "aspect_ratio: 'wide' is not an aspect ratio (write width:height, as 16:9)"),
        ({"aspect_ratio": "0:1"}, "aspect_ratio: '0:1' is not an aspect ratio (write width:height, as 16:9)"),
        ({"aspect_ratio": "9:1"}, "aspect_ratio: 9:1 is too wide (flux-2-pro takes 1:4 to 4:1)"),
        (
            {"aspect_ratio": "9:22", "model": "flux-kontext-pro"},
            "aspect_ratio: 9:22 is too tall (flux-kontext-pro takes 3:7 to 7:3)",
        ),
        ({"width": 1024}, "width: width is given without height (add height, or leave width out)"),
        ({"height": 1024}, "height: height is given without width (add width, or leave height out)"),
        ({"width": 1000, "height": 1024}, "width: 1000 is not a multiple of 16 (write 992)"),
        ({"width": 1024, "height": 2064}, "height: 2064 is out of range (64 to 2048 pixels)"),
        ({"width": 48, "height": 64}, "width: 48 is out of range (64 to 2048 pixels)"),
        ({"size": "1024*768"}, "size: '1024*768' is not a size (write 1024x768)"),
        ({"size": 1024}, 'size: 1024 is not text (write it in quotes: "1024")'),
        ({"size": "large"}, "size: 'large' is not a size (write width x height, as 1024x768)"),
        ({"size": "1024x4096"}, "size: its height 4096 is out of range (64 to 2048 pixels)"),
        ({"size": "1024x100"}, "size: its height 100 is not a multiple of 16 (write 96)"),
        (
            {"size": "512x512", "aspect_ratio": "1:1"},
            "size: size is given beside aspect_ratio 1:1 (keep one; null unsets a default)",
        ),
        (
            {"width": 512, "height": 512, "aspect_ratio": "1:1"},
            "width: width is given beside aspect_ratio 1:1 (keep one; null unsets a default)",
        ),
        (
            {"width": 512, "height": 512, "size": "512x512"},
            "size: size 512x512 is given beside width or height (keep one of the two forms)",
        ),
        ({"seed": -1}, "seed: -1 is out of range (0 to 4294967295)"),
        ({"seed": 2**32}, "seed: 4294967296 is out of range (0 to 4294967295)"),
        ({"seed": True}, "seed: true is not a whole number"),
        ({"seed": 10**30}, f"seed: {10**30} is not a whole number"),
        ({"seed": "1e3"}, "seed: '1e3' is not a whole number"),
        ({"safety_tolerance": 7}, "safety_tolerance: 7 is out of range (0 to 6)"),
        ({"output_format": "jpg"}, "output_format: 'jpg' is not an output format (write jpeg)"),
        ({"output_format": "PNG"}, "output_format: 'PNG' is not an output format (write png)"),
        ({"output_format": "webp"}, "output_format: 'webp' is not an output format (write jpeg or png)"),
        ({"steps": 20}, "steps: flux-2-pro does not take steps (leave it out, or use flux-2-flex)"),
        ({"steps": 51, "model": "flux-2-flex"}, "steps: 51 is out of range (1 to 50)"),
        ({"guidance": 1.4, "model": "flux-2-flex"}, "guidance: 1.4 is out of range (1.5 to 10.0)"),
        ({"guidance": "high", "model": "flux-2-flex"}, "guidance: 'high' is not a number"),
        ({"prompt_upsampling": 2}, "prompt_upsampling: 2 is neither true nor false (write true or false)"),
        ({"extra": {"seed": 1}}, "extra.seed: 'seed' is a field of its own (write it outside of 'extra')"),
        ({"extra": [1]}, 'extra: is not a mapping of names to values (write extra as {"name": "value"})'),
        ({"meta": "x"}, 'meta: is not a mapping of names to values (write meta as {"name": "value"})'),
        ({"image": "a.jpg"}, "image: 'image' is not a field of a job (did you mean 'images'?)"),
        ({"sizes": "1x1"}, "sizes: 'sizes' is not a field of a job (did you mean 'size'?)"),
        (
            {"input_image_1": "a"},
            "input_image_1: 'input_image_1' is not a field of a job (did you mean 'input_image'?)",
        ),
        ({"input_image_9": "a"}, "input_image_9: a request has at most 8 images (the last is input_image_8)"),
        ({"fit": "none"}, "fit: 'none' is not a way to fit photos (write auto, off, or {long_edge: 2048})"),
        ({"fit": {"long_egde": 9}}, "fit.long_egde: 'long_egde' is no part of 'fit' (did you mean 'long_edge'?)"),
        ({"fit": {"long_edge": 9}}, "fit.long_edge: 9 is out of range (64 to 16384)"),
        ({"fit": {"background": "red"}}, "fit.background: 'red' is not a colour (write it in quotes, as \"#FFFFFF\")"),
        ({"variants": 0}, "variants: 0 is out of range (1 to 1000)"),
        ({"variants": "some"}, "variants: 'some' is not a whole number"),
        (
            {"zebra": 1},
            "zebra: 'zebra' is not a field of a job (new fields of the API go under 'extra', your own under 'meta')",
        ),
    ],
)
def test_what_is_refused(desk: Desk, fields: dict[str, Json], message: str) -> None:
    taken = desk.take_rules(**fields)

    assert taken.line.startswith(f"python:1: error: [a] {message}")
    assert taken.job.defect is not None
    assert taken.job.defect.reason is Reason.INVALID_REQUEST
    assert taken.job.defect.message in taken.line


def test_values_have_the_type_of_their_field(desk: Desk) -> None:
    fields = desk.take_rules(
        model="flux-2-flex", seed="42", width=512.0, height=" 512 ", guidance=4, steps="1.0", prompt_upsampling="no"
    ).job.fields

    typed = {name: (type(value), value) for name, value in fields.items() if name not in {"model", "prompt"}}
    assert typed == {
        "seed": (int, 42),
        "width": (int, 512),
        "height": (int, 512),
        "guidance": (float, 4.0),
        "steps": (int, 1),
        "prompt_upsampling": (bool, False),
        "output_format": (str, "jpeg"),
    }


def test_all_that_is_wrong_with_a_job_is_said_at_once(desk: Desk) -> None:
    taken = desk.take_rules(
        seed=-1, width="5000", steps=51, guidance=True, prompt=7, output_format="jpg", aspect_ratio=1
    )

    assert sorted(line.partition("[a] ")[2] for line in taken.lines) == [
        'aspect_ratio: 1 is not text (write it in quotes: "16:9")',
        "guidance: flux-2-pro does not take guidance (leave it out, or use flux-2-flex)",
        "guidance: true is not a number",
        "output_format: 'jpg' is not an output format (write jpeg)",
        'prompt: 7 is not text (write it in quotes: "7")',
        "seed: -1 is out of range (0 to 4294967295)",
        "steps: 51 is out of range (1 to 50)",
        "steps: flux-2-pro does not take steps (leave it out, or use flux-2-flex)",
        "width: 5000 is out of range (64 to 2048 pixels)",
        "width: width is given without height (add height, or leave width out)",
    ]


OUR_WORDS = (
    "is not text",
    "is not a whole number",
    "is not a number",
    "is neither true nor false",
    "is not an output format",
    "is out of range",
    "is not a multiple of 16",
)
ODD: list[object] = [True, 7, 10**30, -1, 1e300, math.inf, math.nan, "", "x", "9" * 400, "1_1e", b"7", (), [1], {}, {1}]


@pytest.mark.parametrize("name", sorted(JobFields.model_fields))
def test_what_pydantic_finds_is_said_in_our_words(name: str) -> None:
    for value in ODD:
        fields, flaws = typed({name: value})
        assert [*fields, *(flaw.field for flaw in flaws)] == [name]
        assert all(flaw.message.endswith(OUR_WORDS) for flaw in flaws), flaws


def test_jobs_that_differ_only_in_what_is_wrong_are_not_the_same(desk: Desk) -> None:
    taken = desk.take_jobs({"prompt": "x", "seed": -1}, {"prompt": "x", "seed": -2})

    assert [line.partition("] ")[2].partition(" (")[0] for line in taken.lines] == [
        "seed: -1 is out of range",
        "seed: -2 is out of range",
    ]


def test_a_model_may_take_less_than_the_field_allows() -> None:
    model = FluxModel("flux-3", 8, steps=(1, 20), guidance=(2.0, 5.0))

    flaws = check_request(Request({"prompt": "x", "steps": 21, "guidance": 5.0}, model))

    assert [(flaw.field, flaw.message, flaw.remedy) for flaw in flaws] == [("steps", "21 is out of range", "1 to 20")]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"safety_tolerance": 6}, "safety_tolerance: 6 is more than Black Forest Labs documents for FLUX.2 (5 is its"),
        (
            {"aspect_ratio": "11:10"},
            "aspect_ratio: 11:10 is not among the documented aspect ratios (it may be refused)",
        ),
        (
            {"prompt": "turn image 1 into art"},
            "prompt: the prompt speaks of image 1, but none is given (add the image)",
        ),
        ({"prompt": "把图2放进图1"}, "prompt: the prompt speaks of image 2, but none is given (add the image)"),
        (
            {"prompt": "Image 3 beside image 1", "images": ["https://example.com/a.png"]},
            "prompt: the prompt speaks of image 3, but only 1 is given (add the image)",
        ),
    ],
)
def test_what_is_only_warned_about(desk: Desk, fields: dict[str, Json], message: str) -> None:
    taken = desk.take_rules(**fields)

    assert taken.line.startswith(f"python:1: warning: [a] {message}")
    assert (taken.errors, taken.warnings, taken.job.defect) == (0, 1, None)


@pytest.mark.parametrize("model", sorted(known_models()))
def test_how_many_images_each_model_takes(desk: Desk, model: str) -> None:
    most = known_models()[model].max_images
    urls: list[Json] = [f"https://example.com/{number}.png" for number in range(most + 1)]

    assert desk.take_rules(model=model, images=urls[:most]).lines == []
    line = desk.take_rules(model=model, images=urls).line
    assert f"images: {most + 1} images are given, {model} takes {most}" in line


def test_pro_takes_nine_megapixels_in_all(desk: Desk) -> None:
    file = io.BytesIO()
    Image.new("RGB", (2048, 2048)).save(file, "PNG")
    (desk.folder / "large.png").write_bytes(file.getvalue())
    two: list[Json] = ["large.png", "large.png"]

    assert desk.take_rules(images=two, size="1024x1024").lines == []
    fitted = desk.take_rules(images=two, size="2048x2048")
    assert fitted.lines == []
    assert [image.fitting is not None for image in fitted.job.images if isinstance(image, Photo)] == [True, True]
    taken = desk.take_rules(images=two, size="2048x2048", fit="off")
    assert taken.line.startswith(
        "python:1: error: [a] images: input and output have 12.0 MP together, flux-2-pro takes 9"
    )
    assert taken.job.defect is not None
    assert taken.job.defect.reason is Reason.TOO_LARGE
    assert desk.take_rules(images=two, size="2048x2048", model="flux-2-max").lines == []


def test_what_is_always_sent(desk: Desk) -> None:
    fields = desk.take_rules().job.fields

    assert fields == {
        "model": "flux-2-pro",
        "prompt": "x",
        "seed": 393621469,
        "output_format": "jpeg",
        "prompt_upsampling": False,
    }


def test_extras_are_sent_as_they_are(desk: Desk) -> None:
    assert desk.take_rules(extra={"new_field": [1, {"a": None}]}).job.fields["new_field"] == [1, {"a": None}]


def test_prices_of_the_user_come_first_and_make_models_known(desk: Desk) -> None:
    taken = desk.take_jobs(
        {"prompt": "x"}, {"prompt": "x", "model": "flux-3"}, prices={"flux-2-pro": 0.02, "flux-3": 0.5}
    )

    assert taken.lines == []
    assert [job.price for job in taken.jobs] == [0.02, 0.5]
