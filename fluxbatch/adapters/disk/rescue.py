"""The ``Rescue`` port: steps as lines of JSON, in the first of a few places that can be written."""

from __future__ import annotations

import errno
import json
import os
import stat
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from blake3 import blake3

from fluxbatch.adapters.hands import Hands
from fluxbatch.errors import StorageError
from fluxbatch.model.job import Failure, Lease, Step, Stored
from fluxbatch.model.state import Charge, JobState, Reason

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["FileRescue", "default_places"]

_APPEND: Final = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # no pipe may hold us up
_NEW: Final = os.O_CREAT | os.O_EXCL
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_PIECE: Final = 1 << 20
_OTHERS_WRITE: Final = 0o022
_OTHERS: Final = 0o077


def default_places(ledger: Path) -> list[Path]:
    """Where the steps of a ledger are rescued to: beside it, in the user's state folder, among temporary files. Brief.

    Elsewhere the name says by a digest which ledger it is.
    """
    name = f"rescue-{blake3(os.fsencode(ledger.resolve())).hexdigest()[:16]}.jsonl"
    places = [ledger.parent / "rescue.jsonl"]
    state = Path(os.environ.get("XDG_STATE_HOME", ""))
    with suppress(RuntimeError):  # a user without a home
        places.append((state if state.is_absolute() else Path.home() / ".local" / "state") / "fluxbatch" / name)
    places.append(Path(tempfile.gettempdir()) / f"fluxbatch-{os.geteuid()}" / name)
    return places


class FileRescue:
    """Steps in files that only their owner may read.

    Args:
        places: the files, by preference. The folder of the first has to be there: if it is gone, its disk may be, and
            what is written below the mount point is out of sight once the disk is back. Other folders are made.
    """

    def __init__(self, places: Sequence[Path]) -> None:
        self._places = tuple(places)
        self._read: set[Path] = set()  # what is there is known
        self._used: set[Path] = set()  # there are steps
        self._number = 0  # of the next step, over all places; 0: not known yet
        self._hand = Hands(1, "fluxbatch-rescue")  # one thing at a time

    async def keep(self, step: Step) -> None:
        """Keep one more step. Whoever is cancelled meanwhile has kept it."""
        await self._hand.do(self._keep, step)

    async def kept(self) -> list[Step]:
        """All steps that are kept, in order; files that others could have written are left out."""
        return await self._hand.do(self._kept)

    async def clear(self) -> None:
        """Remove the files, as far as their steps are known: read or written by this process.

        Raises:
            StorageError: one can't be removed.
        """
        await self._hand.do(self._clear)

    def where(self) -> str:
        """The files that are known to hold steps."""
        return ", ".join(str(place) for place in self._places if place in self._used)

    def _keep(self, step: Step) -> None:
        if not self._number:
            self._kept()
        line = json.dumps({"n": self._number, "step": asdict(step)}).encode() + b"\n"
        refusals: list[str] = []
        for place in self._places:
            try:
                if place != self._places[0]:
                    _make_folder(place.parent)
                _append(place, line)
            except OSError as error:
                refusals.append(f"{place}: {error.strerror or error}")
            else:
                self._number += 1
                self._read.add(place)
                self._used.add(place)
                return
        raise StorageError(
            f"what the ledger can't take can't be kept elsewhere either: {'; '.join(refusals)}",
            remedy="free space or mend one of these folders, then run the same command again",
        )

    def _kept(self) -> list[Step]:
        found: dict[bytes, tuple[int, Step]] = {}
        for place in self._places:
            try:
                lines = _lines(place)
            except OSError:
                continue
            self._read.add(place)
            steps = {line: numbered for line in lines if (numbered := _parse(line)) is not None}
            if steps:
                self._used.add(place)
            # a line may be in two places, if it was not known whether the first would last
            found |= steps
        self._number = max(self._number, 1, *(number + 1 for number, _ in found.values()))
        # a place may fail for a while: what came later can be in a better one
        return [step for _, step in sorted(found.values(), key=lambda numbered: numbered[0])]

    def _clear(self) -> None:
        stuck: list[str] = []
        for place in sorted(self._read):
            try:
                _remove(place)
            except OSError as error:
                stuck.append(f"{place}: {error.strerror or error}")
            else:
                self._read.discard(place)
                self._used.discard(place)
        if stuck:
            raise StorageError(
                f"steps that the ledger has taken can't be removed: {'; '.join(stuck)}",
                remedy="remove these files, then run the same command again",
            )


