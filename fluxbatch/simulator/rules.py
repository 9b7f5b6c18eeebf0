"""Every rule of the API reference on the fields of a request, by model, strictly.

What the real API would silently ignore is refused here, naming the field: a client that relies on it is wrong.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from . import sizes
from .catalog import IMAGE_FIELDS, MODELS, Model
from .config import is_loopback
from .errors import ApiError, refuse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .config import SimulatorConfig

COMMON_FIELDS = frozenset(
    {
        *("model", "prompt", "aspect_ratio", "width", "height", "size", "seed"),
        *("safety_tolerance", "output_format", "prompt_upsampling", *IMAGE_FIELDS),
    }
)
MAX_SEED = 2**32 - 1
"""Assumed: neither the gateway nor BFL documents a range, so a non-negative 32-bit number."""
DATA_URL = re.compile(r"data:image/(png|jpeg|webp);base64,")
MAX_URL = 2048


@dataclass(frozen=True, slots=True)
class Order:
    """A valid request; the pictures are still as sent."""

    model: Model
    prompt: str
    images: tuple[str, ...] = field(repr=False)
    size: tuple[int, int] | None
    """Output size asked for; None: it follows image 1, else 1024x1024."""
    seed: int | None
    output_format: str
    fields: dict[str, Any]
    """The body without its images."""


def find_model(body: Mapping[str, Any]) -> Model:
    """The model asked for; an unknown one is 503 `model_not_found`, as the gateway family answers.

    :raises ApiError: missing, no text, or unknown.
    """
    name = body.get("model")
    if not isinstance(name, str) or not name:
        raise refuse("model", "model is required and must be text")
    if name not in MODELS:
        message = f"当前分组 default 下对于模型 {name} 无可用渠道 (no available channel for model {name})"
        raise ApiError(503, "model_not_found", message, param="model", kind="new_api_error")
    return MODELS[name]


def read_order(body: Mapping[str, Any], model: Model, config: SimulatorConfig) -> Order:
    """Check every field but the pictures' bytes.

    :raises ApiError: the first rule that is broken.
    """
    _known_fields(body, model)
    prompt = _prompt(body, config.max_prompt_tokens)
    images = _images(body, model)
    size = _size(body, model)
    seed = _integer(body, "seed", 0, MAX_SEED)
    cap = 5 if config.flux2_safety_cap and model.family == "flux2" else 6
    _integer(body, "safety_tolerance", 0, cap)
    _integer(body, "steps", 1, 50)
    _guidance(body)
    output_format = body.get("output_format", "jpeg")
    if output_format not in ("jpeg", "png"):
        raise refuse("output_format", f'output_format must be "jpeg" or "png", not {output_format!r}')
    if not isinstance(body.get("prompt_upsampling", False), bool):
        raise refuse("prompt_upsampling", "prompt_upsampling must be true or false")
    fields = {name: value for name, value in body.items() if name not in IMAGE_FIELDS}
    return Order(model, prompt, images, size, seed, output_format, fields)


def estimate_tokens(prompt: str) -> int:
    """Tokens of a prompt, roughly: one for 4 ASCII characters, one for any other character."""
    ascii_length = sum(character.isascii() for character in prompt)
    return -(-ascii_length // 4) + len(prompt) - ascii_length


def _known_fields(body: Mapping[str, Any], model: Model) -> None:
    allowed = COMMON_FIELDS | model.own_fields
    for name, value in body.items():
        if value is None:
            raise refuse(name, f"{name} must not be null: leave it out instead")
        if name in allowed:
            continue
        owners = [other.name for other in MODELS.values() if name in other.own_fields]
        if owners:
            raise refuse(name, f"{name} is a parameter of {', '.join(owners)} only, not of {model.name}")
        near = difflib.get_close_matches(name, allowed, n=1)
        hint = f", did you mean {near[0]}?" if near else ""
        raise refuse(name, f"unknown parameter {name}{hint}")


def _prompt(body: Mapping[str, Any], max_tokens: int) -> str:
    prompt = body.get("prompt")
    if not isinstance(prompt, str) or not prompt.strip():
        raise refuse("prompt", "prompt is required and must be text that is not empty")
    if (tokens := estimate_tokens(prompt)) > max_tokens:
        raise refuse("prompt", f"prompt has about {tokens} tokens, at most {max_tokens} are allowed")
    return prompt


def _images(body: Mapping[str, Any], model: Model) -> tuple[str, ...]:
    given = [name for name in IMAGE_FIELDS if name in body]
    if len(given) > model.max_images or any(name in IMAGE_FIELDS[model.max_images :] for name in given):
        plural = "" if model.max_images == 1 else "s"
        message = f"{model.name} takes at most {model.max_images} reference image{plural}, got {', '.join(given)}"
        raise refuse(given[-1], message)
    for name, expected in zip(given, IMAGE_FIELDS, strict=False):
        if name != expected:
            raise refuse(expected, f"{name} is given but {expected} is missing: number the images without gaps")
        _image_reference(name, body[name])
    return tuple(body[name] for name in given)


def _image_reference(name: str, value: object) -> None:
    if not isinstance(value, str) or not value:
        raise refuse(name, f"{name} must be text: a public URL or a data URL")
    if value.startswith(("http://", "https://")):
        _public_url(name, value)
    elif not DATA_URL.match(value, 0, 64):
        start = value[:40].split(",")[0]
        what = "a public URL or data:image/<png|jpeg|webp>;base64,…"
        raise refuse(name, f"{name} must be {what}; it begins with {start!r}")


def _public_url(name: str, value: str) -> None:
    try:
        host = urlsplit(value).hostname
    except ValueError:
        host = None
    if not host or len(value) > MAX_URL or any(character.isspace() for character in value):
        raise refuse(name, f"{name} is no valid URL")
    try:
        private = not ipaddress.ip_address(host).is_global
    except ValueError:
        private = is_loopback(host) or "." not in host
    if private:
        raise refuse(name, f"{name} must be a public URL: the API can't reach {host}")


def _integer(body: Mapping[str, Any], name: str, least: int, most: int) -> int | None:
    if name not in body:
        return None
    value = body[name]
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise refuse(name, f"{name} must be a whole number from {least} to {most}, not {value!r}")
    return value


def _guidance(body: Mapping[str, Any]) -> None:
    value = body.get("guidance", 4.5)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 1.5 <= value <= 10:
        raise refuse("guidance", f"guidance must be a number from 1.5 to 10, not {value!r}")


def _size(body: Mapping[str, Any], model: Model) -> tuple[int, int] | None:
    ways = [
        name for name in ("aspect_ratio", "size", "width") if name in body or (name == "width" and "height" in body)
    ]
    if len(ways) > 1:
        raise refuse(ways[1], f"{' and '.join(ways)} can't be combined: give one of them")
    if "aspect_ratio" in ways:
        return _ratio(body["aspect_ratio"], model)
    if "size" in ways:
        match = re.fullmatch(r"([0-9]{2,4})x([0-9]{2,4})", str(body["size"]))
        if not match or not isinstance(body["size"], str):
            raise refuse("size", f'size must be text like "1024x768", not {body["size"]!r}')
        return _pixels("size", int(match[1]), int(match[2]))
    if "width" in ways:
        for name in ("width", "height"):
            if name not in body:
                raise refuse(name, "width and height must be given together")
            _integer(body, name, sizes.MIN_SIDE, sizes.MAX_SIDE)
        return _pixels("width", body["width"], body["height"])
    return None


def _pixels(param: str, width: int, height: int) -> tuple[int, int]:
    for side in (width, height):
        if not sizes.MIN_SIDE <= side <= sizes.MAX_SIDE or side % 16:
            message = f"{param}: both sides must be multiples of 16 from {sizes.MIN_SIDE} to {sizes.MAX_SIDE}"
            raise refuse(param, f"{message}, not {width}x{height}")
    return width, height


def _ratio(value: object, model: Model) -> tuple[int, int]:
    match = re.fullmatch(r"([1-9][0-9]{0,2}):([1-9][0-9]{0,2})", value) if isinstance(value, str) else None
    if not match:
        raise refuse("aspect_ratio", f'aspect_ratio must be text like "16:9", not {value!r}')
    across, down = int(match[1]), int(match[2])
    if model.family == "kontext":
        if not 3 * down <= 7 * across or not 3 * across <= 7 * down:
            raise refuse("aspect_ratio", f"aspect_ratio of {model.name} must be between 3:7 and 7:3, not {value}")
    elif value not in sizes.FLUX2_RATIOS:
        allowed = ", ".join(sizes.FLUX2_RATIOS)
        raise refuse("aspect_ratio", f"aspect_ratio of {model.name} must be one of {allowed}, not {value}")
    return sizes.size_of_ratio(across, down)
