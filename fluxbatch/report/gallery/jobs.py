"""What the page knows of a job, and which pictures it wants small."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from fluxbatch.model.job import JobOutput, Photo
from fluxbatch.report.results import result_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fluxbatch.model.flags import Flags
    from fluxbatch.model.job import Image, Record

__all__ = ["THUMBNAILS", "entry_of", "pictures_of", "thumbnail_name"]

THUMBNAILS: Final = "thumbs"
_SAME: Final = (
    *("id", "status", "cached", "file", "bytes", "width", "height", "model", "prompt", "seed", "attempts"),
    *("charged", "unknown_charges", "cost_usd", "url_age_s", "request_id", "meta", "error"),
)


def pictures_of(record: Record, out: Path) -> list[Path]:
    """Images on disk that its tile and its detail view show: the output, then local inputs."""
    file = result_of(record, run_id="", simulated=False)["file"]
    photos = [Path(image.path) for image in record.job.images if isinstance(image, Photo)]
    return [*([out / file] if file else []), *photos]


def thumbnail_name(picture: Path) -> str:
    """Where its small picture is, below the report's folder; the same for every report on it."""
    digest = hashlib.sha256(os.fsencode(picture)).hexdigest()[:32]
    return f"{THUMBNAILS}/{digest[:2]}/{digest}.jpg"


def entry_of(
    record: Record,
    *,
    out: Path,
    run_id: str,
    made: Mapping[Path, bool],
    flags: Flags | None = None,
    portable: bool = False,
    store: str = "",
) -> dict[str, Any]:
    """One job as the page gets it: a line of the results without what is for machines, and addresses to show.

    Args:
        record: its row in the ledger.
        out: the output folder, absolute.
        run_id: of the last run.
        made: whether there is a small picture, by picture.
        flags: of its image.
        portable: point at nothing outside of the output folder, and name no folders there.
        store: address of the object store that holds the images; empty if they are in the folder.
    """
    result = result_of(record, run_id=run_id, simulated=False, flags=flags)
    entry = {name: result[name] for name in _SAME if result[name] not in (None, "", {}, [])}
    if result["file"] and store:
        entry |= _far_picture(out / result["file"], made)
        if not portable:
            entry["at"] = f"{store}/{result['file']}"
    elif result["file"]:
        entry |= _picture(out / result["file"], out, made, portable=portable)
    images = zip(record.job.images, result["inputs"], strict=True)
    if result["flags"]:
        entry["flags"] = result["flag_details"]
    entry["inputs"] = [_input(image, ref, out, made, portable=portable) for image, ref in images]
    if portable and "same_as_input" in entry.get("flags", {}):
        entry["flags"]["same_as_input"]["input"] = entry["inputs"][entry["flags"]["same_as_input"]["image"] - 1]["ref"]
    return entry


def _input(image: Image, ref: str, out: Path, made: Mapping[Path, bool], *, portable: bool) -> dict[str, Any]:
    """URLs are named, never loaded: to look at a page must not tell a stranger's server of it."""
    if isinstance(image, JobOutput):
        return {"kind": "job", "ref": ref, "job": image.job}
    if isinstance(image, Photo):
        shown = PurePath(ref).name if portable else ref
        return {"kind": "photo", "ref": shown, **_picture(Path(image.path), out, made, portable=portable)}
    return {"kind": "url", "ref": ref}


def _far_picture(path: Path, made: Mapping[Path, bool]) -> dict[str, str]:
    """Small alone: there is nothing that a page could point at for long."""
    small = thumbnail_name(path)
    return {"thumb": small, "href": small} if made.get(path) else {}


def _picture(path: Path, out: Path, made: Mapping[Path, bool], *, portable: bool) -> dict[str, str]:
    small = {"thumb": thumbnail_name(path)} if made.get(path) else {}
    if portable and not Path(os.path.normpath(path)).is_relative_to(out):
        return {**small, **({"href": small["thumb"]} if small else {})}
    relative = Path(os.path.relpath(path, out / "report")).as_posix()
    return {"href": quote(os.fsencode(relative)), **small}
