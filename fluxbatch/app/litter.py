"""What lies about after many runs and can be done without: nothing that was paid for, and nothing that is an image."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson

from fluxbatch.adapters.disk import FolderLock
from fluxbatch.app.cache import cache_folder
from fluxbatch.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fluxbatch.app.folder import Paths

__all__ = ["Litter", "clear"]

_TORN: Final = "half-landed images of runs that died"
_UNNAMED: Final = "temporary files of runs that died"
_FITTED: Final = "photos made fit for the API"
_THUMBNAILS: Final = "thumbnails of pages that were served"
_EVENTS: Final = "events of old runs"
_CACHE: Final = "what was found in photos"
_PIECE: Final = 1 << 20


@dataclass(slots=True)
class Litter:
    """What was, or would be, removed.

    Attributes:
        removed: for each kind how many files (or lines of a log), and bytes.
    """

    removed: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        """Of all of it."""
        return sum(size for _, size in self.removed.values())

    def as_dict(self) -> dict[str, Any]:
        """As data, for scripts."""
        kinds = [{"what": what, "count": count, "bytes": size} for what, (count, size) in self.removed.items()]
        return {"bytes": self.bytes, "removed": kinds}

    def add(self, what: str, count: int, size: int) -> None:
        """Count something."""
        if count:
            before, bytes_before = self.removed.get(what, (0, 0))
            self.removed[what] = before + count, bytes_before + size


def clear(paths: Paths | None, *, now: float, keep_s: float, dry_run: bool) -> Litter:
    """Remove what can be done without from a folder, if one is named, and from this user's caches. Blocks.

    Ledger, rescued steps, results, images and what the user put there are not touched.

    Args:
        paths: of an output folder; it is held meanwhile, so that no run is disturbed.
        now: epoch seconds.
        keep_s: what was used in the last so many seconds stays, but for what a dead run left.
        dry_run: only say what.

    Raises:
        FolderInUse: a run is going on.
        StorageError: something can't be removed.
    """
    found, before = Litter(), now - keep_s
    try:
        if paths is not None:
            locks = [FolderLock(path) for path in paths.locks]
            try:
                for lock in locks:
                    lock.acquire()
                _clear_folder(paths, found, before=before, dry_run=dry_run)
            finally:
                for lock in locks:
                    lock.release()
        _remove(_CACHE, _unused(cache_folder(), before), found, dry_run=dry_run)
    except OSError as error:
        raise StorageError(
            f"{error.filename}: {error.strerror}", remedy="mend the folder's permissions; the rest can be done again"
        ) from error
    return found


def _clear_folder(paths: Paths, found: Litter, *, before: float, dry_run: bool) -> None:
    # nobody but the holder of the lock lands anything
    _remove(_TORN, _files(paths.landing), found, dry_run=dry_run)
    # of a run that died there is none that is half-written once another one has begun
    _remove(_FITTED, _old(_files(paths.fitted), before), found, dry_run=dry_run)
    for folder in sorted(paths.thumbnails.glob("??")):  # as old as their images
        _remove(_THUMBNAILS, _old(_files(folder), before), found, dry_run=dry_run)
    # `status --results` writes without the lock, and not for a whole period
    leftovers = (path for path in paths.out.glob(f".{paths.results.name}.*.new") if path.is_file())
    _remove(_UNNAMED, _old(leftovers, before), found, dry_run=dry_run)
    _shorten(paths.events, found, before=before, dry_run=dry_run)


def _files(folder: Path) -> Iterator[Path]:
    with suppress(FileNotFoundError, NotADirectoryError):
        for entry in os.scandir(folder):
            if entry.is_file(follow_symlinks=False):
                yield Path(entry.path)


def _old(files: Iterable[Path], before: float) -> Iterator[Path]:
    for path in files:
        with suppress(FileNotFoundError):
            if path.stat().st_mtime < before:
                yield path


def _unused(folder: Path, before: float) -> Iterator[Path]:
    """Files that have not been written for long; of a database, the file with its log and its index, or neither."""
    groups: dict[str, list[Path]] = {}
    for path in _files(folder):
        groups.setdefault(path.name.removesuffix("-wal").removesuffix("-shm"), []).append(path)
    for group in groups.values():
        if len(list(_old(group, before))) == len(group):
            yield from group


def _remove(what: str, files: Iterable[Path], found: Litter, *, dry_run: bool) -> None:
    for path in list(files):
        with suppress(FileNotFoundError):  # by another one at the same time
            size = path.stat().st_size
            if not dry_run:
                path.unlink()
            found.add(what, 1, size)


def _shorten(log: Path, found: Litter, *, before: float, dry_run: bool) -> None:
    """Drop the lines from before a moment. Only for the holder of the lock: who reads along sees the old file end."""
    if not log.is_file():
        return
    kept_from, lines = _first_since(log, before)
    if not kept_from:
        return
    found.add(_EVENTS, lines, kept_from)
    if dry_run:
        return
    temporary = log.with_name(f".{log.name}.new")
    with log.open("rb") as source, temporary.open("wb") as target:
        os.fchmod(target.fileno(), 0o600)
        source.seek(kept_from)
        while piece := source.read(_PIECE):
            target.write(piece)
        target.flush()
        os.fsync(target.fileno())
    temporary.replace(log)


def _first_since(log: Path, before: float) -> tuple[int, int]:
    """Where the first line since a moment begins, and how many lines are before it."""
    position = lines = 0
    with log.open("rb") as source:
        for line in source:
            with suppress(TypeError, KeyError, ValueError):  # a line that a power cut has torn
                if datetime.fromisoformat(orjson.loads(line)["at"]).timestamp() >= before:
                    break
            position += len(line)
            lines += 1
    return position, lines
