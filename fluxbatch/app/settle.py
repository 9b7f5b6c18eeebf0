"""The account of a run, settled into the ledger and the results, also when neither can be written any more."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from fluxbatch.adapters.allocator import give_back
from fluxbatch.app.flags import FlagFinder
from fluxbatch.app.locks import write_locks
from fluxbatch.errors import StorageError
from fluxbatch.model.state import JobState, Reason
from fluxbatch.model.summary import Stop, Summary
from fluxbatch.policy.allowance import SPENT_AT
from fluxbatch.policy.leniency import forgive
from fluxbatch.policy.remedies import REMEDY
from fluxbatch.ports import Tally
from fluxbatch.report.results import write_results

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from fluxbatch.app.folder_state import HeldFolder
    from fluxbatch.engine import Desk
    from fluxbatch.planning.quote import Quote

__all__ = ["Settlement"]

_MANY: Final = 1000
"""jobs, from which on the account, which goes through all of them, takes memory that is worth a thought"""


@dataclass(slots=True, kw_only=True)
class Settlement:
    """What a run has to account for.

    Attributes:
        unusable: jobs that were left out, since they have no usable id.
        simulated: no money, no model.
        locks: lock files to be written, by the manifests that have one.
        unwritten: the account could not be written down, and so the run has not gone through.
        flags: jobs of this run by flag, once the results are written.
    """

    desk: Desk
    quote: Quote
    folder: HeldFolder
    unusable: int
    simulated: bool
    locks: Mapping[str, Path]
    unwritten: bool = False
    flags: Mapping[str, int] = field(default_factory=dict)

    async def settle(self, wall_s: float) -> Summary:
        """Write down how the run ended, as far as it can be written; ``wall_s`` is how long it took, seconds."""
        desk, ledger = self.desk, self.folder.ledger
        if self.quote.total >= _MANY:
            give_back()  # what connections and images took: the account is added to what is left
        try:
            tally = await self._caught_up(await ledger.tally(desk.run_id))
        except StorageError as error:
            desk.stop_for_storage(error)
            tally = self._as_far_as_known()
        try:
            await self._write_results()
            if self.folder.store is not None and not self.folder.is_lost:
                await self.folder.store.publish(self.folder.paths.results, self.folder.paths.results.name)
            await write_locks(self.locks, ledger.rows())
        except StorageError as error:
            desk.stop_for_storage(error)
            self.unwritten = True
        summary = self._summary(tally, wall_s)
        try:
            facts = summary.as_dict() | ({"narrowed": True} if self.quote.left_out else {})
            facts[SPENT_AT] = {str(quarter): round(usd, 6) for quarter, usd in desk.budget.spent_at.items()}
            await ledger.end(desk.run_id, desk.clock.now(), facts)
        except StorageError as error:
            desk.stop_for_storage(error)
            self.unwritten = True
            summary = self._summary(tally, wall_s)
        return self._forgiven(summary)

    def _forgiven(self, summary: Summary) -> Summary:
        """With what the caller lets pass. The ledger knows the run as it was: a cap must not begin anew for it."""
        settings = self.desk.settings
        code, why = forgive(
            summary.exit_code,
            stop_reason=summary.stop_reason,
            there=summary.stored - self.quote.outdated,
            failed=summary.failed,
            total=summary.total,
            share=settings.fail_under,
            ok_if=settings.ok_if,
        )
        return replace(summary, exit_code=code, forgiven=why)

    async def _write_results(self) -> None:
        folder, run_id = self.folder, self.desk.run_id
        finder = FlagFinder(folder.ledger, folder.memo, folder.paths.out, run_id)
        await write_results(
            folder.paths.results,
            folder.ledger.rows(),
            run_id=run_id,
            simulated=self.simulated,
            find_flags=finder.find,
        )
        self.flags = finder.counts

    async def _caught_up(self, tally: Tally) -> Tally:
        """The counts as they are once the ledger has taken what it could not."""
        ends = self.desk.books.ends()
        rows = await self.folder.ledger.recall(list(ends)) if ends else {}
        by_state, failures = Counter(tally.by_state), Counter(tally.failures)
        for job_id, (seen, step) in ends.items():
            row = rows.get(job_id)
            if row is None or row.state is not seen or row.run_id != self.desk.run_id or not row.selected:
                continue
            by_state[seen] -= 1
            by_state[step.to] += 1
            if step.failure is not None:
                failures[step.failure.reason] += 1
        return replace(tally, by_state=by_state, failures=failures)

    def _as_far_as_known(self) -> Tally:
        """What is left when the ledger can't even be read: the plan, and what this run has seen."""
        quote, account = self.quote, self.desk.account
        stored = quote.cached + account.stored
        failed = account.failed + sum(quote.kept_failures.values()) + quote.refuse
        by_state: dict[str, int] = {
            JobState.STORED: stored,
            JobState.FAILED: failed,
            JobState.PENDING: max(0, quote.total - stored - failed),
        }
        return Tally(by_state, {}, account.charged, account.unknown, account.lost, account.cost_usd, 0.0)

    def _models_out(self) -> Stop | None:
        """Models that turned out to be unavailable stop alone; what is left of them is for another run."""
        out = self.desk.models_out
        if not out:
            return None
        words = "; ".join(f"{model} is not available ({message})" for model, message in out.items())
        return Stop("model_unavailable", f"{words}; its other jobs were not sent", REMEDY[Reason.MODEL_UNAVAILABLE])

    def _summary(self, tally: Tally, wall_s: float) -> Summary:
        desk = self.desk
        account = desk.account
        # left without an answer: maybe billed, and settled by the next run
        open_requests = tally.by_state.get(JobState.SUBMITTED, 0)
        failed = tally.by_state.get(JobState.FAILED, 0) + self.unusable
        stored = tally.by_state.get(JobState.STORED, 0)
        pending = tally.total + self.unusable - stored - failed
        behind = desk.books.behind
        left = pending or behind or self.unwritten
        stop = desk.stop or (self._models_out() if pending else None)
        unfinished = failed or pending or self.quote.outdated
        exit_code = stop.exit_code if left and stop is not None else 1 if unfinished else 0
        return Summary(
            run_id=desk.run_id,
            total=tally.total + self.unusable,
            stored=stored,
            cached=self.quote.cached,
            failed=failed,
            pending=pending,
            requests=account.requests,
            charged=account.charged,
            unknown_charges=account.unknown + open_requests,
            lost=account.lost,
            cost_usd=account.cost_usd,
            unknown_usd=max(account.unknown_usd, desk.budget.spent - account.cost_usd),
            wall_s=wall_s,
            url_age_p50_s=account.url_age_p50_s,
            url_age_max_s=account.url_age_max_s,
            stop_reason=stop.reason if stop is not None else "",
            exit_code=exit_code,
            simulated=self.simulated,
            failures=tally.failures,
            flags=dict(self.flags),
            stop=stop,
            rescue=desk.rescue.where() if behind else "",
            refused=account.refused,
            limits=desk.limiter.learned() if account.refused else {},
        )
