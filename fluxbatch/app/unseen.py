"""A plan for an object store that nobody here may look into: in the CI of a fork, which has no secrets."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NoReturn

import anyio.to_thread

from fluxbatch.app.folder_state import sink_of
from fluxbatch.errors import StorageError, UsageError
from fluxbatch.model.problem import Level, Problem, Where
from fluxbatch.ports import Presence

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fluxbatch.app.folder import Paths
    from fluxbatch.model.job import Photo, PlannedJob, Stored
    from fluxbatch.planning.findings import Findings
    from fluxbatch.ports import Landing, Sink

__all__ = ["sink_to_plan_with"]


async def sink_to_plan_with(paths: Paths, findings: Findings, *, kind: str, ca_file: Path | None) -> Sink:
    """Where the images of a folder are, to be looked at for a plan that may not be run.

    Without any credentials for an object store, what the ledger knows counts as there and all else as new, and a
    warning says so. Credentials that are wrong are an error, as for a run.

    Raises:
        UsageError: the store can't be opened.
        StorageError: it can't be looked into.
    """
    try:
        sink = await anyio.to_thread.run_sync(partial(sink_of, paths, kind=kind, ca_file=ca_file))
        if paths.store is not None:
            await sink.taken(["-"])  # it is listed, as it would be by the first job
    except (UsageError, StorageError) as error:
        from fluxbatch.adapters.stores.faults import Unsigned

        if not isinstance(error, Unsigned):
            raise
        words = "can't be looked into: there are no credentials; all images that the ledger doesn't know count as new"
        findings.add(Problem(Where(str(paths.place)), words, error.remedy, level=Level.WARNING))
        return _Unseen(error)
    return sink


class _Unseen:
    """The ``Sink`` port as far as a plan asks it; all else is refused."""

    def __init__(self, error: UsageError | StorageError) -> None:
        self._error = error

    async def check(self, stored: Sequence[Stored]) -> list[Presence]:
        """As on record."""
        return [Presence.SAME for _ in stored]

    async def taken(self, _filenames: Sequence[str]) -> dict[str, str]:
        """Nothing that is known of."""
        return {}

    async def known(self, _jobs: Sequence[PlannedJob]) -> dict[str, Stored]:
        """Nothing."""
        return {}

    async def landed(self, _filename: str, _since: float, _job: PlannedJob | None = None) -> Stored | None:
        """Nothing."""
        return None

    async def unrecorded(self, _job: PlannedJob, _since: float) -> Stored | None:
        """Nothing."""
        return None

    async def room(self) -> int:
        """None."""
        return 0

    async def land(self) -> Landing:
        """Refused."""
        self._refuse()

    async def adopt(self, _path: Path) -> Landing:
        """Refused."""
        self._refuse()

    async def photo(self, _stored: Stored) -> Photo:
        """Refused."""
        self._refuse()

    async def copy(self, _stored: Stored, _filename: str, _job: PlannedJob | None = None) -> Stored:
        """Refused."""
        self._refuse()

    async def remove(self, _stored: Stored) -> bool:
        """Refused."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise self._error
