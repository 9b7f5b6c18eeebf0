"""Lock files, written anew from the ledger at the end of a run."""

from __future__ import annotations

import os
import secrets
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import anyio.to_thread
import orjson

from fluxbatch.errors import StorageError
from fluxbatch.model.state import JobState
from fluxbatch.planning.flaw import Unreadable
from fluxbatch.planning.lockfile import LockEntry, lock_lines, read_lock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

    from fluxbatch.model.job import Record

__all__ = ["write_locks"]

_BATCH = 500

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
    with closing(sqlite3.connect("", check_same_thread=False, isolation_level=None)) as db:
        db.execute(
            "CREATE TABLE entry (path TEXT, manifest TEXT, id TEXT, body BLOB, PRIMARY KEY (path, manifest, id))"
        )
        batch: list[_Line] = []
        async for record in rows:
            path = locks.get(record.job.manifest)
            if path is not None:
                batch.append((str(path), Path(record.job.manifest).name, record.job.id, _entry(record)))
            if len(batch) >= _BATCH:
                await anyio.to_thread.run_sync(_add, db, batch)
                batch = []
        await anyio.to_thread.run_sync(_add, db, batch)
        await anyio.to_thread.run_sync(_write_all, db, locks)


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


def _write_all(db: sqlite3.Connection, locks: Mapping[str, Path]) -> None:
    for path in sorted(set(locks.values())):
        mine = {Path(manifest).name for manifest, its in locks.items() if its == path}
        try:
            for entry in read_lock(path):
                _keep(db, path, entry, mine)
            _write(path, lock_lines(_sorted(db, path)))
        except Unreadable as problem:
            raise StorageError(
                f"{path}:{problem.line}: {problem.message}, and was left as it is", remedy=problem.remedy
            ) from problem
        except OSError as error:
            raise StorageError(
                f"{path} can't be written: {error.strerror or error}", remedy="mend its folder, then run again"
            ) from error


def _sorted(db: sqlite3.Connection, path: Path) -> Iterator[LockEntry]:
    query = "SELECT body FROM entry WHERE path = ? AND body IS NOT NULL ORDER BY manifest, id"
    for (body,) in db.execute(query, (str(path),)):
        yield LockEntry(**orjson.loads(body))


def _write(path: Path, lines: Iterator[bytes]) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.new")
    try:
        with temporary.open("wb") as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
        if path.exists() and path.read_bytes() == temporary.read_bytes():
            return
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