def _append(place: Path, line: bytes) -> None:
    with _folder(place.parent) as folder:
        try:
            fd = os.open(place.name, _APPEND | _NEW, 0o600, dir_fd=folder)
        except FileExistsError:
            fd = os.open(place.name, _APPEND, dir_fd=folder)
        try:
            _check_ours(fd, _OTHERS)
            _write(fd, line)
        finally:
            os.close(fd)
        # even if the file is not new: whoever made it may not have come to this
        os.fsync(folder)


def _write(fd: int, line: bytes) -> None:
    """Write a whole line, or nothing."""
    size = os.fstat(fd).st_size
    torn = size > 0 and os.pread(fd, 1, size - 1) != b"\n"
    data = memoryview(b"\n" + line if torn else line)
    try:
        while data:
            data = data[os.write(fd, data) :]
        os.fsync(fd)
    except OSError:
        with suppress(OSError):
            os.ftruncate(fd, size)
        raise


def _lines(place: Path) -> list[bytes]:
    with _folder(place.parent) as folder, _open_ours(place.name, folder) as fd:
        pieces: list[bytes] = []
        while piece := os.read(fd, _PIECE):
            pieces.append(piece)
    return b"".join(pieces).split(b"\n")


def _remove(place: Path) -> None:
    """Remove a file; durable on return."""
    with suppress(FileNotFoundError), _folder(place.parent) as folder:
        os.unlink(place.name, dir_fd=folder)
        os.fsync(folder)


@contextmanager
def _open_ours(name: str, folder: int) -> Iterator[int]:
    fd = os.open(name, _READ, dir_fd=folder)
    try:
        _check_ours(fd, _OTHERS_WRITE)
        yield fd
    finally:
        os.close(fd)


def _check_ours(fd: int, forbidden: int) -> None:
    """Refuse what is no file, or somebody else's, or more open to others than it may be."""
    facts = os.fstat(fd)
    if not stat.S_ISREG(facts.st_mode) or facts.st_uid != os.geteuid() or facts.st_mode & forbidden:
        raise OSError(errno.EPERM, "there is something else in its place, or it is open to others")


@contextmanager
def _folder(path: Path) -> Iterator[int]:
    """An open folder; where everybody may make one, as among temporary files, only one of our own."""
    shared = path.parent.stat().st_mode & stat.S_IWOTH
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | (os.O_NOFOLLOW if shared else 0))
    try:
        if shared and os.fstat(fd).st_uid != os.geteuid():
            raise OSError(errno.EPERM, "its folder is somebody else's")
        yield fd
    finally:
        os.close(fd)


def _make_folder(path: Path) -> None:
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir(mode=0o700, exist_ok=True)
        fd = os.open(folder.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _parse(line: bytes) -> tuple[int, Step] | None:
    """A step and its number; None for what a crash has torn, or what is none."""
    try:
        facts = json.loads(line)
        return int(facts["n"]), _step(facts["step"])
    except (ValueError, KeyError, TypeError):
        return None


def _step(facts: dict[str, Any]) -> Step:
    lease, stored, failure = facts["lease"], facts["stored"], facts["failure"]
    known: dict[str, Any] = {
        "frm": JobState(facts["frm"]),
        "to": JobState(facts["to"]),
        "charge": Charge(facts["charge"]),
        "lease": lease and Lease(**lease),
        "stored": stored and Stored(**stored),
        "failure": failure and Failure(**failure | {"reason": Reason(failure["reason"])}),
    }
    return Step(**facts | known)
