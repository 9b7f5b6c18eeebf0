"""Local photos: looked at once, however many jobs use them, and not at all if they are remembered unchanged."""

from __future__ import annotations

import os
import stat
from collections import OrderedDict
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson
from blake3 import blake3

from fluxbatch.formats import ImageFacts, NotAnImage, inspect_image
from fluxbatch.model.job import Fit, Photo
from fluxbatch.model.problem import Level
from fluxbatch.model.state import Reason
from fluxbatch.planning.flaw import Flaw
from fluxbatch.planning.photo_rules import photo_flaws, too_heavy, unusable
from fluxbatch.planning.reading.text import similar_name
from fluxbatch.policy.fitting import DECODABLE, LARGEST_SOURCE, fitting_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fluxbatch.planning.scratch import Scratch
    from fluxbatch.ports import Decoder, Memo

__all__ = ["Checked", "PhotoBook"]

_IN_MEMORY: Final = 2048
_PIECE: Final = 1 << 20
_MOST_SUGGESTIONS: Final = 50
_MEMO_VERSION: Final = 2
_MOST_FITS: Final = 16
_AUTO: Final = Fit()


@dataclass(frozen=True, slots=True)
class Checked:
    """A photo that was looked at.

    Attributes:
        photo: with what is done to it before it is sent; None if it can't be used.
        flaws: what is wrong with it then; they name no field yet. A warning that was told already is left out.
    """

    photo: Photo | None
    flaws: tuple[Flaw, ...] = ()

    @property
    def errors(self) -> tuple[Flaw, ...]:
        """The flaws that keep a job from being sent."""
        return tuple(flaw for flaw in self.flaws if flaw.level is Level.ERROR)


@dataclass(frozen=True, slots=True)
class _Seen:
    """What stands at a path, whatever is to be done to it: its facts, or why it can't be used at all."""

    flaw: Flaw | None = None
    facts: ImageFacts | None = None
    digest: str = ""
    size: int = 0
    mtime_ns: int = 0
    inode: int = 0


@dataclass(slots=True)
class _Entry:
    ref: str  # as it was first written, and so is in all that is said about it
    seen: _Seen
    told: set[str] = field(default_factory=set)
    by_fit: dict[Fit, Checked] = field(default_factory=dict)


