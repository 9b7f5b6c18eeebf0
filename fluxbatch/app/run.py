"""A run from the request to its account."""

from __future__ import annotations

from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

import anyio
import anyio.to_thread

from fluxbatch.adapters.clock import SystemClock
from fluxbatch.app.compose import compose
from fluxbatch.app.folder import Paths, find_out
from fluxbatch.app.folder_state import LateMemo, hold
from fluxbatch.app.interrupt import Interrupter
from fluxbatch.app.simulated import simulated_api
from fluxbatch.app.survey import Survey
from fluxbatch.engine import Engine
from fluxbatch.errors import FluxbatchError, Interrupted, StorageError, UsageError
from fluxbatch.model.events import RunEnded, RunStarted
from fluxbatch.model.state import JobState
from fluxbatch.model.summary import Progress, Summary
from fluxbatch.planning.findings import Findings
from fluxbatch.planning.intake import Intake
from fluxbatch.ports import RunRow
from fluxbatch.report.results import write_results

if TYPE_CHECKING:
    from collections.abc import Callable

    from fluxbatch.app.folder_state import HeldFolder
    from fluxbatch.app.request import RunRequest
    from fluxbatch.engine import Desk
    from fluxbatch.planning.plan import Quote
    from fluxbatch.ports import Tally

__all__ = ["RunOutcome", "run"]

T = TypeVar("T")

_RESCUE_S: Final = 60.0
"""how long images that earlier runs paid for are fetched before anything is planned; what remains goes on beside it"""
_SHOWN_WARNINGS: Final = 20


class RunOutcome:
    """A finished run: its account, and where its images are."""

    def __init__(self, summary: Summary, paths: Paths) -> None:
        self.summary = summary
        self.paths = paths


async def run(request: RunRequest) -> RunOutcome:
    """Make what is missing.

    Raises:
        UsageError: something is missing or wrong; nothing was sent.
        FolderInUse: another run has the output folder.
        StorageError: the folder can't be written, found out before the first request.
        Interrupted: a signal came before the first request.
    """
    outcome: RunOutcome | None = None
    with anyio.CancelScope() as scope:
        interrupter = Interrupter(scope)
        try:
            async with anyio.create_task_group() as tasks:
                if request.hooks.signals:
                    await tasks.start(interrupter.listen)
                outcome = await _Run(request, interrupter).go()
                tasks.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            raise _sole(group) from None
    if outcome is None:
        raise Interrupted(interrupter.exit_code)
    return outcome


def _sole(error: BaseException) -> BaseException:
    """The one error in a group of groups; a group of several as it is."""
    inner = error
    while isinstance(inner, BaseExceptionGroup):
        if len(inner.exceptions) != 1:
            return error
        inner = inner.exceptions[0]
    return inner


