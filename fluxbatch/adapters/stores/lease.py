"""A mark in a store that says which run fills it, so that two machines don't pay for the same jobs.

A lock would outlive a run that is killed. The mark is renewed instead, and whoever finds another's watches it for as
long as it may stay unrenewed: one that changes is alive, one that doesn't is taken over. No clocks are compared. A run
whose state folder is the mark's takes it over at once: the lock of that folder says that the earlier run is gone.

A run that could not renew its mark for long, asleep or cut off, may have been taken for dead: it must not send until it
has found its mark as it left it (``StoreLease.is_fresh``). One that is gone by then was taken over by a run that has
ended since.
"""

from __future__ import annotations

import socket
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

import anyio
import orjson

from fluxbatch.adapters.stores.faults import Conflict
from fluxbatch.errors import FolderInUse, StorageError
from fluxbatch.telemetry.redact import clean

if TYPE_CHECKING:
    from collections.abc import Callable

    from fluxbatch.adapters.stores.bucket import Bucket, Seen
    from fluxbatch.ports import Clock

__all__ = ["MARK", "StoreLease"]

MARK: Final = ".fluxbatch-run"
"""the name of the mark"""
_BEAT_S: Final = 20.0
_LIFE_S: Final = 90.0
"""four renewals may fail before others take a run for dead"""
_FRESH_SHARE: Final = 2 / 3
"""of that time: what was sent by then is mostly answered when others may begin"""
_SETTLE_S: Final = 2.0
"""in a store without conditions, two who write at the same moment see each other after this"""
_LAST_WORDS_S: Final = 5.0
_LONGEST: Final = 4096
_SHOWN: Final = 100


@dataclass(frozen=True, slots=True)
class _Mark:
    """What a mark says: of whom, and since when (epoch seconds, for people)."""

    owner: str
    run_id: str
    host: str
    renewed_at: float
    beat: int


class StoreLease:
    """One run's claim on a place in a store.

    Args:
        bucket: the place; what it holds to has been found out.
        owner: of the state folder: the same for all its runs, and for those of no other.
        run_id: of the run.
        clock: for the moments on the mark.
        beat_s: seconds between renewals.
        life_s: for how long another's mark may stay as it is, until that run is taken for dead.
        settle_s: how long is waited for others in a store without conditions.
    """

    def __init__(
        self,
        bucket: Bucket,
        *,
        owner: str,
        run_id: str,
        clock: Clock,
        beat_s: float = _BEAT_S,
        life_s: float = _LIFE_S,
        settle_s: float = _SETTLE_S,
    ) -> None:
        self._bucket, self._owner, self._run_id, self._clock = bucket, owner, run_id, clock
        self._beat_s, self._life_s, self._settle_s = beat_s, life_s, settle_s
        self._seen: Seen | None = None
        self._renewed = (float("-inf"), float("-inf"))
        self._beats = 0

    @property
    def is_fresh(self) -> bool:
        """Whether the place is surely still this run's; if not, nothing may be sent until ``keep`` has renewed it."""
        return self._unrenewed_s() < self._life_s * _FRESH_SHARE

    async def take(self, tell: Callable[[str], None]) -> None:
        """Claim the place; ``tell`` hears what is waited for, if anything is.

        Raises:
            FolderInUse: another run is alive there.
            StorageError: the store is in trouble.
        """
        watched, since = "", 0.0
        while True:
            found = await self._look()
            if found is not None and found[1].owner != self._owner:
                seen, mark = found
                if not watched:
                    watched, since = seen.etag, self._clock.monotonic()
                    tell(f"{self._whose(mark)} was here: waiting up to {self._life_s:.0f} s for a sign of life")
                if seen.etag != watched:
                    raise self._in_use(mark)
                if self._clock.monotonic() - since < self._life_s:
                    await anyio.sleep(min(self._beat_s, self._life_s) / 10)
                    continue
            if await self._write(None if found is None else found[0]) and await self._settled():
                return

    async def keep(
        self, *, renewed: Callable[[], None], lost: Callable[[str], None], away: Callable[[StorageError], None]
    ) -> None:
        """Renew the mark until cancelled.

        Args:
            renewed: is called after each renewal.
            lost: is told whose the place is now, and that is the end.
            away: is told why the mark could not be renewed for so long that others may have taken the place.
        """
        while True:
            await anyio.sleep(self._beat_s)
            try:
                if self._seen is None or not await self._write(self._seen):
                    found = await self._look()
                    if found is None and self._may_be_lost():  # by now: a renewal may have slept on its way
                        lost("another run, which has ended,")
                        return
                    if found is not None and found[1].run_id != self._run_id:
                        lost(self._whose(found[1]))
                        return
                    # removed by somebody; or a renewal whose answer was lost
                    self._seen = None if found is None else found[0]
                    if not await self._write(self._seen):
                        continue  # somebody else's, just now: the next look will tell
            except StorageError as error:
                if self._may_be_lost():
                    away(error)
                continue
            renewed()

    async def release(self) -> None:
        """Remove the mark, if it is still ours. A store that is away keeps nobody waiting: others find out."""
        with anyio.move_on_after(_LAST_WORDS_S, shield=True):
            try:
                found = await self._look()
                if found is not None and found[1].run_id == self._run_id:
                    await self._bucket.delete(MARK)
            except StorageError:
                return

    async def _write(self, instead_of: Seen | None) -> bool:
        """Put our mark in place of what was seen; False if something else is there by now."""
        self._beats += 1
        begun = self._clock.now(), self._clock.monotonic()
        mark = _Mark(self._owner, self._run_id, socket.gethostname(), self._clock.now(), self._beats)
        data = orjson.dumps(asdict(mark))
        try:
            self._seen = await self._bucket.put(MARK, data, instead_of=instead_of, mime="application/json", said={})
        except Conflict:
            return False
        self._renewed = begun
        return True

    def _may_be_lost(self) -> bool:
        """Whether others may have taken this run for dead."""
        return self._unrenewed_s() >= self._life_s

    def _unrenewed_s(self) -> float:
        """Seconds since the mark was renewed, by the clock that shows more: one of them may stand still in sleep."""
        now, ticks = self._clock.now(), self._clock.monotonic()
        return max(now - self._renewed[0], ticks - self._renewed[1])

    async def _settled(self) -> bool:
        """Whether nobody else has written at the same moment, where the store itself sees to nothing."""
        if self._bucket.creates and self._bucket.updates:
            return True
        await anyio.sleep(self._settle_s)
        found = await self._look()
        return found is not None and found[1].run_id == self._run_id

    async def _look(self) -> tuple[Seen, _Mark] | None:
        found = await self._bucket.read(MARK)
        if found is None:
            return None
        data = b""
        async for piece in found[1]:
            data += piece
            if len(data) > _LONGEST:
                break
        try:
            mark = _Mark(**orjson.loads(data))
        except (ValueError, TypeError):
            mark = _Mark("?", "", "", 0.0, 0)  # whoever wrote that: it can be watched like any other
        return found[0].seen, mark

    def _whose(self, mark: _Mark) -> str:
        host = clean(str(mark.host), limit=_SHOWN) or "an unknown machine"
        return f"the run {clean(str(mark.run_id), limit=_SHOWN) or '?'} on {host}"

    def _in_use(self, mark: _Mark) -> FolderInUse:
        return FolderInUse(
            f"{self._bucket.address} is in use by {self._whose(mark)}",
            remedy="wait until it has ended; --shared lets several runs in, whose jobs must differ",
        )
