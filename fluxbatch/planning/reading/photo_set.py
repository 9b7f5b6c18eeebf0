"""A folder of photos, or several photos, with one prompt for all: no manifest needed."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fluxbatch.planning.flaw import Unreadable
from fluxbatch.planning.reading.draft import Draft, Fault, Opened

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from fluxbatch.model.job import Json

__all__ = ["open_photos", "photos_in"]

_SENDABLE: Final = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp"})
# Pictures that can't be sent as they are: skipping them in silence would leave holes, so the checks complain.
_OTHER_PICTURES: Final = frozenset({".heic", ".heif", ".avif", ".gif", ".bmp", ".tif", ".tiff", ".jxl", ".mpo"})


def open_photos(
    paths: Sequence[Path],
    values: Mapping[str, Json],
    others: Sequence[str],
) -> Opened:
    """A job for each photo.

    Args:
        paths: folders (their photos in natural order, not those of folders below) or photos.
        values: fields that all jobs have in common.
        others: images 2, 3 … of every job.
    """
    opened = Opened("photos", Path.cwd(), ())
    if not str(values.get("prompt") or "").strip():
        opened.faults.append(Fault(0, "the prompt is empty", "say what to make of the photos with -p", "prompt"))
        return opened
    opened.drafts = _drafts(paths, values, others, opened)
    return opened


def _drafts(
    paths: Sequence[Path], values: Mapping[str, Json], others: Sequence[str], opened: Opened
) -> Iterator[Draft | Unreadable]:
    for path in paths:
        if path.is_dir():
            for name in photos_in(path, opened.faults):
                yield _draft(path / name, values, others)
        else:
            yield _draft(path, values, others)


def _draft(path: Path, values: Mapping[str, Json], others: Sequence[str]) -> Draft:
    job: dict[str, Any] = {**values, "id": path.stem, "images": [str(path), *others]}
    return Draft(0, job, photo=str(path))


def photos_in(folder: Path, faults: list[Fault]) -> list[str]:
    """Names of the photos in a folder, ``2.jpg`` before ``10.jpg``; the order on disk is no order."""
    photos: list[str] = []
    ignored: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith(".") or entry.is_dir():
                    continue
                picture = Path(entry.name).suffix.lower() in _SENDABLE | _OTHER_PICTURES
                (photos if picture else ignored).append(entry.name)
    except OSError as error:
        raise Unreadable(0, f"{folder} can't be read: {error.strerror}", "check its permissions") from None
    if not photos:
        faults.append(Fault(0, f"there are no photos in {folder}", "it needs .jpg, .png or .webp files"))
    elif ignored:
        more = f" and {len(ignored) - 1} more are no photos" if len(ignored) > 1 else " is no photo"
        message = f"{min(ignored)!r}{more}, and left out"
        faults.append(Fault(0, message, warning=True))
    return sorted(photos, key=_natural)


def _natural(name: str) -> tuple[list[tuple[int, str]], str]:
    parts = re.split(r"(\d+)", name.casefold())
    return [(int(part[:18]), part) if part.isdecimal() and part.isascii() else (0, part) for part in parts], name
