"""Steps on their way to the ledger; what it can't take waits in the rescue file, which outlives us."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio

from fluxbatch.errors import StepRefused, StorageError
from fluxbatch.unbroken import unbroken

if TYPE_CHECKING:
    from collections.abc import Callable

    from fluxbatch.model.job import Step
    from fluxbatch.model.state import JobState
    from fluxbatch.ports import Ledger, Rescue

__all__ = ["Books"]


class Books:
    """Keeps every step durable, in order.

    Args:
        ledger: the durable truth.
        rescue: for what the ledger can't take.
        trouble: is told when the ledger can't be written, although the step was kept.
    """

    def __init__(self, ledger: Ledger, rescue: Rescue, trouble: Callable[[StorageError], None]) -> None:
        self._ledger = ledger
        self._rescue = rescue
        self._trouble = trouble
        self._behind: deque[Step] = deque()
        self._lock = anyio.Lock()

    @property
    def behind(self) -> int:
        """Steps that the ledger has not taken yet."""
        return len(self._behind)

    def ends(self) -> dict[str, tuple[JobState, Step]]:
        """By job, what the ledger is behind with: the state that it still sees, and the last step from there."""
        found: dict[str, tuple[JobState, Step]] = {}
        for step in self._behind:
            first, _ = found.get(step.job_id, (step.frm, step))
            found[step.job_id] = first, step
        return found

    async def take(self, step: Step) -> None:
        """Make a step durable that money depends on. Whoever is cancelled meanwhile has done so.

        Raises:
            StepRefused: the job is not where the step begins.
            StorageError: neither the ledger nor the rescue can be written.
        """
        try:
            if self._behind:
                await unbroken(self.catch_up())
            await self._ledger.advance(step)
        except StorageError as error:
            await unbroken(self._keep(step))
            self._trouble(error)

    async def _keep(self, step: Step) -> None:
        async with self._lock:  # or it could be cleared before it is in line
            await self._rescue.keep(step)
            self._behind.append(step)

    async def catch_up(self) -> None:
        """Bring the ledger up to date.

        Raises:
            StorageError: it still can't be written.
        """
        if not self._behind:
            return
        async with self._lock:
            while self._behind:
                await self._replay(self._behind[0])
                self._behind.popleft()
            with suppress(StorageError):  # what is left there does no harm: it fits nothing any more
                await self._rescue.clear()

    async def recover(self) -> tuple[int, int]:
        """Take up what earlier runs kept. Returns how many steps the ledger took, and how many it had already.

        Relies on every run having looked here first: a step that an earlier run could not see might fit a later
        request.

        Raises:
            StorageError: the ledger can't be written, or knows nothing of these jobs; they stay where they are. Or what
                it has taken can't be removed.
        """
        kept = await self._rescue.kept()
        if not kept:
            return 0, 0
        jobs = {step.job_id for step in kept}
        strange = jobs - (await self._ledger.recall(list(jobs))).keys()
        if strange:
            where = self._rescue.where()
            raise StorageError(
                f"{where}: {len(strange)} jobs were paid for that the ledger knows nothing of",
                remedy="is its disk mounted? To begin anew without them, remove that file",
            )
        fitting = [await self._replay(step) for step in kept]
        await self._rescue.clear()
        return sum(fitting), len(fitting) - sum(fitting)

    async def _replay(self, step: Step) -> bool:
        try:
            await self._ledger.advance(step)
        except StepRefused:
            # it was committed after all, by a write that was reported as failed
            return False
        return True
