"""What stands in for the words of manifests: read before each plan, decided by runs that make rejected images again.

A run puts what it decides on record before it sends anything, so that whatever ends it, the next one goes on with it,
asked to remake or not: the same seed, the same prompt, the same fingerprint, nothing bought twice.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio.to_thread

from fluxbatch.adapters.clock import SystemClock
from fluxbatch.adapters.disk.earlier import earlier_name
from fluxbatch.app.remakes import RemakeFile
from fluxbatch.app.verdicts import VerdictFile, folder_of, own_name
from fluxbatch.errors import PhotoError
from fluxbatch.model.review import Verdict
from fluxbatch.model.state import JobState
from fluxbatch.planning.overlay import Overlay, Rejected
from fluxbatch.ports import Disposition

if TYPE_CHECKING:
    from pathlib import Path

    from fluxbatch.app.decided import Decided
    from fluxbatch.app.folder import Paths
    from fluxbatch.app.heritage import View
    from fluxbatch.app.request import RunRequest
    from fluxbatch.model.job import Json, Stored
    from fluxbatch.planning.intake import Intake
    from fluxbatch.planning.remakes import Remake, Remakes
    from fluxbatch.ports import Sink

__all__ = ["Remaking", "find_rejected", "lay_over"]

_UNDER_WAY: Final = frozenset({JobState.SUBMITTED, JobState.GENERATED})
_PAGE: Final = 500


def lay_over(intake: Intake, request: RunRequest, paths: Paths) -> None:
    """Give an intake that is staged what was decided before, and whatever its lock files say is rejected. Blocks.

    Raises:
        UsageError: a line of ``remakes.jsonl`` or ``reviews.jsonl`` is broken.
        StorageError: one can't be read.
    """
    for name in intake.names:
        folder = folder_of(paths, name, simulated=request.simulate)
        file = RemakeFile(folder)
        file.refresh()
        overlay = intake.overlays[name] = Overlay(file.remakes, file=str(file.path), asks_for=intake.asks_for)
        if request.settings.remake_rejected:
            verdicts = _verdicts(folder)
            overlay.max_rounds = request.settings.max_rounds
            overlay.by, overlay.now_s = own_name(folder), SystemClock().now()
            ids = sorted(intake.asks_for(sorted(verdicts.verdicts.ids(Verdict.REJECTED))))
            locked = intake.locked_now(name, ids)
            overlay.rejected = {
                job_id: _rejected(job_id, stored, None, file.remakes)
                for job_id, images in locked.items()
                for stored in images
                if _is_rejected(verdicts, job_id, stored)
            }


async def find_rejected(intake: Intake, request: RunRequest, paths: Paths, ledger: View) -> None:
    """Tell an intake which images of an output folder are rejected; what the ledger says goes before lock files.

    Raises:
        UsageError, StorageError: as ``lay_over``.
    """
    if not request.settings.remake_rejected:
        return
    for name in intake.names:
        folder = await anyio.to_thread.run_sync(partial(folder_of, paths, name, simulated=request.simulate))
        verdicts = await anyio.to_thread.run_sync(_verdicts, folder)
        asked = partial(intake.asks_for, sorted(verdicts.verdicts.ids(Verdict.REJECTED)))
        ids = sorted(await anyio.to_thread.run_sync(asked))
        overlay = intake.overlays[name]
        found = dict(overlay.rejected)
        for start in range(0, len(ids), _PAGE):
            for job_id, record in (await ledger.recall(ids[start : start + _PAGE])).items():
                found.pop(job_id, None)
                stored = record.stored
                is_mine = record.job.manifest == name and record.state not in _UNDER_WAY
                if stored is not None and is_mine and _is_rejected(verdicts, job_id, stored):
                    prompt = record.job.fields.get("prompt")
                    found[job_id] = _rejected(job_id, stored, prompt, overlay.remakes)
        overlay.rejected = found


class Remaking:
    """What a run makes in place of rejected images. ``note`` is told of each job of its plan."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._new: dict[str, list[Remake]] = {}
        self._giving_way: dict[str, Stored] = {}

    def note(self, one: Decided) -> None:
        """Take a job that was decided on."""
        remake = self._intake.remake_of(one.job)
        if remake is None or not one.selected or one.decision.disposition is not Disposition.MAKE:
            return
        stored = one.record.stored if one.record is not None else None
        if stored is not None and stored.sha256 == remake.sha256:
            self._giving_way[earlier_name(stored.sha256)] = stored
        if one.job.id in self._intake.overlays[one.job.manifest].decided:
            self._new.setdefault(one.job.manifest, []).append(remake)

    async def put_on_record(self, request: RunRequest, paths: Paths, sink: Sink) -> None:
        """Keep the images that give way, then write down what is new, before anything is sent.

        Raises:
            StorageError: it can't be written.
        """
        kept = await sink.taken(list(self._giving_way))
        for name, stored in self._giving_way.items():
            if name not in kept:
                with suppress(PhotoError):  # what is gone or was edited can't be kept
                    await sink.copy(stored, name)
        for name, remakes in self._new.items():
            folder = await anyio.to_thread.run_sync(partial(folder_of, paths, name, simulated=request.simulate))
            await anyio.to_thread.run_sync(RemakeFile(folder).append, remakes)


def _verdicts(folder: Path) -> VerdictFile:
    file = VerdictFile(folder)
    file.refresh()
    return file


def _is_rejected(file: VerdictFile, job_id: str, stored: Stored) -> bool:
    review = file.verdicts.of(job_id, stored.sha256)
    return review is not None and review.verdict is Verdict.REJECTED


def _rejected(job_id: str, stored: Stored, prompt: Json, remakes: Remakes) -> Rejected:
    wish = remakes.wish(job_id, stored.sha256)
    return Rejected(
        stored.sha256,
        stored.fingerprint,
        prompt if isinstance(prompt, str) else None,
        (wish.prompt or "") if wish is not None else "",
    )
