"""What the API, and the models behind it, make of a reference image. Pure; sources of the rules are named."""

from __future__ import annotations

import ipaddress
import re
import shlex
from pathlib import PurePath
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from fluxbatch.model.state import Reason
from fluxbatch.planning.flaw import Flaw, warning
from fluxbatch.planning.rules import MEGAPIXEL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fluxbatch.formats import ImageFacts, NotAnImage

__all__ = ["LARGEST_FILE", "is_remote", "photo_flaws", "reference_flaw", "remote_flaws", "too_heavy", "unusable"]

LARGEST_FILE: Final = 20 << 20
"""Bytes of one reference image, by the API reference."""

_MOST_PIXELS: Final = 20 * MEGAPIXEL
_SHRUNK_ABOVE: Final = 4 * MEGAPIXEL
_SMALLEST_SIDE: Final = 64
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
_CONVERTIBLE: Final = frozenset({"heic", "avif", "gif", "bmp", "tiff", "jxl", "psd", "svg", "ico"})
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://")
_NOT_IN_URLS: Final = re.compile(r"[\s\x00-\x1f\x7f<>\"{}|\\^`]")


def photo_flaws(name: str, facts: ImageFacts) -> list[Flaw]:
    """What is wrong with a complete local photo; the flaws name no field yet.

    Args:
        name: as the user wrote it.
        facts: by its bytes.
    """
    errors = [*_too_large_or_small(name, facts), *_misread(name, facts)]
    return errors or list(_oddities(name, facts))


def unusable(name: str, problem: NotAnImage) -> Flaw:
    """The complaint about a file that is no complete JPEG, PNG or WebP."""
    if problem.kind in _CONVERTIBLE:
        remedy = f"convert it: {_magick(name)}"
    elif problem.kind in {"cut", "empty", "damaged"}:
        remedy = "copy or download it again"
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
        remedy = "write the path alone" if scheme.lower() == "file" else "download it, or give an https URL"
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


def _too_large_or_small(name: str, facts: ImageFacts) -> Iterator[Flaw]:
    """20 MP and 64×64, by the API reference."""
    pixels = facts.width * facts.height
    if pixels > _MOST_PIXELS:
        message = f"{name}: {_measures(facts)} are {pixels / MEGAPIXEL:.1f} MP, the limit is 20"
        yield Flaw("", message, f"make it smaller: {_magick(name, '-resize 2048x2048')}", reason=Reason.TOO_LARGE)
    if min(facts.width, facts.height) < _SMALLEST_SIDE:
        message = f"{name}: {_measures(facts)} pixels are too small, the least is {_SMALLEST_SIDE}×{_SMALLEST_SIDE}"
        yield Flaw("", message, "use a larger photo", reason=Reason.BAD_IMAGE)


def too_heavy(name: str, size: int) -> Flaw:
    """The complaint about a file of too many bytes."""
    message = f"{name}: it is {size / (1 << 20):.1f} MB large, the limit is 20"
    return Flaw("", message, f"make it smaller: {_magick(name, '-resize 2048x2048')}", reason=Reason.TOO_LARGE)


def _misread(name: str, facts: ImageFacts) -> Iterator[Flaw]:
    """Photos that services refuse or see wrongly, as users of the API report."""
    if facts.animated:
        yield Flaw("", f"{name}: it is animated", "send one frame of it", reason=Reason.BAD_IMAGE)
    if facts.multi_picture:
        message = f"{name}: it holds several pictures (MPO, as some phones write .jpg)"
        yield Flaw("", message, f"keep the first: {_magick(name)}", reason=Reason.BAD_IMAGE)
    if facts.cmyk:
        remedy = f"convert it to RGB: {_magick(name, '-colorspace sRGB')}"
        yield Flaw("", f"{name}: its colours are CMYK, for printing", remedy, reason=Reason.BAD_IMAGE)
    if facts.arithmetic:
        message = f"{name}: it is a JPEG with arithmetic coding, which services can't read"
        yield Flaw("", message, f"write it anew: {_magick(name)}", reason=Reason.BAD_IMAGE)


def _oddities(name: str, facts: ImageFacts) -> Iterator[Flaw]:
    """What works, but not quite as people expect; shrinking and cropping are documented by Black Forest Labs."""
    pixels = facts.width * facts.height
    if pixels > _SHRUNK_ABOVE:
        yield warning("", f"{name}: {_measures(facts)} are more than 4 MP, the service shrinks it", "send it smaller")
    elif facts.width % _MULTIPLE or facts.height % _MULTIPLE:
        message = f"{name}: {_measures(facts)} are no multiples of {_MULTIPLE}, the service crops the edges"
        yield warning("", message)
    if facts.orientation != 1:
        message = f"{name}: only EXIF says that it is to be turned, the service may see it lying"
        yield warning("", message, f"turn it for good: {_magick(name, '-auto-orient')}")
    if facts.palette:
        yield warning("", f"{name}: its colours come from a palette, some services misread that", "save it as RGB")
    if facts.bits > 8:
        yield warning("", f"{name}: it has {facts.bits} bits a channel, the service uses 8")
    by_name = _EXTENSIONS.get(PurePath(name).suffix.lower())
    if by_name and by_name != facts.mime:
        yield warning("", f"{name}: it is {facts.mime} by its bytes, and is sent as that")


def _measures(facts: ImageFacts) -> str:
    return f"{facts.width}×{facts.height}"


def _magick(name: str, options: str = "") -> str:
    source = PurePath(name)
    target = (
        source.with_name(f"{source.stem}-new.jpg") if source.suffix.lower() == ".jpg" else source.with_suffix(".jpg")
    )
    return " ".join(part for part in ("magick", shlex.quote(name), options, shlex.quote(str(target))) if part)
