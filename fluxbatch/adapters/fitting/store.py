"""Fitted photos on disk, by what they were made of. All of it may be deleted at any time, and is checked before use."""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections import OrderedDict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import orjson
from blake3 import blake3

from fluxbatch.adapters.digests import blake3_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

    from fluxbatch.model.job import Fitting

__all__ = ["Fitted", "FittedStore", "key_of"]

_VERSION: Final = 1
"""of the way photos are made fit; another one makes all of them anew"""
_LATEST: Final = 256
"""photos that may be on their way to the API at this moment, and more"""
_NOTE: Final = ".sum"
_PART: Final = ".part"


@dataclass(frozen=True, slots=True)
class Fitted:
    """A fitted photo on disk. Attributes as in ``model.job.Photo``."""

    path: str
    mime: str
    size: int
    mtime_ns: int
    inode: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class _Note:
    mime: str
    width: int
    height: int
    digest: str


def key_of(digest: str, fitting: Fitting) -> str:
    """The same for the same bytes and the same fitting, whatever the reasons."""
    recipe = {name: value for name, value in asdict(fitting).items() if name != "why"}
    return blake3(orjson.dumps([_VERSION, digest, recipe], option=orjson.OPT_SORT_KEYS)).hexdigest()


class FittedStore:
    """Fitted photos in a folder, each with a note of its digest beside it. Blocks; for use in threads.

    Args:
        folder: for it alone; made if needed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._latest: OrderedDict[str, Fitted] = OrderedDict()
        self._lock = threading.Lock()
        self._parts: set[Path] = set()

    def find(self, key: str) -> Fitted | None:
        """A photo that is there and whole."""
        try:
            note = _Note(**orjson.loads((self._folder / f"{key}{_NOTE}").read_bytes()))
            found = self._seen(key, note)
            if self._latest.get(key) != found and _digest(Path(found.path)) != note.digest:
                return None
        except (OSError, ValueError, TypeError):
            return None
        self._remember(key, found)
        return found

    def put(self, key: str, mime: str, size: tuple[int, int], write: Callable[[BinaryIO], object]) -> Fitted:
        """Keep a photo, and say where.

        Args:
            key: of ``key_of``.
            mime: of its bytes.
            size: width and height.
            write: writes its bytes into an open file.

        Raises:
            OSError: there is no room.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._path(key, mime)
        self._write(path, write)
        note = _Note(mime, *size, _digest(path))
        fitted = self._seen(key, note)
        self._write(self._folder / f"{key}{_NOTE}", lambda file: file.write(orjson.dumps(note)))
        self._remember(key, fitted)
        return fitted

    def sweep(self, most: int) -> None:
        """Remove the oldest but for the latest ones, until ``most`` bytes are left, and what was left half-written."""
        photos: list[tuple[int, int, Path]] = []
        for path in self._paths():
            with contextlib.suppress(OSError):
                if path.suffix == _PART and path not in self._parts:
                    path.unlink()
                elif path.suffix not in {_NOTE, _PART}:
                    status = path.stat()
                    photos.append((status.st_mtime_ns, status.st_size, path))
        left = sum(size for _, size, _ in photos)
        for _, size, path in sorted(photos):
            if left <= most:
                return
            if path.stem not in self._latest:
                with contextlib.suppress(OSError):
                    path.with_suffix(_NOTE).unlink(missing_ok=True)
                    path.unlink(missing_ok=True)
                left -= size

    def _path(self, key: str, mime: str) -> Path:
        return self._folder / f"{key}.{'png' if mime == 'image/png' else 'jpg'}"

    def _seen(self, key: str, note: _Note) -> Fitted:
        path = self._path(key, note.mime)
        status = path.stat()
        facts = (status.st_size, status.st_mtime_ns, status.st_ino)
        return Fitted(str(path), note.mime, *facts, note.width, note.height)

    def _paths(self) -> list[Path]:
        try:
            return list(self._folder.iterdir())
        except OSError:
            return []

    def _write(self, path: Path, write: Callable[[BinaryIO], object]) -> None:
        part = self._folder / f"{secrets.token_hex(8)}{_PART}"
        self._parts.add(part)
        try:
            with part.open("xb") as file:
                write(file)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
            self._parts.discard(part)

    def _remember(self, key: str, fitted: Fitted) -> None:
        with self._lock:
            self._latest[key] = fitted
            self._latest.move_to_end(key)
            if len(self._latest) > _LATEST:
                self._latest.popitem(last=False)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return blake3_of(file)
