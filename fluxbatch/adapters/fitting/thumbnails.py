"""Small pictures of images on disk, for pages that show many."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from fluxbatch.adapters.fitting.decoder import facts_of
from fluxbatch.adapters.fitting.pixels import rendered, write
from fluxbatch.formats import NotAnImage
from fluxbatch.model.job import Fitting

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

    from fluxbatch.formats import ImageFacts

__all__ = ["make_thumbnail"]

_LONG_EDGE: Final = 320
_QUALITY: Final = 80
_WHITE: Final = "#FFFFFF"


def make_thumbnail(source: Path, target: Path) -> bool:
    """Have a JPEG of 320 pixels at most at ``target``; one that is as old as its image stays. Blocks.

    Returns:
        Whether there is one: false if the source is gone or can't be decoded.

    Raises:
        OSError: the target can't be written.
    """
    try:
        file = source.open("rb")
        mtime_ns = os.fstat(file.fileno()).st_mtime_ns
    except OSError:
        return False
    with file:
        with suppress(OSError):
            if target.stat().st_mtime_ns == mtime_ns:
                return True
        try:
            image = rendered(file, _smaller(file))
        except (NotAnImage, OSError):
            target.unlink(missing_ok=True)  # it would show what isn't there any more
            return False
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.new")
    try:
        with temporary.open("wb") as out:
            write(image, "image/jpeg", _QUALITY, out)
        os.utime(temporary, ns=(mtime_ns, mtime_ns))
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    return True


def _smaller(file: BinaryIO) -> Fitting:
    width, height = _upright(facts_of(file))
    scale = min(1.0, _LONG_EDGE / max(width, height))
    width, height = max(1, round(width * scale)), max(1, round(height * scale))
    return Fitting(width, height, width, height, "image/jpeg", background=_WHITE)


def _upright(facts: ImageFacts) -> tuple[int, int]:
    return (facts.height, facts.width) if facts.orientation >= 5 else (facts.width, facts.height)
