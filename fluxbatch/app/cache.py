"""What is remembered for a user, whatever the folder: photos that were looked at."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

from fluxbatch.adapters.disk import SqliteMemo

__all__ = ["cache_folder", "photo_memo"]

_LARGEST: Final = 512 << 20
"""bytes; what photos there once were is of no use for ever"""


def cache_folder() -> Path:
    """``~/.cache/fluxbatch``, or where this system and its user keep such things."""
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if named.is_absolute():
        return named / "fluxbatch"
    try:
        home = Path.home()
    except RuntimeError:  # a user without an entry in the system's list
        home = Path(os.devnull)
    return home / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "fluxbatch"


def photo_memo() -> SqliteMemo:
    """Digests and facts of photos by path, size, time and inode. Without a place for them, they are found out anew."""
    path = cache_folder() / "photos.sqlite"
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if path.exists() and path.stat().st_size > _LARGEST:
            path.unlink()
    return SqliteMemo(path)
