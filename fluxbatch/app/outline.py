"""What a run would do, without running: nothing is sent, nothing is written, nothing is locked."""

from __future__ import annotations

import tempfile
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import orjson

from fluxbatch.adapters.clock import SystemClock
from fluxbatch.adapters.disk import SqliteMemo
from fluxbatch.adapters.ledger import SqliteLedger
from fluxbatch.app.folder import Paths
from fluxbatch.app.learned import Learned, recall
from fluxbatch.app.look import is_held
from fluxbatch.app.outlook import outlook_of, under_way
from fluxbatch.app.overlays import find_rejected, lay_over
from fluxbatch.app.survey import Survey
from fluxbatch.app.taking_in import choose, gate, take_in
from fluxbatch.app.unseen import sink_to_plan_with
from fluxbatch.errors import UsageError
from fluxbatch.model.flux import known_models
from fluxbatch.model.outline import Action, PlanEntry
from fluxbatch.model.state import JobState
from fluxbatch.planning.findings import Findings
from fluxbatch.policy.estimate import Work, expected_s
from fluxbatch.policy.retry import interruption
from fluxbatch.policy.transition import after as settled
from fluxbatch.ports import Disposition

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import IO

    from fluxbatch.app.decided import Decided
    from fluxbatch.app.heritage import View
    from fluxbatch.app.request import RunRequest
    from fluxbatch.model.job import Record
    from fluxbatch.planning.intake import Intake
    from fluxbatch.planning.quote import Quote
    from fluxbatch.policy.outlook import Outlook
    from fluxbatch.settings import IfUnsure

__all__ = ["NoLedger", "Outline", "outline"]

_SHOWN_ORPHANS = 20


@dataclass(slots=True)
class Outline:
    """A plan.

    Attributes:
        out: the output folder, which may not be there yet.
        findings: what the checks found.
        quote: the counts.
        outlook: what hours and a budget leave of it.
        seconds: that a run would take, over all models; ``by_model`` for each alone.
        orphans: files of jobs that are asked for no more, the first few; ``orphan_count`` counts all.
    """

    out: Paths
    simulated: bool
    findings: Findings
    quote: Quote
    outlook: Outlook
    seconds: float = 0.0
    by_model: dict[str, float] = field(default_factory=dict)
    orphans: list[str] = field(default_factory=list)
    orphan_count: int = 0
    _entries: IO[bytes] | None = field(default=None, repr=False)

    def entries(self) -> Iterator[PlanEntry]:
        """All jobs in the order of the plan, one at a time. Blocks."""
        assert self._entries is not None
        self._entries.seek(0)
        for line in self._entries:
            facts: dict[str, Any] = orjson.loads(line)
            yield PlanEntry(**{**facts, "action": Action(facts["action"])})

    def as_dict(self) -> dict[str, Any]:
        """The plan as data, without its jobs."""
        quote = self.quote
        models = {
            name: {"images": model.images, "usd": round(model.usd, 6), "seconds": round(self.by_model[name], 1)}
            for name, model in quote.models.items()
        }
        return {
            "out": str(self.out.place),
            "simulated": self.simulated,
            "digest": quote.digest,
            "has_work": quote.has_work,
            "total": quote.total + quote.left_out,
            "make": quote.make,
            "cached": quote.cached,
            "copied": quote.copied,
            "owed": quote.owed + quote.fetch,
            "refused": quote.refuse,
            "left_out": quote.left_out,
            "usd": round(quote.usd, 6),
            "unpriced": quote.unpriced,
            "seconds": round(self.seconds, 1),
            "models": models,
            "why": dict(quote.why),
            "failed": dict(quote.kept_failures),
            "edited": quote.edited_count,
            "warnings": self.findings.warnings,
            "orphans": self.orphan_count,
            "orphan_files": list(self.orphans),
            "sends_now": self.outlook.fits if self.outlook.is_open else 0,
            **self.outlook.as_dict(),
        }

    def close(self) -> None:
        """Free the temporary space. May be called again."""
        if self._entries is not None:
            self._entries.close()


async def outline(request: RunRequest) -> Outline:
    """Plan a request against what is on record and on disk. It is the caller's to close.

    Raises:
        ManifestError: jobs are invalid.
        UsageError: something else is missing or wrong.
        StorageError: the folder can't be read.
    """
    findings = Findings()
    async with AsyncExitStack() as stack:
        intake = await stack.enter_async_context(take_in(request, findings))
        paths = await anyio.to_thread.run_sync(partial(_stage, intake, request, findings))
        ledger: View = NoLedger()
        known: SqliteLedger | None = None
        if await anyio.to_thread.run_sync(paths.has_ledger):
            known = SqliteLedger(paths.ledger, readonly=True)
            stack.push_async_callback(known.close)
            ledger = await _opened(known, request, paths)
            if not await anyio.to_thread.run_sync(is_held, paths):
                ledger = _Settled(ledger, request.settings.if_unsure)
        _, open_usd = (0, 0.0) if known is None else await under_way(known)
        outlook = await outlook_of(request.settings, known, SystemClock(), open_usd=open_usd)
        await find_rejected(intake, request, paths, ledger)
        kind = "simulated" if request.simulate else "live"
        sink = await sink_to_plan_with(paths, findings, kind=kind, ca_file=request.ca_file)
        survey = Survey(intake, ledger, sink, request.settings)
        spool = tempfile.TemporaryFile()  # noqa: SIM115  # the outline's to close
        try:
            quote = await survey.quote(findings, lambda one: _note(spool, outlook, one), batches=intake.checked())
            gate(intake, request, findings)
            found = Outline(paths, request.simulate, findings, quote, outlook, _entries=spool)
            async for page in survey.orphans():
                found.orphan_count += len(page)
                found.orphans += [orphan.stored.file for orphan in page][: _SHOWN_ORPHANS - len(found.orphans)]
            learned = await anyio.to_thread.run_sync(partial(_learned, paths, request))
        except BaseException:
            spool.close()
            raise
    _estimate(found, request, learned)
    return found


