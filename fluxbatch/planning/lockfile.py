"""``fluxbatch.lock``: what a repository knows of its images, so that a fresh checkout needs no ledger to keep them.

A line a job, in the order of manifest and id, each on its own: so it merges as other text does.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from types import NoneType
from typing import TYPE_CHECKING, Any, Final

import orjson

from fluxbatch.formats import EXTENSIONS
from fluxbatch.model.job import Stored
from fluxbatch.planning.flaw import Unreadable
from fluxbatch.planning.ids import unsafe_name
from fluxbatch.planning.scratch import among, translated

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from fluxbatch.planning.scratch import Scratch

__all__ = ["LOCK_NAME", "LockBook", "LockEntry", "lock_lines", "read_lock"]

LOCK_NAME: Final = "fluxbatch.lock"

_VERSION: Final = 1
_HEADER: Final = {"lock": _VERSION, "about": "written by fluxbatch run; commit it together with the images"}
_MARKERS: Final = (b"<<<<<<<", b"=======", b">>>>>>>", b"|||||||")
_BATCH: Final = 500
_LONGEST_LINE: Final = 1 << 16
_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    **dict.fromkeys(("manifest", "id", "fingerprint", "file", "sha256", "model"), (str,)),
    **dict.fromkeys(("bytes", "width", "height"), (int,)),
    "seed": (int, NoneType),
}


@dataclass(frozen=True, slots=True)
class LockEntry:
    """An image that is there for a job. Attributes as in ``model.job.Stored``; ``manifest`` is a file name."""

    manifest: str
    id: str
    fingerprint: str
    file: str
    sha256: str
    bytes: int
    width: int
    height: int
    model: str
    seed: int | None

    @property
    def stored(self) -> Stored:
        """The image, as the ledger would have it."""
        return Stored(
            self.file,
            self.sha256,
            self.bytes,
            self.width,
            self.height,
            fingerprint=self.fingerprint,
            model=self.model,
            seed=self.seed,
        )


def lock_lines(entries: Iterable[LockEntry]) -> Iterator[bytes]:
    """The lines of a lock file, from entries in the order of manifest and id."""
    yield orjson.dumps(_HEADER) + b"\n"
    for entry in entries:
        yield orjson.dumps(asdict(entry)) + b"\n"


def read_lock(path: Path) -> Iterator[LockEntry]:
    """The entries of a lock file; none if there is no such file.

    Raises:
        Unreadable: it is not what ``lock_lines`` writes.
        OSError: it can't be read.
    """
    if not path.exists():
        return
    if not path.is_file():
        raise Unreadable(0, "is not a regular file", "remove it: the next run writes it anew")
    with path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(_LONGEST_LINE), b""), 1):
            if line.isspace():
                continue
            facts = _facts(line, number)
            if "lock" in facts:
                if facts["lock"] != _VERSION:
                    raise Unreadable(number, f"is of version {facts['lock']}", "use the fluxbatch that wrote it")
                continue
            yield _entry(facts, number)


_REMEDY: Final = "remove the line: the next run writes it anew"


def _entry(facts: dict[str, Any], number: int) -> LockEntry:
    """An entry; the file may come with somebody's pull request, so that it is to name nothing outside the folder."""
    is_one = facts.keys() == _TYPES.keys() and all(type(facts[name]) in types for name, types in _TYPES.items())
    stem, _, extension = str(facts.get("file")).rpartition(".")
    if not is_one or extension not in EXTENSIONS or unsafe_name(stem):
        raise Unreadable(number, "is no entry of a lock file", _REMEDY)
    return LockEntry(**facts)


def _facts(line: bytes, number: int) -> dict[str, Any]:
    if line.startswith(_MARKERS):
        remedy = "keep the lines of both sides, and remove the markers"
        raise Unreadable(number, "holds a merge conflict", remedy)
    try:
        facts = orjson.loads(line)
    except orjson.JSONDecodeError:
        facts = None
    if not isinstance(facts, dict):
        raise Unreadable(number, "is no entry of a lock file", _REMEDY)
    return facts


class LockBook:
    """The lock entries of all manifests of a scratch."""

    def __init__(self, scratch: Scratch) -> None:
        self._db = scratch.db
        self.empty = True

    def load(self, path: Path, manifest: str, source: str) -> None:
        """Take in the entries of a manifest; ``source`` is its name in the ledger.

        Raises:
            Unreadable: the file is no lock file.
            OSError: it can't be read.
        """
        with translated():
            # a merge of two branches may leave a job's lines of both
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS locked"
                " (id TEXT, fingerprint TEXT, sha256 TEXT, source TEXT, body BLOB,"
                " PRIMARY KEY (id, fingerprint, sha256, source))"
            )
        batch: list[tuple[str, str, str, str, bytes]] = []
        for entry in read_lock(path):
            if entry.manifest == manifest:
                batch.append((entry.id, entry.fingerprint, entry.sha256, source, orjson.dumps(asdict(entry))))
                self.empty = False
            if len(batch) >= _BATCH:
                self._add(batch)
        self._add(batch)

    def stored(self, jobs: Sequence[tuple[str, str, str]]) -> dict[str, list[Stored]]:
        """The images that are locked for these jobs (id, source, fingerprint), by id.

        Those with its fingerprint come first; the others are of the job as it once was.
        """
        if self.empty:
            return {}
        wanted = {job_id: (source, fingerprint) for job_id, source, fingerprint in jobs}
        found: dict[str, list[Stored]] = {}
        for job_id, source, body in among(self._db, "SELECT id, source, body FROM locked", list(wanted)):
            entry = LockEntry(**orjson.loads(body))
            if source == wanted[job_id][0]:
                found.setdefault(job_id, []).append(entry.stored)
        for job_id, images in found.items():
            fingerprint = wanted[job_id][1]
            images.sort(key=lambda stored: (stored.fingerprint != fingerprint, stored.fingerprint))
        return found

    def unasked(self) -> Iterator[tuple[str, Stored]]:
        """Images that are locked for ids that no job has."""
        if self.empty:
            return
        with translated():
            query = "SELECT id, body FROM locked WHERE id NOT IN (SELECT id FROM row)"
            found = self._db.execute(query)
        for job_id, body in found:
            yield job_id, LockEntry(**orjson.loads(body)).stored

    def _add(self, batch: list[tuple[str, str, str, str, bytes]]) -> None:
        with translated():
            self._db.executemany("INSERT OR REPLACE INTO locked VALUES (?, ?, ?, ?, ?)", batch)
        batch.clear()
