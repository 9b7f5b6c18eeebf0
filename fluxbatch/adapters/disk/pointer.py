"""Git LFS pointers: what stands for a file where only the repository was checked out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

    from fluxbatch.model.job import Stored

__all__ = ["PULL", "points_to"]

PULL: Final = "it is a Git LFS pointer: fetch the files with `git lfs pull`, then run the same command again"
_VERSION: Final = b"version https://git-lfs.github.com/spec/v1"
_MOST_BYTES: Final = 1024


def points_to(path: Path, size: int, stored: Stored) -> bool:
    """Whether a file of this size is a pointer to the image that was stored.

    Raises:
        OSError: it can't be read.
    """
    if size >= _MOST_BYTES:
        return False
    with path.open("rb") as file:
        first, *lines = file.read(_MOST_BYTES).splitlines() or [b""]
    facts = dict(line.partition(b" ")[::2] for line in lines)
    named = facts.get(b"oid"), facts.get(b"size")
    return first == _VERSION and named == (b"sha256:" + stored.sha256.encode(), b"%d" % stored.bytes)
