"""From a pending job to a lease, an image, or a verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fluxbatch.engine.desk import made_for
from fluxbatch.engine.inputs import Inputs
from fluxbatch.errors import DeliveryError, PhotoError, StorageError, TargetBlocked
from fluxbatch.model.answer import Action, Inline, Refused
from fluxbatch.model.events import JobFailed, JobGranted, JobRequeued, JobStored, JobSubmitted
from fluxbatch.model.job import Failure, Step
from fluxbatch.model.state import Charge, JobState, Reason
from fluxbatch.policy.backoff import retry_delay_s
from fluxbatch.policy.retry import after_refusal, before_sending, uses_attempt
from fluxbatch.policy.verdict import Complaint, judge

if TYPE_CHECKING:
    from collections.abc import Callable

    from fluxbatch.engine.delivery import Delivery
    from fluxbatch.engine.desk import Desk
    from fluxbatch.engine.queue import JobQueue
    from fluxbatch.engine.trouble import Ticket, Trouble
    from fluxbatch.model.answer import Answer, Granted, Verdict
    from fluxbatch.model.job import PlannedJob, Record

__all__ = ["Sending"]

_SLOW_MEMORY: Final = 0.95
"""what one answer leaves of the memory of a slower one"""


class Sending:
    """Sends requests and settles what comes of them. ``failing`` hears of a job that is about to fail, and why."""

    def __init__(
        self,
        desk: Desk,
        queue: JobQueue,
        delivery: Delivery,
        trouble: Trouble,
        failing: Callable[[str, Failure], None],
    ) -> None:
        self._desk = desk
        self._queue = queue
        self._delivery = delivery
        self._trouble = trouble
        self._failing = failing
        self._inputs = Inputs(desk)
        self._refusals: dict[str, int] = {}
        self._doubted: dict[str, float] = {}
        self._slow_s: float | None = None

    def reserve(self, record: Record) -> Ticket:
        """Take the place and the money for a request; ``send`` gives them back."""
        self._desk.in_flight += 1
        self._desk.budget.reserve(record.job.price or 0.0)
        return self._trouble.started(record.job.model)

    def answer_s(self, guess: float) -> float:
        """Seconds that an answer takes, as the slower ones of late; ``guess`` as long as none has come."""
        return guess if self._slow_s is None else self._slow_s

    async def send(self, record: Record, ticket: Ticket) -> None:
        """One attempt, from the ledger's note of it to its settlement."""
        desk, job = self._desk, record.job
        charge = Charge.NONE
        try:
            spent = before_sending(record)
            if spent is not None:
                await self._fail(record, spent, Charge.NONE, frm=JobState.PENDING)
                return
            ready = await self._make_ready(record)
            if ready is None:
                return
            record = await desk.advance(record, Step(job.id, JobState.PENDING, JobState.SUBMITTED))
            if desk.stop is not None:
                # a reason to stop came up while this was written: it was not sent
                await desk.advance(record, Step(job.id, JobState.SUBMITTED, JobState.PENDING))
                return
            desk.account.requests += 1
            desk.note(
                JobSubmitted(
                    at=desk.clock.now(), job_id=job.id, model=job.model, attempt=self._refusals.get(job.id, 0) + 1
                )
            )
            # from here to the answer, the request may have been billed whatever breaks
            charge = Charge.UNKNOWN
            charge = await self._attempt(record, ready, ticket, desk.clock.monotonic())
        except StorageError as error:
            desk.stop_for_storage(error)
        finally:
            self._inputs.release(job.id)
            self._trouble.ended(ticket, None)
            desk.in_flight -= 1
            desk.budget.settle(job.price or 0.0, charge, desk.clock.now())
            desk.bell.ring()

    async def _make_ready(self, record: Record) -> PlannedJob | None:
        """The job with its images as they are sent; None if it is not to be sent, or not yet."""
        try:
            ready = await self._inputs.ready(record.job)
        except PhotoError as error:
            await self._fail(record, _failure_of(error), Charge.NONE, frm=JobState.PENDING)
            return None
        return ready if self._desk.stop is None else None

    async def _attempt(self, record: Record, ready: PlannedJob, ticket: Ticket, begun: float) -> Charge:
        try:
            answer = await self._desk.provider.generate(ready)
        except PhotoError as error:
            await self._fail(record, _failure_of(error), Charge.NONE)
            return Charge.NONE
        if not isinstance(answer, Refused):
            took = self._desk.clock.monotonic() - begun
            self._slow_s = max(took, _SLOW_MEMORY * (self._slow_s or 0.0))
        if isinstance(answer, Inline):
            return await self._landed(record, answer, ticket, begun)
        paused_s = self._end(ticket, answer)
        if isinstance(answer, Refused):
            await self._refused(record, answer.verdict, answer.request_id, begun, paused_s)
            return answer.verdict.charge
        await self._granted(record, answer)
        return Charge.CHARGED

    def _end(self, ticket: Ticket, answer: Answer) -> float:
        """The place is free while the answer is put on record. Returns the seconds that its scope pauses."""
        paused_s = self._trouble.ended(ticket, answer)
        self._desk.bell.ring()
        return paused_s

    async def _granted(self, record: Record, answer: Granted) -> None:
        desk, lease = self._desk, answer.lease
        self._answered(record)
        step = Step(
            record.job.id,
            JobState.SUBMITTED,
            JobState.GENERATED,
            charge=Charge.CHARGED,
            usd=record.job.price or 0.0,
            attempts=1,
            lease=lease,
        )
        record = await desk.advance(record, step)
        self._delivery.owe(record, lease, remake=True)
        now = desk.clock.now()
        desk.note(
            JobGranted(
                at=now,
                job_id=record.job.id,
                seconds_left=lease.deadline - now,
                request_id=lease.request_id,
                usd=step.usd,
            )
        )

    async def _landed(self, record: Record, answer: Inline, ticket: Ticket, begun: float) -> Charge:
        """The image is here already: verify and keep it."""
        desk, job = self._desk, record.job
        landing = await desk.insist(desk.sink.adopt, answer.path)
        try:
            stored = await desk.insist(landing.commit, job.filename, job)
            stored = made_for(job, stored)
        except DeliveryError as error:
            verdict = judge(Complaint(200, message=str(error)))
            paused_s = self._end(ticket, Refused(verdict, answer.request_id))
            await self._refused(record, verdict, answer.request_id, begun, paused_s)
            return verdict.charge
        except TargetBlocked as error:
            self._end(ticket, answer)
            failure = Failure(Reason.STORAGE_FAILED, error.message)
            await self._fail(record, failure, Charge.CHARGED, request_id=answer.request_id, uses=True, lost=True)
            return Charge.CHARGED
        finally:
            await landing.discard()
        self._end(ticket, answer)
        self._answered(record)
        step = Step(
            job.id,
            JobState.SUBMITTED,
            JobState.STORED,
            charge=Charge.CHARGED,
            usd=job.price or 0.0,
            attempts=1,
            stored=stored,
            request_id=answer.request_id,
        )
        await desk.advance(record, step)
        desk.note(JobStored(at=desk.clock.now(), job_id=job.id, stored=stored, usd=step.usd))
        return Charge.CHARGED

    def _answered(self, record: Record) -> None:
        self._refusals.pop(record.job.id, None)
        self._doubted.pop(record.job.model, None)

    async def _refused(self, record: Record, verdict: Verdict, request_id: str, begun: float, paused_s: float) -> None:
        desk, job = self._desk, record.job
        self._refusals[job.id] = self._refusals.get(job.id, 0) + 1
        failure = after_refusal(
            record, verdict, max_attempts=desk.settings.max_attempts, if_unsure=desk.settings.if_unsure
        )
        if verdict.action is Action.STOP_MODEL:
            doubt = self._doubt(record, verdict, begun)
            failure = failure or doubt
        if failure is not None:
            await self._fail(record, failure, verdict.charge, request_id=request_id, uses=uses_attempt(verdict))
            return
        step = Step(
            job.id,
            JobState.SUBMITTED,
            JobState.PENDING,
            charge=verdict.charge,
            usd=job.price or 0.0,
            attempts=int(uses_attempt(verdict)),
            request_id=request_id,
        )
        record = await desk.advance(record, step)
        delay = retry_delay_s(self._refusals[job.id], desk.rng, congested=verdict.congestion, asked=paused_s or None)
        self._queue.retry(record, desk.clock.monotonic() + delay)
        desk.note(
            JobRequeued(
                at=desk.clock.now(),
                job_id=job.id,
                reason=verdict.reason,
                charge=verdict.charge,
                delay_s=delay,
                message=verdict.message,
                http_status=verdict.http_status,
                usd=_usd(job, verdict.charge),
            )
        )

    def _doubt(self, record: Record, verdict: Verdict, begun: float) -> Failure | None:
        """A model is said to be unavailable: one more try (begun later than that), then nothing more is sent to it."""
        model = record.job.model
        if begun <= self._doubted.setdefault(model, self._desk.clock.monotonic()):
            return None
        if model not in self._desk.models_out:
            self._desk.models_out[model] = verdict.message
            self._queue.drop(model)
        return Failure(verdict.reason, verdict.message, verdict.http_status)

    async def _fail(
        self,
        record: Record,
        failure: Failure,
        charge: Charge,
        *,
        frm: JobState = JobState.SUBMITTED,
        request_id: str = "",
        uses: bool = False,
        lost: bool = False,
    ) -> None:
        desk, job = self._desk, record.job
        self._refusals.pop(job.id, None)
        self._failing(job.id, failure)
        step = Step(
            job.id,
            frm,
            JobState.FAILED,
            charge=charge,
            usd=job.price or 0.0,
            attempts=int(uses),
            lost=lost,
            failure=failure,
            request_id=request_id,
        )
        await desk.advance(record, step)
        usd = _usd(job, charge)
        desk.note(JobFailed(at=desk.clock.now(), job_id=job.id, failure=failure, charge=charge, usd=usd))


def _usd(job: PlannedJob, charge: Charge) -> float:
    """What an attempt cost, surely or maybe."""
    return 0.0 if charge is Charge.NONE else job.price or 0.0


def _failure_of(error: PhotoError) -> Failure:
    return Failure(error.reason, str(error))
