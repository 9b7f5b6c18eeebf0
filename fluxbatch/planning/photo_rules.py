"""What the API, and the models behind it, make of a reference image. Pure; sources of the rules are named."""

from __future__ import annotations

import ipaddress
import re
import shlex
from pathlib import PurePath
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from fluxbatch.formats import describe
from fluxbatch.model.address import is_store_address
from fluxbatch.model.state import Reason
from fluxbatch.planning.flaw import Flaw, warning
from fluxbatch.policy.fitting import (
    LARGEST_FILE,
    LARGEST_SOURCE,
    MEGAPIXEL,
    MOST_DECODED,
    MOST_PIXELS,
    SHRUNK_ABOVE,
    SMALLEST_SIDE,
    TAKEN,
    sent_size,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fluxbatch.formats import ImageFacts, NotAnImage
    from fluxbatch.model.job import Photo

__all__ = ["is_remote", "photo_flaws", "reference_flaw", "remote_flaws", "too_heavy", "unusable"]

_MULTIPLE: Final = 16
_LONGEST_URL: Final = 8192
_EXTENSIONS: Final = {
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".jpe": "image/jpeg",
    ".jfif": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
}
_FIT: Final = "leave out fit: off"
_CONVERTIBLE: Final = frozenset({"heic", "avif", "gif", "bmp", "tiff", "jxl", "psd", "svg", "ico"})
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://")
_NOT_IN_URLS: Final = re.compile(r"[\s\x00-\x1f\x7f<>\"{}|\\^`]")


def photo_flaws(photo: Photo, facts: ImageFacts, *, off: bool) -> list[Flaw]:
    """What is wrong with a complete photo as it is to be sent; the flaws name no field yet.

    Args:
        photo: with what is done to it before.
        facts: by its bytes.
        off: the user wants nothing done to it.
    """
    name = photo.ref
    errors = [*_too_deep(name, facts)]
    errors = errors or [*_too_small(name, facts), *(_refused(photo, facts) if off else _beyond_help(photo))]
    if errors:
        return errors
    left = _seen_wrongly(name, facts) if off else _left_out(name, facts)
    return [*_oddities(photo), *left, *_as_is(photo, facts)]


def unusable(name: str, problem: NotAnImage) -> Flaw:
    """The complaint about a file that is no complete image of a kind that can be used."""
    if problem.remedy:
        remedy = problem.remedy
    elif problem.kind == "too_many_pixels":
        remedy = f"make it smaller: {_magick(name, '-resize 2048x2048')}"
    elif problem.kind in _CONVERTIBLE:
        remedy = f"convert it: {_magick(name)}"
    elif problem.kind in {"cut", "empty", "damaged"}:
        remedy = "upload it again" if is_store_address(name) else "copy or download it again"
    else:
        remedy = "name a JPEG, PNG or WebP image"
    return Flaw("", f"{name}: {problem.message}", remedy, reason=Reason.BAD_IMAGE)


def is_remote(ref: str) -> bool:
    """Whether a reference is a URL that the API fetches itself."""
    return ref[:8].lower().startswith(("http://", "https://"))


def reference_flaw(ref: str) -> Flaw | None:
    """What is wrong with a reference that is neither a path nor a URL that can be fetched."""
    if ref[:5].lower() == "data:":
        message = f"is a data: URL of {len(ref):,} characters"
        return Flaw("", message, "save the image as a file and name that", reason=Reason.BAD_IMAGE)
    if _SCHEME.match(ref) and not is_remote(ref):
        scheme = ref.partition("://")[0]
        remedy = (
            "write the path alone" if scheme.lower() == "file" else "give an https URL, or s3:// oss:// gs:// az://"
        )
        return Flaw("", f"{scheme}:// addresses can't be fetched", remedy, reason=Reason.BAD_IMAGE)
    return None


def remote_flaws(url: str) -> list[Flaw]:
    """What is wrong with a URL; it is not fetched. The query, which may be a signature, is never quoted."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return [_bad_url("it is not a valid URL", "check the address")]
    shown = f"{parts.scheme}://{host}{parts.path}"[:200]
    if not host:
        return [_bad_url(f"{shown} has no host", "write https://host/path")]
    if parts.username or parts.password:
        return [_bad_url(f"{shown} has a user name or password in it", "use a public or signed URL")]
    if len(url) > _LONGEST_URL:
        return [_bad_url(f"{shown} is {len(url):,} characters long", f"the limit is {_LONGEST_URL:,}")]
    if found := _NOT_IN_URLS.search(url):
        return [_bad_url(f"{shown} contains {found[0]!r}", "write it percent-encoded, a space is %20")]
    if _is_private(host):
        return [warning("", f"{shown}: the service fetches it itself, and can't reach {host}", "use a local file")]
    return []


def _bad_url(message: str, remedy: str) -> Flaw:
    return Flaw("", message, remedy, reason=Reason.BAD_IMAGE)


def _is_private(host: str) -> bool:
    if host == "localhost" or host.endswith((".localhost", ".local", ".internal", ".lan")):
        return True
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return "." not in host


def too_heavy(name: str, size: int) -> Flaw:
    """The complaint about a file of so many bytes that it is not even made smaller."""
    message = f"{name}: it is {size / (1 << 30):.1f} GB large, the limit is {LARGEST_SOURCE >> 30}"
    return Flaw("", message, f"make it smaller: {_magick(name, '-resize 2048x2048')}", reason=Reason.TOO_LARGE)


def _too_small(name: str, facts: ImageFacts) -> Iterator[Flaw]:
    """64×64, by the API reference."""
    if min(facts.width, facts.height) < SMALLEST_SIDE:
        what = _measures(facts.width, facts.height)
        message = f"{name}: {what} pixels are too small, the least is {SMALLEST_SIDE}×{SMALLEST_SIDE}"
        yield Flaw("", message, "use a larger photo", reason=Reason.BAD_IMAGE)


def _too_deep(name: str, facts: ImageFacts) -> Iterator[Flaw]:
    """What is built to decode JPEGs, Pillow among it, is built for 8 bits."""
    if facts.mime == "image/jpeg" and facts.bits > 8:
        message = f"{name}: it is a JPEG of {facts.bits} bits a channel, which most programs can't read"
        yield Flaw("", message, "export it as a JPEG of 8 bits, or as a PNG", reason=Reason.BAD_IMAGE)


def _beyond_help(photo: Photo) -> Iterator[Flaw]:
    """What can't be mended by making it fit."""
    size, most = (photo.width, photo.height), MOST_DECODED
    if photo.fitting is None or size[0] * size[1] <= most:
        size, most = sent_size(photo), MOST_PIXELS
    if size[0] * size[1] > most:
        yield _too_many(photo.ref, size, most, f"make it smaller: {_magick(photo.ref, '-resize 2048x2048')}")


def _refused(photo: Photo, facts: ImageFacts) -> Iterator[Flaw]:
    """20 MB and 20 MP, by the API reference; and what services refuse or see wrongly, as its users report."""
    name = photo.ref
    if photo.size > LARGEST_FILE:
        message = f"{name}: it is {photo.size / (1 << 20):.1f} MB large, the limit is {LARGEST_FILE >> 20}"
        yield Flaw("", message, _FIT, reason=Reason.TOO_LARGE)
    if facts.width * facts.height > MOST_PIXELS:
        yield _too_many(name, (facts.width, facts.height), MOST_PIXELS, _FIT)
    if facts.mime not in TAKEN:
        message = f"it is {describe(facts.extension)}, not a JPEG, PNG or WebP image"
        yield Flaw("", f"{name}: {message}", _FIT, reason=Reason.BAD_IMAGE)
        return
    wrong = {
        "it is animated": facts.animated,
        "it holds several pictures (MPO, as some phones write .jpg)": facts.multi_picture,
        "its colours are CMYK, for printing": facts.cmyk,
        "it is a JPEG with arithmetic coding, which services can't read": facts.arithmetic,
    }
    for message, applies in wrong.items():
        if applies:
            yield Flaw("", f"{name}: {message}", _FIT, reason=Reason.BAD_IMAGE)


def _too_many(name: str, size: tuple[int, int], limit: int, remedy: str) -> Flaw:
    megapixels = size[0] * size[1] / MEGAPIXEL
    message = f"{name}: {_measures(*size)} are {megapixels:.1f} MP, the limit is {limit // MEGAPIXEL}"
    return Flaw("", message, remedy, reason=Reason.TOO_LARGE)


def _oddities(photo: Photo) -> Iterator[Flaw]:
    """What works, but not quite as people expect; shrinking and cropping are documented by Black Forest Labs."""
    width, height = sent_size(photo)
    scaled = photo.fitting is not None and {width, height} != {photo.width, photo.height}
    if width * height > SHRUNK_ABOVE:
        message = f"{photo.ref}: {_measures(width, height)} are more than 4 MP, the service shrinks it"
        yield warning("", message, "fit: {max_megapixels: 4}")
    elif not scaled and (width % _MULTIPLE or height % _MULTIPLE):
        what = f"{_measures(width, height)} are no multiples of {_MULTIPLE}"
        yield warning("", f"{photo.ref}: {what}, the service crops the edges", f"fit: {{multiple_of: {_MULTIPLE}}}")


def _seen_wrongly(name: str, facts: ImageFacts) -> Iterator[Flaw]:
    """What would be mended."""
    if facts.orientation != 1:
        yield warning("", f"{name}: only EXIF says that it is to be turned, the service may see it lying", _FIT)
    if facts.palette:
        yield warning("", f"{name}: its colours come from a palette, some services misread that", _FIT)


def _left_out(name: str, facts: ImageFacts) -> Iterator[Flaw]:
    """What is lost by making it fit."""
    if facts.animated:
        yield warning("", f"{name}: it is animated, only its first frame is sent")
    elif facts.multi_picture and facts.mime != "image/jpeg":  # in a JPEG they are previews and the like
        yield warning("", f"{name}: it holds several pictures, only the first is sent")


def _as_is(photo: Photo, facts: ImageFacts) -> Iterator[Flaw]:
    """What is odd about a photo that goes byte for byte."""
    if photo.fitting is not None:
        return
    if facts.bits > 8:
        yield warning("", f"{photo.ref}: it has {facts.bits} bits a channel, the service uses 8")
    by_name = _EXTENSIONS.get(PurePath(photo.ref).suffix.lower())
    if by_name and by_name != facts.mime:
        yield warning("", f"{photo.ref}: it is {facts.mime} by its bytes, and is sent as that")


def _measures(width: int, height: int) -> str:
    return f"{width}×{height}"


def _magick(name: str, options: str = "") -> str:
    if is_store_address(name):
        return f"{_magick(name.rpartition('/')[2], options)}, on a copy of it, and upload that"
    source = PurePath(name)
    target = (
        source.with_name(f"{source.stem}-new.jpg") if source.suffix.lower() == ".jpg" else source.with_suffix(".jpg")
    )
    return " ".join(part for part in ("magick", shlex.quote(name), options, shlex.quote(str(target))) if part)
