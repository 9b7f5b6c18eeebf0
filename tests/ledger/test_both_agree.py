"""The ledger on disk and the one in memory answer alike, whatever is asked of them in whatever order."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from fluxbatch.adapters.ledger import SqliteLedger
from fluxbatch.errors import StepRefused
from fluxbatch.model.job import Failure, JobOutput, Lease, Step, Stored
from fluxbatch.model.state import NEXT, Charge, JobState, Reason
from fluxbatch.policy.retry import MAX_RISKED
from fluxbatch.ports import Disposition, Enlisted, RunRow
from fluxbatch.testing import MemoryLedger, make_job

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from fluxbatch.model.job import PlannedJob, Record
    from fluxbatch.ports import Ledger, Tally

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


UNDER_WAY = {JobState.SUBMITTED, JobState.GENERATED}


class Bill:
    """What was asked of the ledgers, added up by the simplest rules: nothing is ever forgotten."""

    def __init__(self) -> None:
        self.paid: Counter[tuple[str, str]] = Counter()
        """by id and what was paid: steps and USD, whatever the fingerprint"""
        self.risked: Counter[tuple[str, str]] = Counter()
        """possibly-charged attempts by (id, fingerprint)"""
        self.allowed: dict[tuple[str, str], int] = {}
        """how many of them there may be"""
        self.run = 0.0
        """USD of the run under way"""

    def take(self, before: Record, step: Step, *, of_run: bool) -> None:
        self.paid[step.job_id, "lost"] += step.lost
        if step.charge is Charge.NONE:
            return
        usd = "cost_usd" if step.charge is Charge.CHARGED else "unknown_usd"
        self.paid[step.job_id, step.charge] += 1
        self.paid[step.job_id, usd] += step.usd  # type: ignore[assignment]  # USD are no counts
        self.risked[step.job_id, before.job.fingerprint] += 1
        self.run += step.usd if of_run else 0.0

    def pardon(self, job: PlannedJob) -> None:
        key = job.id, job.fingerprint
        self.allowed[key] = max(self.allowed.get(key, MAX_RISKED), self.risked[key] + 1)

    def gives_way(self, row: Record) -> None:
        """A stored image is replaced on purpose: what was paid for it is no longer held against it."""
        key = row.job.id, row.job.fingerprint
        self.allowed[key] = max(self.allowed.get(key, MAX_RISKED), MAX_RISKED + row.charged - row.lost)

    def left(self, job: PlannedJob) -> int:
        key = job.id, job.fingerprint
        return self.allowed.get(key, MAX_RISKED) - self.risked[key]

    def total(self, what: str, ids: Iterable[str]) -> float:
        return sum(self.paid[job_id, what] for job_id in ids)


class BothLedgers(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self._folder = Path(tempfile.mkdtemp(prefix="ledger-", dir=MEMORY if MEMORY.is_dir() else None))
        self._runner = asyncio.Runner()
        self._memory = MemoryLedger()
        self._disk = SqliteLedger(self._folder / "ledger.sqlite", kind="live")
        self._bill = Bill()
        self._begun = 0
        self._under_way = False
        self._known: dict[str, Record] = {}

    def teardown(self) -> None:
        self._runner.run(self._disk.close())
        self._runner.close()
        shutil.rmtree(self._folder)

    def _both(self, ask: Callable[[Ledger], Awaitable[object]]) -> None:
        one, two = (self._runner.run(_answer(ask, ledger)) for ledger in (self._memory, self._disk))
        assert two == one
        if isinstance(one, Exception):
            raise one

    def _enlist(self, run: str, enlisted: list[Enlisted]) -> None:
        self._both(lambda ledger: ledger.enlist(run, enlisted))
        for job in (one.job for one in enlisted):
            known = self._known.get(job.id)
            if known and known.state is JobState.STORED and known.job.fingerprint != job.fingerprint:
                self._bill.gives_way(known)

    def _step(self, step: Step) -> None:
        before = self._runner.run(self._memory.recall([step.job_id]))
        try:
            self._both(lambda ledger: ledger.advance(step))
        except StepRefused:
            return
        self._bill.take(before[step.job_id], step, of_run=self._under_way)

    @initialize()
    def first_run(self) -> None:
        self._both(lambda ledger: ledger.begin(RunRow("r1", 1.0)))
        self._under_way = True

    @rule(carried_usd=st.sampled_from([0.0, 0.5]))
    def next_run(self, carried_usd: float) -> None:
        self._begun += 1
        run = RunRow(f"begun-{self._begun}", 1.0, carried_usd=carried_usd)
        self._both(lambda ledger: ledger.begin(run))
        self._bill.run = 0.0
        self._under_way = True

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
        needs=st.lists(st.sampled_from([*IDS, "nobody"]), max_size=2),
        waits=st.booleans(),
        stored=st.none() | STORED,
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
                images=tuple(JobOutput(upstream) for upstream in facts["needs"] if upstream != id_),
                fingerprint=facts["fingerprint"],
                defect=facts["defect"] if refused else None,
            )
            for id_ in ids
        ]
        told = {name: facts[name] for name in ("selected", "pardon", "waits", "stored")}
        enlisted = [Enlisted(job, disposition, **told) for job in jobs]
        self._enlist(run, enlisted)
        for job in jobs:
            known = self._known.get(job.id)
            if facts["pardon"] and not (known and known.state in UNDER_WAY):
                self._bill.pardon(job)

    @rule(
        job_id=st.sampled_from(IDS),
        way=ALLOWED | st.tuples(STATES, STATES),
        charge=st.sampled_from(Charge),
        usd=st.sampled_from([0.0, 0.25, 1.5]),
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
            stored=stored if way[1] is JobState.STORED else None,
            failure=failure if way[1] is JobState.FAILED else None,
            **facts,
        )
        self._step(step)

    @rule(job_id=st.sampled_from(IDS), charge=st.sampled_from(Charge), lease=LEASES)
    def live(self, job_id: str, charge: Charge, lease: Lease) -> None:
        """The way that jobs go most often."""
        self._step(Step(job_id, JobState.PENDING, JobState.SUBMITTED))
        self._step(Step(job_id, JobState.SUBMITTED, JobState.GENERATED, charge=charge, usd=0.25, lease=lease))

    @rule(job_id=st.sampled_from(IDS), charge=st.sampled_from(Charge), fingerprint=st.sampled_from(["one", "two"]))
    def in_vain(self, job_id: str, charge: Charge, fingerprint: str) -> None:
        """The way that money goes."""
        job = make_job(2 * IDS.index(job_id), id=job_id, manifest=MANIFESTS[0], fingerprint=fingerprint)
        self._enlist(RUNS[0], [Enlisted(job, Disposition.MAKE)])
        self._step(Step(job_id, JobState.PENDING, JobState.SUBMITTED))
        self._step(Step(job_id, JobState.SUBMITTED, JobState.PENDING, charge=charge, usd=0.5, attempts=1))

    @rule(ids=st.permutations(IDS), run=st.sampled_from(RUNS), stored=STORED)
    def chain(self, ids: list[str], run: str, stored: Stored) -> None:
        """One is made, and the next may go: the way that chains go most often."""
        jobs = [
            make_job(2 * IDS.index(id_), id=id_, model="m1", manifest=MANIFESTS[0], fingerprint="one", images=images)
            for id_, images in zip(ids, [(), (JobOutput(ids[0]),), (JobOutput(ids[0]), JobOutput(ids[1]))], strict=True)
        ]
        self._enlist(run, [Enlisted(job, Disposition.MAKE, waits=bool(job.needs)) for job in jobs])
        self._step(Step(ids[0], JobState.PENDING, JobState.SUBMITTED))
        self._step(Step(ids[0], JobState.SUBMITTED, JobState.STORED, stored=stored))

    @rule(run=st.sampled_from(RUNS), model=st.sampled_from(MODELS), limit=st.integers(1, 4))
    def freed(self, run: str, model: str, limit: int) -> None:
        self._both(lambda ledger: ledger.freed(run, model, limit))

    @rule(run=st.sampled_from(RUNS), after=st.integers(-1, 4), limit=st.integers(1, 4))
    def stranded(self, run: str, after: int, limit: int) -> None:
        self._both(lambda ledger: ledger.stranded(run, after, limit))

    @rule(ids=st.lists(st.sampled_from([*IDS, "nobody"]), max_size=2, unique=True))
    def forget(self, ids: list[str]) -> None:
        self._both(lambda ledger: ledger.forget(ids))
        for known in (self._known.get(id_) for id_ in ids):
            if known and known.state is JobState.STORED:
                self._bill.gives_way(known)

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
        # what a step stores is stored by the run that this process began, and what it costs is counted for it
        self._both(lambda ledger: ledger.end("r1", 2.0, {"stored": 1}))
        self._under_way = False

    @invariant()
    def they_agree_and_forget_nothing(self) -> None:
        self._both(_everything)
        self._known, present, tallies, run = self._runner.run(_facts(self._disk))
        self._check_risks()
        self._check_tally(tallies[""], present)
        for run_id in RUNS:
            ids = [id_ for id_, record in self._known.items() if record.run_id == run_id and record.selected]
            self._check_tally(tallies[run_id], ids)
        assert run is not None
        assert run.spent_usd == self._bill.run

    def _check_risks(self) -> None:
        """Only a pardon allows more, whatever the fingerprints were in between.

        So an engine that sends while ``risked < MAX_RISKED`` sends twice at most, and once more a pardon.
        """
        for record in self._known.values():
            assert MAX_RISKED - record.risked == self._bill.left(record.job)

    def _check_tally(self, tally: Tally, ids: list[str]) -> None:
        """Money spent is money spent: of the same jobs, the tally never decreases."""
        for what in ("charged", "unknown", "lost", "cost_usd", "unknown_usd"):
            assert getattr(tally, what) == self._bill.total(what, ids), what


async def _answer(ask: Callable[[Ledger], Awaitable[Any]], ledger: Ledger) -> Any:
    try:
        return await ask(ledger)
    except StepRefused as refusal:
        return _Refused(str(refusal))


class _Refused(StepRefused):
    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Refused) and other.message == self.message

    __hash__ = StepRefused.__hash__


async def _facts(ledger: Ledger) -> tuple[dict[str, Record], list[str], dict[str, Tally], RunRow | None]:
    present = [record.job.id async for record in ledger.rows()]
    tallies = {run: await ledger.tally(run) for run in ("", *RUNS)}
    return await ledger.recall(IDS), present, tallies, await ledger.last_run()


async def _everything(ledger: Ledger) -> list[object]:
    return [
        await ledger.recall(IDS),
        [record async for record in ledger.rows()],
        await ledger.manifests(),
        await ledger.last_run(),
        await ledger.ids(),
        [(await ledger.tally(run), await ledger.pending_models(run)) for run in ("", *RUNS)],
        [(await ledger.waiting(run), await ledger.stranded(run, -1, 9)) for run in RUNS],
        [await ledger.pending(run, model, -1, 9) for run in RUNS for model in MODELS],
    ]


class BothLedgersAtLength(BothLedgers):
    pass


TestBothLedgers = BothLedgers.TestCase
TestBothLedgers.settings = settings(max_examples=20, stateful_step_count=30, deadline=None)

TestBothLedgersAtLength = pytest.mark.slow(BothLedgersAtLength.TestCase)
TestBothLedgersAtLength.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)
