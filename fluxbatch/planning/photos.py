"""Local photos: looked at once, however many jobs use them, and not at all if they are remembered unchanged."""

from __future__ import annotations

import os
import stat
from collections import OrderedDict
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson
from blake3 import blake3

from fluxbatch.formats import ImageFacts, NotAnImage, inspect_image
from fluxbatch.model.job import Photo
from fluxbatch.model.problem import Level
from fluxbatch.model.state import Reason
from fluxbatch.planning.flaw import Flaw
from fluxbatch.planning.photo_rules import LARGEST_FILE, photo_flaws, too_heavy, unusable
from fluxbatch.planning.reading.text import similar_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fluxbatch.planning.scratch import Scratch
    from fluxbatch.ports import Memo

__all__ = ["Checked", "PhotoBook"]

_IN_MEMORY: Final = 2048
_PIECE: Final = 1 << 20
_MOST_SUGGESTIONS: Final = 50
_MEMO_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Checked:
    """A photo that was looked at.

    Attributes:
        photo: None if it can't be used.
        flaws: what is wrong with it; they name no field yet.
    """

    photo: Photo | None
    flaws: tuple[Flaw, ...] = ()

    @property
    def errors(self) -> tuple[Flaw, ...]:
        """The flaws that keep a job from being sent."""
        return tuple(flaw for flaw in self.flaws if flaw.level is Level.ERROR)


class PhotoBook:
    """All photos of one intake, by absolute path: the latest in memory, the others in the scratch."""

    def __init__(self, scratch: Scratch, memo: Memo | None) -> None:
        self._scratch = scratch
        self._memo = memo
        self._latest: OrderedDict[str, Checked] = OrderedDict()
        self._remembered: dict[str, bytes] = {}
        self._learned: dict[str, bytes] = {}
        self._suggestions = _MOST_SUGGESTIONS

    def prepare(self, paths: Sequence[str]) -> None:
        """Ask the memo about photos that are about to be checked, all at once, and tell it what was learned."""
        if self._memo is None:
            return
        if self._learned:
            self._memo.put(self._learned)
            self._learned = {}
        keys = {key for path in paths if path not in self._latest and (key := _memo_key_of(path))}
        self._remembered = self._memo.get(sorted(keys)) if keys else {}

    def check(self, path: str, ref: str) -> tuple[Checked, bool]:
        """Look at a photo, and whether that is the first time.

        Args:
            path: absolute.
            ref: as the user wrote it.
        """
        found = self._latest.get(path)
        if found is not None:
            self._latest.move_to_end(path)
            return _as_written(found, ref), False
        kept = self._scratch.photo(path)
        checked = _unpacked(kept) if kept else self._look(path, ref)
        if not kept:
            self._scratch.keep_photo(path, _packed(checked))
        self._latest[path] = checked
        if len(self._latest) > _IN_MEMORY:
            self._latest.popitem(last=False)
        return _as_written(checked, ref), not kept

    def _look(self, path: str, ref: str) -> Checked:
        try:
            status = os.stat(path)  # noqa: PTH116 - a Path each would cost more than the call
        except (OSError, ValueError) as error:
            return Checked(None, (self._missing(path, ref, error),))
        if not stat.S_ISREG(status.st_mode):
            what = "a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file"
            return Checked(None, (_bad(f"{ref} is {what}", "name an image file"),))
        if status.st_size > LARGEST_FILE:
            return Checked(None, (too_heavy(ref, status.st_size),))
        key = _memo_key(path, status)
        if remembered := self._remembered.get(key):
            facts, digest = _recall(remembered)
        else:
            try:
                facts, digest = _read(path, status)
            except NotAnImage as problem:
                return Checked(None, (unusable(ref, problem),))
            except OSError as error:
                return Checked(None, (_bad(f"{ref} can't be read: {error.strerror}", "check its permissions"),))
            self._learned[key] = orjson.dumps({"facts": asdict(facts), "digest": digest})
        photo = Photo(
            ref=ref,
            path=path,
            mime=facts.mime,
            size=status.st_size,
            mtime_ns=status.st_mtime_ns,
            inode=status.st_ino,
            width=facts.width,
            height=facts.height,
            digest=digest,
        )
        return Checked(photo, tuple(photo_flaws(ref, facts)))

    def _missing(self, path: str, ref: str, error: OSError | ValueError) -> Flaw:
        if isinstance(error, ValueError):
            return _bad(f"{ref!r} is no path", "remove the special characters")
        if not isinstance(error, FileNotFoundError | NotADirectoryError):
            return _bad(f"{ref} can't be read: {error.strerror}", "check its permissions")
        remedy = f"looked for {path}"
        if ref.startswith("~"):
            remedy = "write the folder in full, ~ has no meaning here"
        elif self._suggestions:
            self._suggestions -= 1
            similar = similar_name(Path(path))
            remedy = f"did you mean {similar!r}?" if similar else remedy
        return _bad(f"{ref}: there is no such file", remedy)

    def close(self) -> None:
        """Tell the memo what was learned last."""
        if self._memo is not None and self._learned:
            self._memo.put(self._learned)
            self._learned = {}


def _bad(message: str, remedy: str) -> Flaw:
    return Flaw("", message, remedy, reason=Reason.BAD_IMAGE)


def _read(path: str, status: os.stat_result) -> tuple[ImageFacts, str]:
    hasher = blake3()
    with open(path, "rb") as file:  # noqa: PTH123 - as above
        facts = inspect_image(file)
        file.seek(0)
        while piece := file.read(_PIECE):
            hasher.update(piece)
        after = os.fstat(file.fileno())
    if _memo_key(path, after) != _memo_key(path, status):
        raise NotAnImage("it changes while it is being read", kind="damaged")
    return facts, hasher.hexdigest()


def _memo_key_of(path: str) -> str:
    try:
        return _memo_key(path, os.stat(path))  # noqa: PTH116 - as above
    except (OSError, ValueError):
        return ""


def _memo_key(path: str, status: os.stat_result) -> str:
    return f"photo:{_MEMO_VERSION}:{status.st_size}:{status.st_mtime_ns}:{status.st_ino}:{path}"


def _recall(remembered: bytes) -> tuple[ImageFacts, str]:
    values = orjson.loads(remembered)
    return ImageFacts(**values["facts"]), values["digest"]


def _as_written(checked: Checked, ref: str) -> Checked:
    if checked.photo is None or checked.photo.ref == ref:
        return checked
    return replace(checked, photo=replace(checked.photo, ref=ref))


def _packed(checked: Checked) -> bytes:
    return orjson.dumps(checked)


def _unpacked(packed: bytes) -> Checked:
    values: dict[str, Any] = orjson.loads(packed)
    photo = Photo(**values["photo"]) if values["photo"] else None
    flaws = (
        Flaw(**{**flaw, "level": Level(flaw["level"]), "reason": Reason(flaw["reason"])}) for flaw in values["flaws"]
    )
    return Checked(photo, tuple(flaws))
