"""Images that gave way to others, kept to be compared with: ``OUT/.fluxbatch/earlier``, by their digests.

No job can have a file there: names that begin with a dot are refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fluxbatch.formats import EXTENSIONS

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["earlier_file", "earlier_name"]

_FOLDER: Final = ".fluxbatch/earlier"


def earlier_name(sha256: str) -> str:
    """The name that an image is kept under, below the output folder and without extension."""
    return f"{_FOLDER}/{sha256}"


def earlier_file(root: Path, sha256: str) -> str:
    """Where an image is kept that gave way, below the output folder; empty if it isn't. Blocks."""
    names = [f"{earlier_name(sha256)}.{extension}" for extension in EXTENSIONS]
    return next((name for name in names if (root / name).is_file()), "")