def _stage(intake: Intake, request: RunRequest, findings: Findings) -> Paths:
    intake.stage()
    paths = Paths.asked(request.out, request.state, intake.outs, simulate=request.simulate)
    lay_over(intake, request, paths)
    choose(intake, request, findings)
    return paths


async def _opened(ledger: SqliteLedger, request: RunRequest, paths: Paths) -> SqliteLedger:
    await ledger.open()
    kind, wanted = await ledger.kind(), "simulated" if request.simulate else "live"
    if kind not in {"", wanted}:
        raise UsageError(
            f"{paths.place} holds {kind} images, this plan is for {wanted} ones",
            remedy="simulated images never pass for real ones: use another output folder (-o)",
        )
    return ledger


def _note(spool: IO[bytes], outlook: Outlook, one: Decided) -> None:
    job, decision = one.job, one.decision
    action = _action(one)
    if action is Action.MAKE:
        outlook.count(job.price)
    stored = one.record.stored if one.record is not None else None
    entry = {
        "id": job.id,
        "action": action.value,
        "why": decision.why if action is not Action.SKIP else f"{decision.why}; left out of this run",
        "manifest": job.manifest,
        "model": job.model,
        "usd": job.price if action is Action.MAKE else None,
        "file": stored.file if stored is not None and action is Action.KEEP else job.filename,
        "fingerprint": job.fingerprint,
    }
    spool.write(orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE))


def _action(one: Decided) -> Action:
    match one.decision.disposition:
        case Disposition.MAKE:
            return Action.MAKE if one.selected else Action.SKIP
        case Disposition.FETCH:
            return Action.FETCH if one.selected else Action.SKIP
        case Disposition.REFUSE:
            return Action.REFUSE
        case Disposition.RESTORE:
            elsewhere = one.decision.elsewhere
            if elsewhere is None or not elsewhere.copied:
                return Action.KEEP
            return Action.COPY if one.selected else Action.SKIP
        case Disposition.KEEP:
            owed = one.record is not None and one.record.state in {JobState.SUBMITTED, JobState.GENERATED}
            return Action.FETCH if owed else Action.KEEP


def _learned(paths: Paths, request: RunRequest) -> Learned:
    """What runs before found out about this API; the memory is not made for that."""
    if not paths.memo.exists():
        return Learned()
    with closing(SqliteMemo(paths.memo)) as memo:
        return recall(memo, request.base_url, SystemClock().now())


def _estimate(found: Outline, request: RunRequest, learned: Learned) -> None:
    settings, known = request.settings, known_models()
    ceiling = min(settings.concurrency, learned.limits.get("", settings.concurrency))
    work: dict[str, Work] = {}
    for name, quote in found.quote.models.items():
        model = known.get(name)
        documented = (model.concurrency if model is not None else None) or ceiling
        work[name] = Work(
            requests=quote.images,
            answer_s=learned.answer_s or (model.latency_s if model is not None else 30.0),
            at_a_time=min(ceiling, learned.limits.get(name, documented)),
            in_a_row=min(quote.in_a_row, quote.images),  # it counts requests to other models as well
        )
    found.by_model = {name: expected_s([one], at_a_time=ceiling) for name, one in work.items()}
    found.seconds = expected_s(list(work.values()), at_a_time=ceiling, rpm=settings.rpm)


class _Settled:
    """A ledger as the next run finds it: what was under way when a run died is settled first."""

    def __init__(self, ledger: View, if_unsure: IfUnsure) -> None:
        self._ledger = ledger
        self._if_unsure = if_unsure

    async def recall(self, job_ids: Sequence[str]) -> dict[str, Record]:
        """The rows of these jobs."""
        return {job_id: self._settled(record) for job_id, record in (await self._ledger.recall(job_ids)).items()}

    async def manifests(self) -> list[str]:
        """The manifests that claim ids in this folder."""
        return await self._ledger.manifests()

    async def ids(self, after: str = "", limit: int = 1000) -> list[str]:
        """The ids of all rows, by id."""
        return await self._ledger.ids(after, limit)

    async def owners(self, files: Sequence[str]) -> dict[str, list[str]]:
        """The ids of the rows that have these files on record, by file."""
        return await self._ledger.owners(files)

    def _settled(self, record: Record) -> Record:
        if record.state is not JobState.SUBMITTED:
            return record
        return settled(record, interruption(record, if_unsure=self._if_unsure), record.run_id)


class NoLedger:
    """What stands for the ledger of a folder that isn't there yet."""

    async def recall(self, job_ids: Sequence[str]) -> dict[str, Record]:  # noqa: ARG002  # the port's signature
        """There is nothing."""
        return {}

    async def manifests(self) -> list[str]:
        """There is nothing."""
        return []

    async def ids(self, after: str = "", limit: int = 1000) -> list[str]:  # noqa: ARG002  # the port's signature
        """There is nothing."""
        return []

    async def owners(self, files: Sequence[str]) -> dict[str, list[str]]:  # noqa: ARG002  # the port's signature
        """There is nothing."""
        return {}