class PhotoBook:
    """All photos of one intake, by absolute path: the latest in memory, the others in the scratch.

    Args:
        scratch: for those that don't fit into memory.
        memo: remembers them for the next intake.
        decoder: looks into files of kinds that the API doesn't take; without one, they are errors.
    """

    def __init__(self, scratch: Scratch, memo: Memo | None, decoder: Decoder | None = None) -> None:
        self._scratch = scratch
        self._memo = memo
        self._decoder = decoder
        self._latest: OrderedDict[str, _Entry] = OrderedDict()
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

    def check(self, path: str, ref: str, fit: Fit = _AUTO) -> tuple[Checked, bool]:
        """Look at a photo, and whether that is the first time with this fit.

        Args:
            path: absolute.
            ref: as the user wrote it.
            fit: what the user wants done to it.
        """
        entry = self._entry(path, ref)
        checked = entry.by_fit.get(fit)
        first_time = checked is None
        if checked is None:
            checked = self._judged(entry, path, fit)
        return _as_written(checked, ref), first_time

    def capped(self, photo: Photo, fit: Fit, pixels: int) -> Photo:
        """A photo that was checked, to be made smaller than so many pixels besides."""
        seen = self._entry(photo.path, photo.ref).seen
        if seen.facts is None:
            return photo
        return replace(photo, fitting=fitting_of(seen.facts, seen.size, fit, pixels))

    def _entry(self, path: str, ref: str) -> _Entry:
        found = self._latest.get(path)
        if found is not None:
            self._latest.move_to_end(path)
            return found
        kept = self._scratch.photo(path)
        entry = _unpacked(kept) if kept else _Entry(ref, self._look(path, ref))
        if not kept:
            self._scratch.keep_photo(path, _packed(entry))
        self._latest[path] = entry
        if len(self._latest) > _IN_MEMORY:
            self._latest.popitem(last=False)
        return entry

    def _judged(self, entry: _Entry, path: str, fit: Fit) -> Checked:
        checked = _judge(entry.seen, path, entry.ref, fit)
        warnings = {flaw.message for flaw in checked.flaws if flaw.level is Level.WARNING}
        checked = replace(checked, flaws=tuple(flaw for flaw in checked.flaws if flaw.message not in entry.told))
        if not warnings <= entry.told:
            entry.told |= warnings
            self._scratch.keep_photo(path, _packed(entry))
        if len(entry.by_fit) < _MOST_FITS:
            entry.by_fit[fit] = checked
        return checked

    def _look(self, path: str, ref: str) -> _Seen:
        try:
            status = os.stat(path)  # noqa: PTH116 - a Path each would cost more than the call
        except (OSError, ValueError) as error:
            return _Seen(self._missing(path, ref, error))
        if not stat.S_ISREG(status.st_mode):
            what = "a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file"
            return _Seen(_bad(f"{ref} is {what}", "name an image file"))
        if status.st_size > LARGEST_SOURCE:
            return _Seen(too_heavy(ref, status.st_size))
        key = _memo_key(path, status)
        if remembered := self._remembered.get(key):
            facts, digest = _recall(remembered)
        else:
            try:
                facts, digest = _read(path, status, self._decoder)
            except NotAnImage as problem:
                return _Seen(unusable(ref, problem))
            except OSError as error:
                return _Seen(_bad(f"{ref} can't be read: {error.strerror}", "check its permissions"))
            self._learned[key] = orjson.dumps({"facts": asdict(facts), "digest": digest})
        return _Seen(None, facts, digest, status.st_size, status.st_mtime_ns, status.st_ino)

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
        """Tell the memo what was learned last. Whoever asks again is answered from the scratch."""
        if self._memo is not None and self._learned:
            self._memo.put(self._learned)
            self._learned = {}
        self._latest.clear()
        self._remembered = {}


def _bad(message: str, remedy: str) -> Flaw:
    return Flaw("", message, remedy, reason=Reason.BAD_IMAGE)


def _judge(seen: _Seen, path: str, ref: str, fit: Fit) -> Checked:
    facts = seen.facts
    if facts is None:
        return Checked(None, (seen.flaw,) if seen.flaw else ())
    photo = Photo(
        ref=ref,
        path=path,
        mime=facts.mime,
        size=seen.size,
        mtime_ns=seen.mtime_ns,
        inode=seen.inode,
        width=facts.width,
        height=facts.height,
        digest=seen.digest,
        fitting=fitting_of(facts, seen.size, fit),
    )
    return Checked(photo, tuple(photo_flaws(photo, facts, off=fit.off)))


def _read(path: str, status: os.stat_result, decoder: Decoder | None) -> tuple[ImageFacts, str]:
    hasher = blake3()
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - as above
        try:
            facts = inspect_image(file, along=hasher.update)
        except NotAnImage as problem:
            if decoder is None or problem.kind not in DECODABLE:
                raise
            facts, hasher = decoder.measure(path), blake3()
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


def _packed(entry: _Entry) -> bytes:
    return orjson.dumps({"ref": entry.ref, "seen": entry.seen, "told": sorted(entry.told)})


def _unpacked(packed: bytes) -> _Entry:
    values: dict[str, Any] = orjson.loads(packed)
    seen, flaw, facts = values["seen"], values["seen"]["flaw"], values["seen"]["facts"]
    if flaw:
        seen["flaw"] = Flaw(**{**flaw, "level": Level(flaw["level"]), "reason": Reason(flaw["reason"])})
    if facts:
        seen["facts"] = ImageFacts(**facts)
    return _Entry(values["ref"], _Seen(**seen), set(values["told"]))
