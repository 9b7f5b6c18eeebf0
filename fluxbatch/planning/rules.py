"""What the API accepts, checked before anything is sent. Pure; sources of the rules are named at each one."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, TypeAlias

from fluxbatch.model.state import Reason
from fluxbatch.planning.flaw import Flaw, warning
from fluxbatch.planning.keys import nearest
from fluxbatch.planning.values import typed

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from fluxbatch.model.flux import FluxModel
    from fluxbatch.model.job import Json

__all__ = ["MEGAPIXEL", "Request", "check_request", "output_pixels", "unknown_model"]

MEGAPIXEL: Final = 1024 * 1024
"""Pixels: the API's "4 MP" are 2048×2048."""

_MOST_TOKENS: Final = 32 * 1024
_SIDES: Final = frozenset({"width", "height"})
_LARGEST_BODY: Final = 32 << 20
_SHRUNK_TO: Final = 4 * MEGAPIXEL
# The first seven are listed by the API reference, which ends its list with "…"; the others are common, and assumed.
_LISTED_RATIOS: Final = frozenset({"1:1", "16:9", "9:16", "4:3", "3:4", "3:2", "2:3", "5:4", "4:5", "21:9", "9:21"})
_MOST_STRETCHED: Final = 4
_RATIO: Final = re.compile(r"([1-9]\d{0,3}):([1-9]\d{0,3})")
_SIZE: Final = re.compile(r"(\d{1,5})x(\d{1,5})")
_TWO_NUMBERS: Final = re.compile(r"\s*([1-9]\d{0,4})\s*[x×X*:/,]\s*([1-9]\d{0,4})\s*")
# In lower case, and without what may stand before: a pattern that begins with its letters is found ten times as fast.
_MENTION: Final = re.compile(r"image\s*#?\s*(\d{1,2})\b")
_MENTION_CHINESE: Final = re.compile(r"图片?\s*(\d{1,2})")


@dataclass(slots=True)
class Request:
    """What is to be sent, as far as it is known before sending.

    Attributes:
        fields: as written, typed.
        model: that is asked.
        images: how many there are, remote ones and unusable ones included.
        pixels: of each local photo that can be used.
        photo_bytes: of all local photos together.
        flawed: fields that were found wrong already, and are not in ``fields`` for that reason.
    """

    fields: Mapping[str, Json]
    model: FluxModel
    images: int = 0
    pixels: list[int] = field(default_factory=list)
    photo_bytes: int = 0
    flawed: Collection[str] = ()

    @property
    def written(self) -> Collection[str]:
        """Names of all fields that the user wrote, right or wrong."""
        return {*self.fields, *self.flawed} if self.flawed else self.fields.keys()


_Rule: TypeAlias = "Callable[[Request], Iterator[Flaw]]"


def check_request(request: Request) -> list[Flaw]:
    """All flaws of a request."""
    flaws = list(_prompt(request))
    written = request.written
    if not _RULED.isdisjoint(written):
        for keys, rule in _RULES:
            if not keys.isdisjoint(written):
                flaws.extend(rule(request))
    if request.images:
        flaws.extend(_images(request))
    return flaws


def _prompt(request: Request) -> Iterator[Flaw]:
    """Required; at most 32K tokens, by the API reference."""
    prompt = request.fields.get("prompt")
    if not isinstance(prompt, str):
        if "prompt" not in request.flawed:
            yield Flaw("prompt", "there is no prompt", "say what to make: prompt: …")
        return
    if not prompt.strip():
        yield Flaw("prompt", f"the prompt {prompt!r} is empty", "say what to make")
    if len(prompt) > _MOST_TOKENS and (tokens := _about_tokens(prompt)) > _MOST_TOKENS:
        yield Flaw("prompt", f"the prompt has about {tokens:,} tokens, the limit is {_MOST_TOKENS:,}", "shorten it")
    highest = _highest_mentioned(prompt)
    if highest > request.images:
        given = "none is" if not request.images else f"only {request.images} {_are(request.images)}"
        yield warning("prompt", f"the prompt speaks of image {highest}, but {given} given", "add the image")


def _highest_mentioned(prompt: str) -> int:
    """The highest number of an image that a prompt speaks of, 0 if it speaks of none."""
    lowered = prompt.lower()
    numbers = [int(found[1]) for found in _MENTION.finditer(lowered) if not _is_in_word(lowered, found.start())]
    if "图" in prompt:
        numbers += map(int, _MENTION_CHINESE.findall(prompt))
    return max(numbers, default=0)


def _is_in_word(text: str, at: int) -> bool:
    return at > 0 and (text[at - 1].isalnum() or text[at - 1] == "_")


def _about_tokens(prompt: str) -> int:
    """A rough count: four ASCII characters make a token, any other character one of its own."""
    others = sum(not char.isascii() for char in prompt)
    return others + (len(prompt) - others) // 4


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _aspect_ratio(request: Request) -> Iterator[Flaw]:
    """``W:H``; Kontext from 3:7 to 7:3. The API reference ends its list of ratios with "…", so others only warn."""
    ratio = request.fields.get("aspect_ratio")
    if not isinstance(ratio, str):
        return
    found = _RATIO.fullmatch(ratio)
    if found is None:
        meant = _TWO_NUMBERS.fullmatch(ratio)
        remedy = f"write {meant[1]}:{meant[2]}" if meant else "write width:height, as 16:9"
        yield Flaw("aspect_ratio", f"{ratio!r} is not an aspect ratio", remedy)
        return
    width, height = int(found[1]), int(found[2])
    low, high = request.model.aspect_range or ((1, _MOST_STRETCHED), (_MOST_STRETCHED, 1))
    if width * low[1] < height * low[0] or width * high[1] > height * high[0]:
        allowed = f"{request.model.id} takes {low[0]}:{low[1]} to {high[0]}:{high[1]}"
        yield Flaw("aspect_ratio", f"{ratio} is too {'tall' if width < height else 'wide'}", allowed)
    elif request.model.aspect_range is None and ratio not in _LISTED_RATIOS:
        yield warning("aspect_ratio", f"{ratio} is not among the documented aspect ratios", "it may be refused")


