"""Ids: where they come from, which ones are safe as file names, which ones clash."""

from __future__ import annotations

import posixpath
import re
import unicodedata
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from blake3 import blake3

from fluxbatch.planning.fingerprint import short_digest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fluxbatch.model.job import Json
    from fluxbatch.planning.references import Reference
    from fluxbatch.planning.spec import Spec

__all__ = ["clash_key", "derived_id", "derived_seed", "names_of", "unsafe_name"]

_LONGEST_COMPONENT: Final = 255
# Room for ".jpeg" or ".webp", and for what a temporary file adds to the name while it is written.
_SUFFIX_ROOM: Final = 32
_LONGEST_NAME: Final = 1000
_LONGEST_STEM: Final = 60
_WORDS: Final = 6
_RESULTS: Final = "results.jsonl"
_PLAIN: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\- ]{0,199}")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_IMAGE_ENDINGS: Final = (".jpg", ".jpeg", ".png", ".webp")


def derived_seed(job_id: str) -> int:
    """A seed for a job that has none, 0 to 2³¹-1: always the same for the same id, so any image can be made again."""
    return int.from_bytes(blake3(job_id.encode()).digest(4), "big") & 0x7FFF_FFFF


def derived_id(spec: Spec) -> str:
    """An id for a job that has none: the name of image 1 or the first words of the prompt, then 8 hex of the job."""
    fields = spec.fields
    if spec.chain:
        steps: list[Json] = [[link.fields, list(names_of(link.images))] for link in spec.chain]
        fields = {**fields, "chain": steps}
    if spec.flaws:  # fields that are wrong are left out, which must not make different jobs the same
        fields = {**fields, "flaws": [flaw.message for flaw in spec.flaws]}
    return f"{_stem(spec)}-{short_digest(fields, names_of(spec.images), spec.extra, spec.fit)}"


def clash_key(name: str) -> str:
    """What two file names have in common that are one file on some disks: upper and lower case, Unicode forms."""
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def unsafe_name(name: str) -> str:
    """Why a file name can't be used below the output folder, empty if it can.

    Args:
        name: without extension, ``/`` between folders.
    """
    if _PLAIN.fullmatch(name) and name.lower() != _RESULTS:
        return ""
    if not name.strip():
        return "is empty"
    if _CONTROL.search(name):
        return f"{name!r} has a control character"
    if "\\" in name:
        return f"{name!r} has a backslash"
    if name.startswith("/"):
        return f"{name!r} is an absolute path"
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        return f"{name!r} is not valid Unicode"
    if size > _LONGEST_NAME:
        return _too_long(name, _LONGEST_NAME)
    return _unsafe_components(name)


def _unsafe_components(name: str) -> str:
    *folders, last = name.split("/")
    for component in (*folders, last):
        if reason := _unsafe_component(component, name):
            return reason
    if len(last.encode()) + _SUFFIX_ROOM > _LONGEST_COMPONENT:
        return (
            f"'{last[:40]}…' is too long: {len(last.encode())} bytes, the limit is {_LONGEST_COMPONENT - _SUFFIX_ROOM}"
        )
    for folder in folders:
        if folder.casefold().endswith(_IMAGE_ENDINGS):  # the image of a job named "a" would be the folder of "a.jpg/b"
            return f"{name!r} has a folder that is named like an image"
    if (folders and folders[0].casefold() == "report") or name.casefold() == _RESULTS:
        return f"{name!r} is a name that the output folder needs for itself"
    return ""


def _unsafe_component(component: str, name: str) -> str:
    if not component.strip():
        return f"{name!r} has an empty folder or file name"
    if component in {".", ".."}:
        return f"{name!r} leaves the output folder or goes in circles"
    if component.startswith("."):
        return f"{name!r} is hidden: a name begins with a dot"
    if len(component) > 60 and len(component.encode()) > _LONGEST_COMPONENT:
        return _too_long(component, _LONGEST_COMPONENT)
    return ""


def _too_long(name: str, limit: int) -> str:
    return f"'{name[:40]}…' is too long: {len(name.encode())} bytes, the limit is {limit}"


def names_of(images: Sequence[Reference]) -> list[str]:
    """References as they are written, in one line each."""
    return [image if isinstance(image, str) else f"job:{image['job']}" for image in images]


def _stem(spec: Spec) -> str:
    ref = spec.images[0] if spec.images else ""
    if isinstance(ref, dict):
        words = [ref["job"]]
    elif ref:
        path = unquote(urlsplit(ref).path) if ref.startswith(("http://", "https://")) else ref
        words = [posixpath.splitext(posixpath.basename(path))[0]]
    else:
        prompt = spec.chain[0].fields.get("prompt", "") if spec.chain else spec.fields.get("prompt", "")
        words = str(prompt)[:400].lower().split()[:_WORDS]
    safe = "-".join(re.sub(r"[^\w.]+", "-", word).strip("-._") for word in words)
    shortened = re.sub(r"-{2,}", "-", safe).encode("utf-8", "ignore")[:_LONGEST_STEM].decode("utf-8", "ignore")
    return shortened.strip("-._") or "job"
