"""Keeping an output folder in order: images that are no longer asked for, and files that came from elsewhere."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio.to_thread

from fluxbatch.adapters.clock import SystemClock
from fluxbatch.app.flags import FlagFinder
from fluxbatch.app.folder import Paths
from fluxbatch.app.folder_state import hold, try_store
from fluxbatch.app.locks import write_locks
from fluxbatch.app.overlays import lay_over
from fluxbatch.app.survey import Survey
from fluxbatch.app.taking_in import check, gate, take_in
from fluxbatch.errors import UsageError
from fluxbatch.planning.findings import Findings
from fluxbatch.planning.plan import Origin
from fluxbatch.planning.sources import ManifestFile
from fluxbatch.policy.budget import carried_over
from fluxbatch.ports import Presence, RunRow
from fluxbatch.report.results import write_results

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from fluxbatch.app.decided import Decided
    from fluxbatch.app.folder_state import HeldFolder
    from fluxbatch.app.request import RunRequest
    from fluxbatch.planning.intake import Intake
    from fluxbatch.planning.orphans import Orphan

__all__ = ["Adopted", "Pruned", "adopt", "prune"]

_UPKEEP: Final = {"exit_code": 0, "stop_reason": "", "narrowed": True}
"""a summary that frees no cap: what unfinished runs have spent still counts"""


@dataclass(slots=True)
class Adopted:
    """Files that were taken for the outputs of their jobs.

    Attributes:
        files: below the output folder.
        missing: images that a run would still make.
    """

    paths: Paths
    files: list[str] = field(default_factory=list)
    missing: int = 0


@dataclass(slots=True)
class Pruned:
    """Outputs that no job asks for.

    Attributes:
        removed: files below the output folder.
        kept: files that stay, since someone edited them or another job has their name now.
    """

    paths: Paths
    removed: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)


async def adopt(request: RunRequest, *, changed: bool = False, dry_run: bool = False) -> Adopted:
    """Take files that are in the output folder as the outputs of their jobs, as those are asked for now.

    Args:
        request: whose jobs.
        changed: also those of jobs that were changed since their image was made, and outputs that someone edited.
        dry_run: only say which.

    Raises:
        ManifestError, UsageError: something is wrong with what is asked for.
        FolderInUse: a run is going on.
        StorageError: the folder can't be written.
    """
    findings = Findings()
    async with _opened(request, findings) as (intake, folder):
        found = Adopted(folder.paths)
        survey = Survey(
            intake,
            folder.ledger,
            folder.sink,
            request.settings,
            request.run_id,
            adopting="changed" if changed else "new",
        )

        def note(one: Decided) -> None:
            elsewhere = one.decision.elsewhere
            if one.selected and elsewhere is not None and elsewhere.origin is Origin.FILE:
                found.files.append(elsewhere.stored.file)

        quote = await survey.quote(findings, note)
        gate(intake, request, findings)
        found.missing = quote.make
        if found.files and not dry_run:
            await _write_plan(request, intake, folder, survey)
        return found


async def prune(
    request: RunRequest, *, dry_run: bool = False, confirm: Callable[[Sequence[str]], None] | None = None
) -> Pruned:
    """Remove outputs that no job asks for any more. What they cost stays counted, should their jobs come back.

    Args:
        request: all that is still asked for.
        dry_run: only say which.
        confirm: sees the files before anything is removed; raises to call it off.

    Raises:
        ManifestError, UsageError: something is wrong with what is asked for.
        FolderInUse: a run is going on.
        StorageError: the folder can't be written.
    """
    if not all(isinstance(source, ManifestFile) for source in request.sources):
        raise UsageError(
            "prune is for manifests", remedy="photos given by hand say nothing of those that were given before"
        )
    findings = Findings()
    async with _opened(request, findings) as (intake, folder):
        survey = Survey(intake, folder.ledger, folder.sink, request.settings, request.run_id, sends=False)
        await survey.quote(findings)  # what a run would copy stays
        orphans = [orphan async for page in survey.orphans() for orphan in page]
        doomed = {orphan.id: orphan.stored.file for orphan in orphans if not await _stays(orphan, intake, folder)}
        if confirm is not None and doomed and not dry_run:
            await anyio.to_thread.run_sync(confirm, list(doomed.values()))
        found = Pruned(folder.paths)
        for orphan in orphans:
            if dry_run:
                (found.removed if orphan.id in doomed else found.kept).append(orphan.stored.file)
            else:
                await _remove(orphan, intake, folder, found)
        if found.removed and not dry_run:
            await _write_results(request, folder)
        return found


async def _stays(orphan: Orphan, intake: Intake, folder: HeldFolder) -> bool:
    """Whether another job has it or its name now, or someone edited it."""
    if await _is_anothers(orphan, intake, folder):
        return True
    [presence] = await folder.sink.check([orphan.stored])
    return presence is Presence.ALTERED


async def _is_anothers(orphan: Orphan, intake: Intake, folder: HeldFolder) -> bool:
    file = orphan.stored.file
    owners = (await folder.ledger.owners([file])).get(file, [])
    return any(owner != orphan.id for owner in owners) or await anyio.to_thread.run_sync(
        intake.names_output, orphan.stored.filename
    )


async def _remove(orphan: Orphan, intake: Intake, folder: HeldFolder, found: Pruned) -> None:
    file = orphan.stored.file
    taken_over = await _is_anothers(orphan, intake, folder)
    if not taken_over and not await folder.sink.remove(orphan.stored):
        found.kept.append(file)
        return
    (found.kept if taken_over else found.removed).append(file)
    await folder.ledger.forget([orphan.id])


@asynccontextmanager
async def _opened(request: RunRequest, findings: Findings) -> AsyncIterator[tuple[Intake, HeldFolder]]:
    """What is asked for, checked, and its output folder, held."""
    async with take_in(request, findings) as intake:
        paths = await anyio.to_thread.run_sync(partial(_stage, intake, request, findings))
        kind = "simulated" if request.simulate else "live"
        async with hold(paths, run_id=request.run_id, kind=kind, ca_file=request.ca_file) as folder:
            await try_store(folder, request.ca_file)
            yield intake, folder


def _stage(intake: Intake, request: RunRequest, findings: Findings) -> Paths:
    intake.stage()
    paths = Paths.asked(request.out, request.state, intake.outs, simulate=request.simulate)
    if paths.store is None and not paths.out.is_dir():
        raise UsageError(f"there is no output folder {paths.out}", remedy="name it with -o")
    lay_over(intake, request, paths)
    check(intake, request, findings)
    return paths


async def _write_plan(request: RunRequest, intake: Intake, folder: HeldFolder, survey: Survey) -> None:
    """As a run would, but for the requests."""
    clock, ledger = SystemClock(), folder.ledger
    carried = carried_over(await ledger.last_run())
    await ledger.begin(RunRow(request.run_id, clock.now(), carried_usd=carried))
    await survey.enlist(ledger)
    await _write_results(request, folder)
    locks = await anyio.to_thread.run_sync(intake.locks_of, folder.paths.out)
    await write_locks(locks, ledger.rows())
    await ledger.end(request.run_id, clock.now(), _UPKEEP)


async def _write_results(request: RunRequest, folder: HeldFolder) -> None:
    await write_results(
        folder.paths.results,
        folder.ledger.rows(),
        run_id=request.run_id,
        simulated=request.simulate,
        find_flags=FlagFinder(folder.ledger, folder.memo, folder.paths.out).find,
    )
    if folder.store is not None:
        await folder.store.publish(folder.paths.results, folder.paths.results.name)
