"""Lock files, written anew from the ledger at the end of a run."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import sqlite3
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, TypeAlias

import anyio
import anyio.to_thread
import orjson

from fluxbatch.adapters.disk.folders import sync_folder
from fluxbatch.errors import StorageError
from fluxbatch.model.state import JobState
from fluxbatch.planning.flaw import Unreadable
from fluxbatch.planning.lockfile import LockEntry, lock_lines, read_lock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

    from fluxbatch.model.job import Record

__all__ = ["write_locks"]

_BATCH: Final = 500
_PIECE: Final = 1 << 20
_PATIENCE_S: Final = 30.0
"""how long another run may be at a lock file"""
_LOOK_EVERY_S: Final = 0.05
_NO_LOCKS: Final = frozenset({errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS})
"""what network filesystems say that can't lock a file"""

_Line: TypeAlias = "tuple[str, str, str, LockEntry | None]"
"""lock file, manifest, id, and what is to be said"""


async def write_locks(locks: Mapping[str, Path], rows: AsyncIterator[Record]) -> None:
    """Bring lock files up to date; a file that says the same already is left alone.

    Args:
        locks: by the manifests whose jobs they are about. What they say of other manifests stays.
        rows: the present jobs of the folder.

    Raises:
        StorageError: one can't be written.
    """
    if not locks:
        return
    with closing(await anyio.to_thread.run_sync(_scratch)) as db:
        batch: list[_Line] = []
        async for record in rows:
            path = locks.get(record.job.manifest)
            if path is not None:
                batch.append((str(path), Path(record.job.manifest).name, record.job.id, _entry(record)))
            if len(batch) >= _BATCH:
                await anyio.to_thread.run_sync(_add, db, batch)
                batch = []
        await anyio.to_thread.run_sync(_add, db, batch)
        for path in sorted(set(locks.values())):
            mine = {Path(manifest).name for manifest, its in locks.items() if its == path}
            await _write(db, path, mine)


async def _write(db: sqlite3.Connection, path: Path, mine: set[str]) -> None:
    """Write a lock file as soon as no other run is at it, which takes each a moment."""
    with anyio.move_on_after(_PATIENCE_S):
        while not await anyio.to_thread.run_sync(_write_one, db, path, mine):  # noqa: ASYNC110  # it is another process
            await anyio.sleep(_LOOK_EVERY_S)
        return
    raise StorageError(
        f"{path} can't be written: for {_PATIENCE_S:g} s another run is at it",
        remedy="when that has ended, run the same command again: nothing is sent for it",
    )


def _entry(record: Record) -> LockEntry | None:
    """The entry of an image that is what is asked for."""
    job, stored = record.job, record.stored
    if stored is None or record.state is not JobState.STORED or stored.fingerprint != job.fingerprint:
        return None
    seed = stored.seed if stored.seed is not None else job.fields.get("seed")
    return LockEntry(
        manifest=Path(job.manifest).name,
        id=job.id,
        fingerprint=job.fingerprint,
        file=stored.file,
        sha256=stored.sha256,
        bytes=stored.bytes,
        width=stored.width,
        height=stored.height,
        model=stored.model or job.model,
        seed=seed if isinstance(seed, int) else None,
    )


def _scratch() -> sqlite3.Connection:
    """Entries by the file that they belong to, on disk: there may be a million."""
    db = sqlite3.connect("", check_same_thread=False, isolation_level=None)
    db.execute("CREATE TABLE entry (path TEXT, manifest TEXT, id TEXT, body BLOB, PRIMARY KEY (path, manifest, id))")
    return db


def _add(db: sqlite3.Connection, batch: Sequence[_Line]) -> None:
    """Jobs without an image that is asked for are lines without an entry."""
    values = [(*place, None if entry is None else orjson.dumps(entry)) for *place, entry in batch]
    db.executemany("INSERT OR IGNORE INTO entry VALUES (?, ?, ?, ?)", values)


def _keep(db: sqlite3.Connection, path: Path, entry: LockEntry, mine: set[str]) -> None:
    """Keep what was said before: of other manifests, and of jobs that are asked for and have nothing newer to say."""
    place = (str(path), entry.manifest, entry.id)
    if entry.manifest not in mine:
        _add(db, [(*place, entry)])
    else:
        body = orjson.dumps(entry)
        db.execute(
            "UPDATE entry SET body = ? WHERE path = ? AND manifest = ? AND id = ? AND body IS NULL", (body, *place)
        )


def _write_one(db: sqlite3.Connection, path: Path, mine: set[str]) -> bool:
    """Write a lock file anew; False if another run is at it."""
    try:
        with _successor(path) as file:
            if file is None:
                return False
            for entry in read_lock(path):
                _keep(db, path, entry, mine)
            file.writelines(lock_lines(_sorted(db, path)))
    except Unreadable as problem:
        raise StorageError(
            f"{path}:{problem.line}: {problem.message}, and was left as it is", remedy=problem.remedy
        ) from problem
    except OSError as error:
        where = f" ({error.filename})" if error.filename and str(error.filename) != str(path) else ""
        raise StorageError(
            f"{path} can't be written: {error.strerror or error}{where}", remedy="mend its folder, then run again"
        ) from error
    return True


def _sorted(db: sqlite3.Connection, path: Path) -> Iterator[LockEntry]:
    query = "SELECT body FROM entry WHERE path = ? AND body IS NOT NULL ORDER BY manifest, id"
    for (body,) in db.execute(query, (str(path),)):
        yield LockEntry(**orjson.loads(body))


@contextmanager
def _successor(path: Path) -> Iterator[BinaryIO | None]:
    """A new file that takes the place of a lock file at the end, durably, unless it says the same.

    Manifests with output folders of their own may share a lock file: from reading the old one to placing the new one,
    it is one run's alone; None while it is another's. The new one always has the same name, so that what a killed run
    left behind is taken up by the next; and it is locked by the system, which lets go of it with the process.

    Raises:
        OSError: it can't be written.
    """
    opened = _opened(path.with_name(f".{path.name}.new"))
    if opened is None:
        yield None
        return
    file, new = opened
    with file:
        try:
            yield file
            file.flush()
            if _says_the_same(path, file):
                new.unlink()
                return
            os.fsync(file.fileno())
            new.replace(path)
        except BaseException:
            new.unlink(missing_ok=True)  # still ours: who waits for it looks whether it is there
            raise
    sync_folder(path.parent)


def _opened(path: Path) -> tuple[BinaryIO, Path] | None:
    """A file, made if need be, that nobody else holds, empty, and where it is; None while another run holds it.

    Where files can't be locked, each run has one of its own, and the last one to finish has its say.
    """
    file = _open(path, os.O_NOFOLLOW)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        if error.errno in _NO_LOCKS:
            own = path.with_name(f"{path.name}-{secrets.token_hex(4)}")
            return _open(own, os.O_EXCL), own
        if error.errno not in {errno.EAGAIN, errno.EACCES}:
            raise
        return None
    if not _is_at(file, path):  # by now it is the lock file itself, or gone
        file.close()
        return None
    file.truncate()
    return file, path


def _open(path: Path, flags: int) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | flags, 0o666), "r+b")


def _is_at(file: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.lstat())
    except FileNotFoundError:
        return False


def _says_the_same(path: Path, file: BinaryIO) -> bool:
    if not path.exists() or path.stat().st_size != file.tell():
        return False
    file.seek(0)
    with path.open("rb") as old:
        while piece := file.read(_PIECE):
            if piece != old.read(_PIECE):
                return False
    return True