def _safety_tolerance(request: Request) -> Iterator[Flaw]:
    if request.fields.get("safety_tolerance") == 6 and request.model.id.startswith("flux-2"):
        yield warning("safety_tolerance", "6 is more than Black Forest Labs documents for FLUX.2", "5 is its highest")


def _sides(request: Request) -> Iterator[Flaw]:
    written = request.written
    for given, missing in (("width", "height"), ("height", "width")):
        if given in written and missing not in written:
            yield Flaw(given, f"{given} is given without {missing}", f"add {missing}, or leave {given} out")
    yield from _one_shape(request, "width")


def _size(request: Request) -> Iterator[Flaw]:
    """Each of the two within the limits of ``width`` and ``height``."""
    size = request.fields.get("size")
    if not isinstance(size, str):
        return
    found = _SIZE.fullmatch(size)
    if found is None:
        meant = _TWO_NUMBERS.fullmatch(size)
        remedy = f"write {meant[1]}x{meant[2]}" if meant else "write width x height, as 1024x768"
        yield Flaw("size", f"{size!r} is not a size", remedy)
    else:
        _, wrong = typed({"width": found[1], "height": found[2]})
        for flaw in wrong:
            yield replace(flaw, field="size", message=f"its {flaw.field} {flaw.message}")
    if not _SIDES.isdisjoint(request.written):
        yield Flaw("size", f"size {size} is given beside width or height", "keep one of the two forms")
    yield from _one_shape(request, "size")


def _one_shape(request: Request, key: str) -> Iterator[Flaw]:
    """An error, not a warning: which of the two wins is documented nowhere, and the wrong one costs an image."""
    if "aspect_ratio" in request.fields:
        ratio = request.fields["aspect_ratio"]
        yield Flaw(key, f"{key} is given beside aspect_ratio {ratio}", "keep one; null unsets a default")


def _flex(request: Request) -> Iterator[Flaw]:
    """``steps`` and ``guidance``: for one model only, by the API reference. A model may take less than the field."""
    ranges = {"steps": request.model.steps, "guidance": request.model.guidance}
    for key, allowed in ranges.items():
        value = request.fields.get(key)
        if key not in request.written:
            continue
        if allowed is None:
            yield Flaw(key, f"{request.model.id} does not take {key}", "leave it out, or use flux-2-flex")
        elif isinstance(value, int | float) and not allowed[0] <= value <= allowed[1]:
            yield Flaw(key, f"{value} is out of range", f"{allowed[0]} to {allowed[1]}")


def _images(request: Request) -> Iterator[Flaw]:
    """How many a model takes (upstream silently ignores more), and how large they may be together."""
    model = request.model
    if request.images > model.max_images:
        at_most = f"{model.id} takes {model.max_images}"
        remedy = "use a FLUX.2 model for more" if model.max_images == 1 else f"use {model.max_images} or fewer"
        yield Flaw("images", f"{request.images} images are given, {at_most}", remedy)
    if model.max_total_megapixels is not None:
        yield from _total_pixels(request, model.max_total_megapixels)
    body = request.photo_bytes * 4 // 3
    if body > _LARGEST_BODY:
        message = f"the request is about {body / (1 << 20):.0f} MB large, gateways tend to refuse more than 32 MB"
        yield warning("images", message, "make the photos smaller: fit: {long_edge: 2048} is plenty")


def _total_pixels(request: Request, limit: float) -> Iterator[Flaw]:
    """Inputs, shrunk to 4 MP as upstream does, and output together."""
    output = output_pixels(request.fields)
    if len(request.pixels) * _SHRUNK_TO + output <= limit * MEGAPIXEL:
        return
    pixels = sum([min(pixels, _SHRUNK_TO) for pixels in request.pixels]) + output
    if pixels > limit * MEGAPIXEL:
        message = f"input and output have {pixels / MEGAPIXEL:.1f} MP together, {request.model.id} takes {limit:g}"
        yield Flaw("images", message, "make the photos smaller", reason=Reason.TOO_LARGE)


def output_pixels(fields: Mapping[str, Json]) -> int:
    """Pixels of the result, as far as they are written.

    Without a size the result follows image 1, and how it is counted is not known.
    """
    width, height = fields.get("width"), fields.get("height")
    if width is None and "size" not in fields:
        return 0
    if "size" in fields and (found := _SIZE.fullmatch(str(fields["size"]))):
        width, height = int(found[1]), int(found[2])
    return width * height if isinstance(width, int) and isinstance(height, int) else 0


def unknown_model(name: str, known: Collection[str]) -> Flaw:
    """The complaint about a model that is not known."""
    meant = nearest(name, known)
    remedy = f"did you mean {meant!r}?" if meant else "see: fluxbatch models"
    return Flaw("model", f"{name!r} is not a known model", remedy)


_RULES: Final[tuple[tuple[frozenset[str], _Rule], ...]] = (
    (frozenset({"aspect_ratio"}), _aspect_ratio),
    (frozenset({"safety_tolerance"}), _safety_tolerance),
    (_SIDES, _sides),
    (frozenset({"size"}), _size),
    (frozenset({"steps", "guidance"}), _flex),
)
_RULED: Final = frozenset().union(*(keys for keys, _ in _RULES))
