"""Images that gave way to others, kept to be compared with: ``OUT/.fluxbatch/earlier``, by their digests.

No job can have a file there: names that begin with a dot are refused.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from fluxbatch.adapters.disk.faults import storage_error
from fluxbatch.adapters.disk.folders import sync_folder
from fluxbatch.formats import EXTENSIONS

if TYPE_CHECKING:
    from pathlib import Path

    from fluxbatch.model.job import Stored

__all__ = ["earlier_file", "keep_earlier"]

_FOLDER: Final = PurePosixPath(".fluxbatch/earlier")


def keep_earlier(root: Path, stored: Stored) -> bool:
    """Keep an image under its digest, beside the name that another one is about to take. Blocks.

    A second name of the same file where the disk allows that, else a copy. May be called again.

    Returns:
        Whether it is kept; what isn't there, or was edited, can't be.

    Raises:
        StorageError: it can't be.
    """
    source = root / stored.file
    target = root / _FOLDER / f"{stored.sha256}{PurePosixPath(stored.file).suffix}"
    try:
        if target.exists():
            return True
        if not source.is_file() or not _is_still(source, stored):
            return False
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source, target, follow_symlinks=False)
        except FileExistsError:
            return True
        except OSError:
            _copy(source, target)
        sync_folder(target.parent)
        sync_folder(target.parent.parent)
    except OSError as error:
        raise storage_error(target, error) from error
    return True


def earlier_file(root: Path, sha256: str) -> str:
    """Where an image is kept that gave way, below the output folder; empty if it isn't. Blocks."""
    names = [str(_FOLDER / f"{sha256}.{extension}") for extension in EXTENSIONS]
    return next((name for name in names if (root / name).is_file()), "")


def _is_still(path: Path, stored: Stored) -> bool:
    with path.open("rb") as file:
        facts = os.fstat(file.fileno())
        if facts.st_size == stored.bytes and facts.st_mtime_ns == stored.mtime_ns:
            return True
        return facts.st_size == stored.bytes and hashlib.file_digest(file, "sha256").hexdigest() == stored.sha256


def _copy(source: Path, target: Path) -> None:
    temporary = target.with_name(f"{secrets.token_hex(8)}.part")
    try:
        with source.open("rb") as old, temporary.open("xb") as new:
            shutil.copyfileobj(old, new)
            new.flush()
            os.fsync(new.fileno())
        temporary.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
