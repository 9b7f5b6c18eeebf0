"""Image files as photos."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fluxbatch.adapters.digests import blake3_of
from fluxbatch.model.job import Photo

if TYPE_CHECKING:
    import os
    from pathlib import Path
    from typing import BinaryIO

    from fluxbatch.formats import ImageFacts

__all__ = ["photo_of"]


def photo_of(ref: str, path: Path, file: BinaryIO, state: os.stat_result, facts: ImageFacts) -> Photo:
    """The photo that an open file is, before anything is done to it. Reads the whole of it; blocks.

    Args:
        ref: how it is called.
        path: of the file.
        file: open for reading in binary, at any position.
        state: of the file, from before it was looked into.
        facts: of the image.
    """
    file.seek(0)
    return Photo(
        ref=ref,
        path=str(path.absolute()),
        mime=facts.mime,
        size=state.st_size,
        mtime_ns=state.st_mtime_ns,
        inode=state.st_ino,
        width=facts.width,
        height=facts.height,
        digest=blake3_of(file),
    )