class _Run:
    def __init__(self, request: RunRequest, interrupter: Interrupter) -> None:
        self._request = request
        self._interrupter = interrupter
        self._clock = SystemClock()
        self._findings = Findings()
        self._run_id = request.run_id
        self._begun = 0.0

    async def go(self) -> RunOutcome:
        request = self._request
        self._begun = self._clock.monotonic()
        if not request.simulate and not request.api_key:
            raise UsageError(
                "there is no API key",
                remedy="set FLUXBATCH_API_KEY (or APIYI_API_KEY, or --api-key-file FILE); without one: --simulate",
            )
        memo = LateMemo()
        intake = await _in_thread(
            partial(Intake, request.sources, findings=self._findings, memo=memo, prices=request.prices)
        )
        try:
            paths, known = await _in_thread(partial(self._stage, intake, memo))
            return await self._in_folder(intake, paths, memo, checked=not known)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(intake.close)
                await anyio.to_thread.run_sync(memo.close)

    def _stage(self, intake: Intake, memo: LateMemo) -> tuple[Paths, bool]:
        """Read what is asked for, and find the folder. A new one is only made for what can be run."""
        request = self._request
        intake.stage()
        paths = Paths.of(find_out(request.out, intake.outs, simulate=request.simulate), request.state)
        known = paths.has_ledger()
        memo.open(paths.memo)
        if not known:
            self._check(intake)
        return paths, known

    def _check(self, intake: Intake) -> None:
        intake.check()
        self._gate(intake)

    def _gate(self, intake: Intake) -> None:
        """Nothing is sent while anything is wrong, unless what is wrong may be left out."""
        if self._request.on_invalid == "error" or self._findings.fatal:
            self._findings.raise_if_errors()
        if intake.total == 0 and not self._findings.errors:
            raise UsageError("there are no jobs in what was given", remedy="see the README for a first manifest")

    async def _in_folder(self, intake: Intake, paths: Paths, memo: LateMemo, *, checked: bool) -> RunOutcome:
        request = self._request
        kind = "simulated" if request.simulate else "live"
        async with AsyncExitStack() as stack:
            folder = await stack.enter_async_context(hold(paths, run_id=self._run_id, kind=kind))
            await _in_thread(partial(memo.settle, paths.memo))
            base_url, key = request.base_url, request.api_key
            if request.simulate:
                api = await stack.enter_async_context(simulated_api(paths.simulator))
                base_url, key = api.base_url, api.key
            desk = await stack.enter_async_context(
                compose(request, folder, run_id=self._run_id, base_url=base_url, key=key)
            )
            engine = Engine(desk)
            await folder.ledger.begin(RunRow(self._run_id, self._clock.now()))
            try:
                await self._rescue(engine, desk)
                if not checked:
                    await _in_thread(partial(self._check, intake))
                quote = await self._plan(intake, folder)
            except FluxbatchError:
                # called off before the first request: what it fetched is on record all the same
                await folder.ledger.end(self._run_id, self._clock.now(), {})
                raise
            summary = await self._work(engine, desk, quote, folder, unusable=intake.unusable)
            return RunOutcome(summary, paths)

    async def _rescue(self, engine: Engine, desk: Desk) -> None:
        """Settle what an earlier run left behind, and fetch what it paid for. A signal lets that finish."""
        with anyio.CancelScope() as scope:
            self._interrupter.attach(desk, scope)
            await engine.recover()
            await engine.fetch_owed(_RESCUE_S)
        if self._interrupter.exit_code:
            raise Interrupted(self._interrupter.exit_code)
        self._interrupter.detach()

    async def _plan(self, intake: Intake, folder: HeldFolder) -> Quote:
        """Decide, ask, and write the plan down."""
        request, hooks = self._request, self._request.hooks
        survey = Survey(intake, folder.ledger, folder.sink, request.settings, self._run_id)
        quote = await survey.quote(self._findings)
        self._gate(intake)
        if hooks.warn is not None and (self._findings.warnings or self._findings.errors):
            problems = self._findings.first(_SHOWN_WARNINGS)
            _tell(hooks.warn, problems, self._findings.warnings + self._findings.errors)
        if request.settings.only and quote.total == 0:
            raise UsageError(
                f"--only {' '.join(request.settings.only)} matches no id", remedy="quote the pattern: 'mug-*'"
            )
        if quote.unpriced and request.settings.max_cost_usd is not None:
            raise UsageError(
                f"--max-cost can't be kept: {quote.unpriced} images are of a model without a known price",
                remedy="name its price with --price MODEL=USD, or leave --max-cost out",
            )
        if hooks.confirm is not None:
            await _in_thread(partial(hooks.confirm, quote))
        await survey.enlist()
        return quote

    async def _work(self, engine: Engine, desk: Desk, quote: Quote, folder: HeldFolder, *, unusable: int) -> Summary:
        hooks = self._request.hooks
        if hooks.started is not None:
            _tell(hooks.started, folder.paths.out, quote)
        desk.note(
            RunStarted(
                at=self._clock.now(),
                run_id=self._run_id,
                make=quote.make,
                keep=quote.keep,
                owed=quote.owed + quote.fetch,
                simulated=self._request.simulate,
            )
        )
        with anyio.CancelScope() as scope:
            self._interrupter.attach(desk, scope)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._tell_progress, desk, quote)
                await engine.run()
                tasks.cancel_scope.cancel()
        summary: Summary | None = None
        with anyio.CancelScope(shield=True):
            summary = await self._settle(desk, quote, folder, unusable)
        assert summary is not None
        return summary

    async def _settle(self, desk: Desk, quote: Quote, folder: HeldFolder, unusable: int) -> Summary:
        """The account, written into the ledger and the results."""
        tally = await folder.ledger.tally(self._run_id)
        summary = self._account(desk, quote, tally, unusable)
        await folder.ledger.end(self._run_id, self._clock.now(), summary.as_dict())
        try:
            await write_results(
                folder.paths.results, folder.ledger.rows(), run_id=self._run_id, simulated=self._request.simulate
            )
        except StorageError:
            if summary.exit_code != 3:
                raise
        desk.note(
            RunEnded(
                at=self._clock.now(),
                run_id=self._run_id,
                exit_code=summary.exit_code,
                stop_reason=summary.stop_reason,
            )
        )
        return summary

    def _account(self, desk: Desk, quote: Quote, tally: Tally, unusable: int) -> Summary:
        account, stop = desk.account, desk.stop
        # left without an answer: maybe billed, and settled by the next run
        open_requests = tally.by_state.get(JobState.SUBMITTED, 0)
        failed = tally.by_state.get(JobState.FAILED, 0) + unusable
        stored = tally.by_state.get(JobState.STORED, 0)
        pending = tally.total + unusable - stored - failed
        exit_code = stop.exit_code if pending and stop is not None else 1 if failed or pending else 0
        return Summary(
            run_id=self._run_id,
            total=tally.total + unusable,
            stored=stored,
            cached=quote.cached,
            failed=failed,
            pending=pending,
            requests=account.requests,
            charged=account.charged,
            unknown_charges=account.unknown + open_requests,
            lost=account.lost,
            cost_usd=account.cost_usd,
            unknown_usd=max(account.unknown_usd, desk.budget.spent - account.cost_usd),
            wall_s=self._clock.monotonic() - self._begun,
            url_age_p50_s=account.url_age_p50_s,
            url_age_max_s=account.url_age_max_s,
            stop_reason=stop.reason if stop is not None else "",
            exit_code=exit_code,
            simulated=self._request.simulate,
            failures=tally.failures,
            stop=stop,
        )

    async def _tell_progress(self, desk: Desk, quote: Quote) -> None:
        hooks = self._request.hooks
        if hooks.progress is None:
            return
        begun = self._clock.monotonic()
        while True:
            await anyio.sleep(hooks.progress_every_s)
            account = desk.account
            _tell(
                hooks.progress,
                Progress(
                    make=quote.make + quote.owed + quote.fetch,
                    made=account.stored,
                    failed=account.failed,
                    in_flight=desk.in_flight,
                    owed=desk.owed,
                    spent_usd=account.cost_usd,
                    unknown_usd=account.unknown_usd,
                    elapsed_s=self._clock.monotonic() - begun,
                    stopping=desk.stop.message if desk.stop is not None else "",
                ),
            )


async def _in_thread(function: Callable[[], T]) -> T:
    """Run what blocks; a signal doesn't wait for it."""
    return await anyio.to_thread.run_sync(function, abandon_on_cancel=True)


def _tell(hook: Callable[..., None], *facts: object) -> None:
    """Tell the caller; one that can't listen any more (a closed pipe, a full disk) must not end a run."""
    with suppress(Exception):
        hook(*facts)
