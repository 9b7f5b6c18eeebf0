"""Looking at manifests and folders without running anything."""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio.to_thread

from fluxbatch.adapters.clock import SystemClock
from fluxbatch.adapters.fitting import PillowDecoder
from fluxbatch.adapters.ledger import SqliteLedger
from fluxbatch.adapters.stores import StoreIndex
from fluxbatch.app.cache import photo_memo
from fluxbatch.app.flags import finding_flags
from fluxbatch.app.folder import STATE_FOLDER, Paths, cut_address, known_state
from fluxbatch.app.outlook import outlook_of, under_way
from fluxbatch.errors import UsageError
from fluxbatch.planning.findings import Findings
from fluxbatch.planning.intake import Intake
from fluxbatch.policy.outlook import Outlook
from fluxbatch.report.results import write_results
from fluxbatch.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fluxbatch.planning.intake import ManifestFile
    from fluxbatch.ports import RunRow, Tally

__all__ = [
    "FolderStatus",
    "find_folder",
    "find_paths",
    "is_held",
    "look_at",
    "open_ledger",
    "rewrite_results",
    "validate",
]


def validate(sources: Sequence[ManifestFile]) -> tuple[int, Findings]:
    """Check manifests and their photos. Returns how many jobs there are, and what was found. Blocks."""
    findings = Findings()
    with Intake(sources, findings=findings, memo=photo_memo(), decoder=PillowDecoder(), objects=StoreIndex()) as intake:
        intake.stage()
        intake.check()
        return intake.total, findings


@dataclass(frozen=True, slots=True)
class FolderStatus:
    """How a folder stands.

    Attributes:
        live: a run is going on in it right now.
        kind: ``live`` or ``simulated`` images.
        last_run: the newest run, None before the first.
        open_requests: on record as sent and not answered: under way while a run lives, else maybe billed.
        open_usd: their price.
        outlook: what the hours and the budget that were asked about leave.
    """

    paths: Paths
    live: bool
    kind: str
    tally: Tally
    last_run: RunRow | None
    open_requests: int = 0
    open_usd: float = 0.0
    outlook: Outlook = field(default_factory=partial(Outlook, 0.0))

    @property
    def unknown(self) -> tuple[int, float]:
        """Requests that were maybe billed, and USD; those that died with their run included."""
        left = 0 if self.live else 1
        return self.tally.unknown + left * self.open_requests, self.tally.unknown_usd + left * self.open_usd

    def as_dict(self) -> dict[str, Any]:
        """As data, for scripts."""
        tally, run = self.tally, self.last_run
        stored, failed = tally.by_state.get("stored", 0), tally.by_state.get("failed", 0)
        return {
            "out": str(self.paths.place),
            "live": self.live,
            "simulated": self.kind == "simulated",
            "total": tally.total,
            "stored": stored,
            "failed": failed,
            "pending": tally.total - stored - failed,
            "charged": tally.charged,
            "waiting": tally.by_state.get("generated", 0),
            "in_flight": self.open_requests if self.live else 0,
            "unknown_charges": self.unknown[0],
            "lost": tally.lost,
            "cost_usd": round(tally.cost_usd, 6),
            "unknown_usd": round(self.unknown[1], 6),
            "failures": dict(tally.failures),
            "last_run": None if run is None else _run_facts(run),
            **{name: said for name, said in self.outlook.as_dict().items() if said is not None},
        }


def find_folder(asked: Path | None, here: Path) -> Path:
    """The output folder that is meant: the one named, this one, or the only one below this one.

    Raises:
        UsageError: there is none, or more than one.
    """
    if asked is not None:
        return asked
    if (here / STATE_FOLDER).is_dir():
        return here
    found = sorted(path.parent for path in here.glob(f"*/{STATE_FOLDER}"))
    if len(found) == 1:
        return found[0]
    if not found:
        raise UsageError("there is no output folder here", remedy="name it, or go to where it is")
    names = ", ".join(path.name for path in found)
    raise UsageError(f"there are several output folders here: {names}", remedy="name the one that is meant")


def find_paths(asked: Path | None, state: Path | None, here: Path) -> Paths:
    """The paths of an output folder; ``asked`` and ``here`` as for ``find_folder``, ``state``: where its ledger lives.

    An object store is named as a run names it, by its address beside the state folder, or by that folder alone.

    Raises:
        UsageError: there is none, or more than one.
    """
    address = None if asked is None else cut_address(asked)
    if address is None:
        folder = find_folder(asked, here)
        return Paths.of(folder, state or known_state(folder))
    if state is None:
        raise UsageError(
            f"{address} is an object store: what is known of its images is in the state folder of its runs",
            remedy="name that folder in its place, or beside it: --state DIR",
        )
    paths = Paths.of(state)
    if paths.store is None or paths.store.url != address:
        of_what = "" if paths.store is None else f", but that of {paths.store}"
        raise UsageError(
            f"{state} is not the state folder of {address}{of_what}", remedy="name the one that its runs were given"
        )
    return paths


async def look_at(paths: Paths, settings: Settings | None = None) -> FolderStatus:
    """Read a folder's ledger, also while a run goes on; ``settings``: of hours and budget.

    Raises:
        UsageError: there is no ledger, or they can't be understood.
    """
    ledger = await open_ledger(paths)
    try:
        kind, tally, last_run = await ledger.kind(), await ledger.tally(), await ledger.last_run()
        count, usd = await under_way(ledger)
        outlook = await outlook_of(settings or Settings(), ledger, SystemClock(), open_usd=usd)
    finally:
        await ledger.close()
    held = await anyio.to_thread.run_sync(is_held, paths)
    return FolderStatus(paths, held, kind, tally, last_run, count, usd, outlook)


async def rewrite_results(paths: Paths) -> int:
    """Write ``results.jsonl`` anew from the ledger; returns how many lines it has.

    Raises:
        UsageError: there is no ledger.
        StorageError: the folder can't be written.
    """
    ledger = await open_ledger(paths)
    try:
        run = await ledger.last_run()
        async with finding_flags(paths, ledger) as finder:
            return await write_results(
                paths.results,
                ledger.rows(),
                run_id=run.id if run is not None else "",
                simulated=await ledger.kind() == "simulated",
                find_flags=finder.find,
            )
    finally:
        await ledger.close()


async def open_ledger(paths: Paths) -> SqliteLedger:
    """A folder's ledger, to be read and closed.

    Raises:
        UsageError: there is none.
    """
    if not await anyio.to_thread.run_sync(paths.has_ledger):
        raise UsageError(
            f"{paths.out} is no output folder of fluxbatch", remedy="name the folder that a run wrote to (-o)"
        )
    return await SqliteLedger(paths.ledger, readonly=True).open()


def is_held(paths: Paths) -> bool:
    """Whether a run is going on in a folder. Blocks."""
    try:
        fd = os.open(paths.lock, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _run_facts(run: RunRow) -> dict[str, Any]:
    summary = run.summary or {}
    return {
        "run_id": run.id,
        "ended": run.ended_at is not None,
        "stop_reason": summary.get("stop_reason", ""),
        "exit_code": summary.get("exit_code"),
        "flags": summary.get("flags", {}),
    }
