"""The ledger on disk and the one in memory answer alike, whatever is asked of them in whatever order."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from fluxbatch.adapters.ledger import SqliteLedger
from fluxbatch.errors import StepRefused
from fluxbatch.model.job import Failure, Lease, Step, Stored
from fluxbatch.model.state import NEXT, Charge, JobState, Reason
from fluxbatch.ports import Disposition, Enlisted, RunRow
from fluxbatch.testing import MemoryLedger, make_job

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fluxbatch.ports import Ledger

MEMORY = Path("/dev/shm")  # thousands of commits: what a disk adds to them is tested elsewhere

IDS = [f"job-{n}" for n in range(3)]
RUNS = ["r1", "r2"]
MANIFESTS = ["a.yaml", "b.yaml"]
MODELS = ["m1", "m2"]
LEASES = st.builds(
    Lease,
    url=st.sampled_from(["https://x.example/a?sig=1", "https://x.example/b?sig=2"]),
    deadline=st.floats(0, 1e10),
    granted_at=st.floats(0, 1e10),
    request_id=st.sampled_from(["", "req-1"]),
)
FAILURES = st.builds(
    Failure, st.sampled_from(Reason), st.sampled_from(["no", "没有"]), st.sampled_from([None, 403, 500])
)
STORED = st.builds(
    Stored,
    st.just("a.png"),
    st.just("00"),
    st.integers(0, 10**9),
    st.just(8),
    st.just(8),
    url_age_s=st.none() | st.floats(0, 600),
)
STATES = st.sampled_from(JobState)
# most steps are ones that the table allows; the others have to be refused
ALLOWED = st.sampled_from([(frm, to) for frm in JobState for to in sorted(NEXT[frm])])


class BothLedgers(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self._folder = Path(tempfile.mkdtemp(prefix="ledger-", dir=MEMORY if MEMORY.is_dir() else None))
        self._runner = asyncio.Runner()
        self._memory = MemoryLedger()
        self._disk = SqliteLedger(self._folder / "ledger.sqlite", kind="live")

    def teardown(self) -> None:
        self._runner.run(self._disk.close())
        self._runner.close()
        shutil.rmtree(self._folder)

    def _both(self, ask: Callable[[Ledger], Awaitable[object]]) -> None:
        one, two = (self._runner.run(_answer(ask, ledger)) for ledger in (self._memory, self._disk))
        assert two == one
        if isinstance(one, Exception):
            raise one

    @initialize()
    def first_run(self) -> None:
        self._both(lambda ledger: ledger.begin(RunRow("r1", 1.0)))

    @rule(
        run=st.sampled_from(RUNS),
        ids=st.lists(st.sampled_from(IDS), min_size=1, max_size=3, unique=True),
        disposition=st.sampled_from(Disposition),
        fingerprint=st.sampled_from(["one", "two"]),
        model=st.sampled_from(MODELS),
        manifest=st.sampled_from(MANIFESTS),
        shift=st.integers(0, 1),
        selected=st.booleans(),
        pardon=st.booleans(),
        defect=FAILURES,
    )
    def enlist(self, run: str, ids: list[str], shift: int, **facts: Any) -> None:
        disposition: Disposition = facts["disposition"]
        refused = disposition is Disposition.REFUSE
        jobs = [
            make_job(
                # of one position in a run there is one job
                2 * IDS.index(id_) + shift,
                id=id_,
                model=facts["model"],
                manifest=facts["manifest"],
                fingerprint=facts["fingerprint"],
                defect=facts["defect"] if refused else None,
            )
            for id_ in ids
        ]
        enlisted = [Enlisted(job, disposition, selected=facts["selected"], pardon=facts["pardon"]) for job in jobs]
        self._both(lambda ledger: ledger.enlist(run, enlisted))

    @rule(
        job_id=st.sampled_from(IDS),
        way=ALLOWED | st.tuples(STATES, STATES),
        charge=st.sampled_from(Charge),
        attempts=st.integers(0, 1),
        lost=st.booleans(),
        lease=st.none() | LEASES,
        stored=STORED,
        failure=FAILURES,
        request_id=st.sampled_from(["", "req-2"]),
    )
    def advance(
        self, job_id: str, way: tuple[JobState, JobState], stored: Stored, failure: Failure, **facts: Any
    ) -> None:
        step = Step(
            job_id,
            *way,
            usd=0.25,
            stored=stored if way[1] is JobState.STORED else None,
            failure=failure if way[1] is JobState.FAILED else None,
            **facts,
        )
        try:
            self._both(lambda ledger: ledger.advance(step))
        except StepRefused:
            return

    @rule(job_id=st.sampled_from(IDS), charge=st.sampled_from(Charge), lease=LEASES)
    def live(self, job_id: str, charge: Charge, lease: Lease) -> None:
        """The way that jobs go most often."""
        self.advance_along(job_id, JobState.PENDING, JobState.SUBMITTED)
        self.advance_along(job_id, JobState.SUBMITTED, JobState.GENERATED, charge=charge, lease=lease)

    def advance_along(self, job_id: str, frm: JobState, to: JobState, **facts: Any) -> None:
        try:
            self._both(lambda ledger: ledger.advance(Step(job_id, frm, to, **facts)))
        except StepRefused:
            return

    @rule(manifest=st.sampled_from(MANIFESTS), run=st.sampled_from(RUNS))
    def claim(self, manifest: str, run: str) -> None:
        self._both(lambda ledger: ledger.claim(manifest, run))

    @rule(manifest=st.sampled_from(MANIFESTS))
    def release(self, manifest: str) -> None:
        self._both(lambda ledger: ledger.release(manifest))

    @rule(run=st.sampled_from(RUNS), model=st.sampled_from(MODELS), after=st.integers(-1, 10), limit=st.integers(1, 4))
    def pending(self, run: str, model: str, after: int, limit: int) -> None:
        self._both(lambda ledger: ledger.pending(run, model, after, limit))

    @rule(state=STATES, after=st.sampled_from(["", *IDS]), limit=st.integers(1, 4))
    def in_state(self, state: JobState, after: str, limit: int) -> None:
        self._both(lambda ledger: ledger.in_state(state, after, limit))

    @rule()
    def open_again(self) -> None:
        self._runner.run(self._disk.close())
        self._disk = SqliteLedger(self._folder / "ledger.sqlite", kind="live")
        self._memory = self._memory.reopen()
        # what a step stores is stored by the run that this process began
        self._both(lambda ledger: ledger.end("r1", 2.0, {"stored": 1}))

    @invariant()
    def same_rows(self) -> None:
        self._both(_everything)


async def _answer(ask: Callable[[Ledger], Awaitable[Any]], ledger: Ledger) -> Any:
    try:
        return await ask(ledger)
    except StepRefused as refusal:
        return _Refused(str(refusal))


class _Refused(StepRefused):
    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Refused) and other.message == self.message

    __hash__ = StepRefused.__hash__


async def _everything(ledger: Ledger) -> list[object]:
    return [
        await ledger.recall(IDS),
        [record async for record in ledger.rows()],
        await ledger.manifests(),
        await ledger.last_run(),
        [(await ledger.tally(run), await ledger.pending_models(run)) for run in ("", *RUNS)],
    ]


class BothLedgersAtLength(BothLedgers):
    pass


TestBothLedgers = BothLedgers.TestCase
TestBothLedgers.settings = settings(max_examples=20, stateful_step_count=30, deadline=None)

TestBothLedgersAtLength = pytest.mark.slow(BothLedgersAtLength.TestCase)
TestBothLedgersAtLength.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)
