"""A run from the request to its account."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio
import anyio.to_thread

from fluxbatch.adapters.clock import SystemClock
from fluxbatch.app.aftermath import Aftermath
from fluxbatch.app.agreement import agree
from fluxbatch.app.calendar import Calendar
from fluxbatch.app.calls import in_thread, tell
from fluxbatch.app.claim import claimed
from fluxbatch.app.folder import Paths
from fluxbatch.app.interrupt import Interrupter
from fluxbatch.app.keyless import lacks_key, refuse_keyless
from fluxbatch.app.learned import Learned, remember
from fluxbatch.app.meter import Meter, check_metrics_file
from fluxbatch.app.onlookers import Onlookers
from fluxbatch.app.overlays import find_rejected, lay_over
from fluxbatch.app.request import CALLED_OFF, new_run_id
from fluxbatch.app.seat import seated, settle_past
from fluxbatch.app.settle import Settlement
from fluxbatch.app.taking_in import check, take_in
from fluxbatch.app.watch import Watch
from fluxbatch.engine import Engine
from fluxbatch.errors import FluxbatchError, FolderInUse, Interrupted, StorageError, unwrapped
from fluxbatch.model.events import RunEnded, RunStarted
from fluxbatch.model.flux import known_models
from fluxbatch.planning.findings import Findings
from fluxbatch.policy.budget import carried_over
from fluxbatch.policy.deadlines import URL_LIFE_S
from fluxbatch.ports import RunRow

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fluxbatch.app.folder_state import HeldFolder
    from fluxbatch.app.request import RunRequest
    from fluxbatch.engine import Desk
    from fluxbatch.model.summary import Summary
    from fluxbatch.planning.intake import Intake
    from fluxbatch.planning.quote import Quote

__all__ = ["RunOutcome", "run"]

_RESCUE_S: Final = 60.0
"""how long images that earlier runs paid for are fetched before anything is planned; what remains goes on beside it"""


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
            raise unwrapped(group, sole=True) from None
    if outcome is None:
        raise Interrupted(interrupter.exit_code)
    return outcome


class _Run:
    def __init__(self, request: RunRequest, interrupter: Interrupter) -> None:
        self._request = request
        self._interrupter = interrupter
        self._clock = SystemClock()
        self._findings = Findings()
        self._run_id = request.run_id
        self._begun = 0.0
        self._calendar = Calendar()
        self._metrics_file: Path | None = None
        self._meter: Meter | None = None

    async def go(self) -> RunOutcome:
        request = self._request
        self._calendar = await in_thread(partial(Calendar.of, request.settings))
        if request.metrics_file is not None:
            self._metrics_file = await in_thread(partial(check_metrics_file, request.metrics_file))
        if request.settings.wait and not lacks_key(request):  # which is told at once
            await self._wait()
        self._begun = self._clock.monotonic()
        async with take_in(request, self._findings) as intake:
            paths, known = await in_thread(partial(self._stage, intake))
            if not known and lacks_key(request):
                await refuse_keyless(request, intake, paths, self._findings)
            return await self._in_folder(intake, paths, checked=not known)

    async def _wait(self) -> None:
        """Wait for the window. What is paid for is fetched first: its URLs would not live until then."""
        told = self._request.hooks.waiting or (lambda _words: None)
        window, now = self._calendar.window, self._clock.now()
        if window is not None and not window.is_open(now):
            try:
                await self._bring_home(min(URL_LIFE_S, window.changes_at(now) - now))
            except FolderInUse:
                pass  # whoever has it sees to that
            except StorageError as error:
                told(f"what is paid for could not be stored: {error.message}")
        await self._calendar.wait_until_open(self._clock, told)

    async def _bring_home(self, seconds: float) -> None:
        """Settle what earlier runs left behind, if there is a folder, and leave it to others again.

        Raises:
            FolderInUse: another run has it.
            StorageError: it can't be written, or nothing could be stored now.
        """
        async with take_in(self._request, Findings()) as intake, AsyncExitStack() as stack:
            if self._request.out is None:  # else nothing is read that can be read once
                await in_thread(intake.stage)
            paths, known = await in_thread(partial(self._find, intake))
            if not known:
                return
            seat = await stack.enter_async_context(
                seated(self._request, intake, paths, run_id=new_run_id(), calendar=self._calendar)
            )
            folder, desk = seat.folder, seat.desk
            carried = carried_over(await folder.ledger.last_run())
            await folder.ledger.begin(RunRow(desk.run_id, self._clock.now(), carried_usd=carried))
            try:
                await settle_past(seat, Engine(desk), self._interrupter, seconds)
            finally:
                with anyio.CancelScope(shield=True), suppress(StorageError):
                    facts = {"exit_code": StorageError.exit_code, "stop_reason": CALLED_OFF}
                    await folder.ledger.end(desk.run_id, self._clock.now(), facts)

    def _find(self, intake: Intake) -> tuple[Paths, bool]:
        """Find the folder, and whether any run was there."""
        known_models()  # they are read from a file, once: here, and not on the event loop
        paths = Paths.asked(self._request.out, self._request.state, intake.outs, simulate=self._request.simulate)
        return paths, paths.has_ledger()

    def _stage(self, intake: Intake) -> tuple[Paths, bool]:
        """Read what is asked for, and find the folder. A new one is only made for what can be run."""
        request = self._request
        intake.stage()
        paths, known = self._find(intake)
        lay_over(intake, request, paths)
        if not known:
            check(intake, request, self._findings)
        return paths, known

    async def _in_folder(self, intake: Intake, paths: Paths, *, checked: bool) -> RunOutcome:
        request = self._request
        async with AsyncExitStack() as stack:
            seat = await stack.enter_async_context(
                seated(request, intake, paths, run_id=self._run_id, calendar=self._calendar)
            )
            folder, desk, known, engine = seat.folder, seat.desk, seat.known, Engine(seat.desk)
            if self._metrics_file is not None:
                self._meter = Meter(self._metrics_file, engine, desk, simulated=request.simulate)
            carried = carried_over(await folder.ledger.last_run())
            await folder.ledger.begin(RunRow(self._run_id, self._clock.now(), carried_usd=carried))
            try:
                await settle_past(seat, engine, self._interrupter, _RESCUE_S)
                await stack.enter_async_context(claimed(folder, desk, request.hooks.waiting or (lambda _words: None)))
                await self._carry(desk)
                if not checked:
                    await find_rejected(intake, request, paths, folder.ledger)
                    await in_thread(partial(check, intake, request, self._findings))
                quote = await agree(request, intake, self._findings, folder, desk, self._calendar)
            except FluxbatchError as error:
                # called off before the first request: what it fetched is on record all the same
                facts = {"exit_code": error.exit_code, "stop_reason": CALLED_OFF}
                await folder.ledger.end(self._run_id, self._clock.now(), facts)
                raise
            desk.answer_s = known.answer_s or _promised_s(quote)
            summary = await self._work(engine, desk, quote, folder, intake)
            with anyio.CancelScope(shield=True):
                learned = Learned(desk.limiter.learned(), engine.answer_s if desk.account.charged else known.answer_s)
                await in_thread(partial(remember, folder.memo, seat.base_url, self._clock.now(), learned))
            if request.hooks.settled is not None:
                folder.events.flush()
                begun_at = self._clock.now() - (self._clock.monotonic() - self._begun)
                await request.hooks.settled(
                    Aftermath(summary, paths.out, intake.unusable, begun_at, paths.events, folder.ledger, intake)
                )
            return RunOutcome(summary, paths)

    async def _carry(self, desk: Desk) -> None:
        """Count against the cap what unfinished runs have spent; requests that one left open are in this run's row."""
        row = await desk.ledger.last_run()
        if row is not None:
            desk.budget.carry(row.carried_usd + row.spent_usd)
        if desk.budget.allowance is not None:
            now = self._clock.now()
            desk.budget.recall(await desk.ledger.runs(desk.budget.allowance.begins(now)), now)

    async def _work(self, engine: Engine, desk: Desk, quote: Quote, folder: HeldFolder, intake: Intake) -> Summary:
        hooks, settings = self._request.hooks, self._request.settings
        if settings.max_runtime_s is not None:
            desk.ends_at = self._begun + settings.max_runtime_s
        quote.carried_usd = desk.budget.carried
        if hooks.started is not None:
            tell(hooks.started, folder.paths.place, quote)
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
        watch = Watch(engine, desk, quote, simulated=self._request.simulate)
        onlookers = Onlookers(hooks, watch, self._meter)
        if hooks.page is not None:
            tell(hooks.page.begin, folder.paths, self._run_id, self._stopper())
        with anyio.CancelScope() as scope:
            self._interrupter.attach(desk, scope)
            async with anyio.create_task_group() as tasks:
                onlookers.start(tasks, make=quote.make)
                await engine.run()
                tasks.cancel_scope.cancel()
                onlookers.end()
        settlement = Settlement(
            desk=desk,
            quote=quote,
            folder=folder,
            unusable=intake.unusable,
            simulated=self._request.simulate,
            locks=await in_thread(partial(intake.locks_of, folder.paths.out)),
        )
        summary: Summary | None = None
        with anyio.CancelScope(shield=True):
            summary = await settlement.settle(self._clock.monotonic() - self._begun)
            desk.note(
                RunEnded(
                    at=self._clock.now(),
                    run_id=self._run_id,
                    exit_code=summary.exit_code,
                    stop_reason=summary.stop_reason,
                )
            )
            if self._meter is not None:
                await self._meter.finish(summary)
        assert summary is not None
        return summary

    def _stopper(self) -> Callable[[], None]:
        """Ends this run in order, asked by any thread, however late."""
        loop = asyncio.get_running_loop()

        def stop() -> None:
            with suppress(RuntimeError):  # the loop is closed: the run is over
                loop.call_soon_threadsafe(self._interrupter.stop)

        return stop


def _promised_s(quote: Quote) -> float:
    """Seconds that the slowest model of a plan promises to take at most."""
    known = known_models()
    return max((known[model].latency_s if model in known else 0.0 for model in quote.models), default=0.0)
