"""Digests of files, piece by piece."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from blake3 import blake3

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

__all__ = ["blake3_of", "sha256_of"]

_PIECE: Final = 1 << 20


def blake3_of(file: BinaryIO) -> str:
    """The BLAKE3 of an open file from where it stands, hex: the digest by which photos are known. Blocks."""
    hasher = blake3()
    while piece := file.read(_PIECE):
        hasher.update(piece)
    return hasher.hexdigest()


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, hex: the digest by which outputs are known. Blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
