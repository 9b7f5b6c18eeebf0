"""From a pending job to a lease, an image, or a verdict."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from fluxbatch.errors import DeliveryError, PhotoChanged, PhotoError, StorageError
from fluxbatch.model.answer import Action, Granted, Inline, Refused, Scope
from fluxbatch.model.events import JobFailed, JobGranted, JobRequeued, JobStored, JobSubmitted, RunPaused
from fluxbatch.model.job import Failure, Step
from fluxbatch.model.state import Charge, JobState, Reason
from fluxbatch.model.summary import Stop
from fluxbatch.policy.backoff import pause_s, retry_delay_s
from fluxbatch.policy.remedies import REMEDY
from fluxbatch.policy.retry import after_refusal, uses_attempt
from fluxbatch.policy.verdict import Complaint, judge

if TYPE_CHECKING:
    from fluxbatch.engine.delivery import Delivery
    from fluxbatch.engine.desk import Desk
    from fluxbatch.engine.queue import JobQueue
    from fluxbatch.model.answer import Verdict
    from fluxbatch.model.job import Record

__all__ = ["Sending"]

_WRONG_ADDRESS: Final = "check --base-url (FLUXBATCH_BASE_URL): it ends in /v1, without /images/generations"


class Sending:
    """Sends requests and settles what comes of them."""

    def __init__(self, desk: Desk, queue: JobQueue, delivery: Delivery) -> None:
        self._desk = desk
        self._queue = queue
        self._delivery = delivery
        self._refusals: dict[str, int] = {}
        self._doubted: dict[str, float] = {}
        self._episodes: dict[str, int] = {}

    def reserve(self, record: Record) -> None:
        """Take the place and the money for a request; ``send`` gives them back."""
        desk = self._desk
        desk.in_flight += 1
        desk.limiter.started(record.job.model, desk.clock.monotonic())
        desk.budget.reserve(record.job.price or 0.0)

    async def send(self, record: Record) -> None:
        """One attempt, from the ledger's note of it to its settlement."""
        desk, job = self._desk, record.job
        charge, congested = Charge.NONE, False
        try:
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
            charge, congested = await self._attempt(record, desk.clock.monotonic())
        except StorageError as error:
            desk.stop_for_storage(error)
        finally:
            desk.in_flight -= 1
            desk.limiter.finished(job.model, desk.clock.monotonic(), congested=congested)
            desk.budget.settle(job.price or 0.0, charge)
            desk.bell.ring()

    async def _attempt(self, record: Record, begun: float) -> tuple[Charge, bool]:
        try:
            answer = await self._desk.provider.generate(record.job)
        except PhotoError as error:
            reason = Reason.INPUT_CHANGED if isinstance(error, PhotoChanged) else Reason.BAD_IMAGE
            await self._fail(record, Failure(reason, str(error)), Charge.NONE)
            return Charge.NONE, False
        match answer:
            case Granted():
                await self._granted(record, answer)
                return Charge.CHARGED, False
            case Inline():
                return await self._landed(record, answer, begun), False
            case Refused(verdict, request_id):
                await self._refused(record, verdict, request_id, begun)
                return verdict.charge, verdict.congestion

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
            JobGranted(at=now, job_id=record.job.id, seconds_left=lease.deadline - now, request_id=lease.request_id)
        )

    async def _landed(self, record: Record, answer: Inline, begun: float) -> Charge:
        """The image is here already: verify and keep it."""
        desk, job = self._desk, record.job
        landing = await desk.insist(lambda: desk.sink.adopt(answer.path))
        try:
            stored = await desk.insist(lambda: landing.commit(job.filename))
            stored = replace(stored, fingerprint=job.fingerprint)
        except DeliveryError as error:
            verdict = judge(Complaint(200, message=str(error)))
            await self._refused(record, verdict, answer.request_id, begun)
            return verdict.charge
        finally:
            await landing.discard()
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
        desk.note(JobStored(at=desk.clock.now(), job_id=job.id, stored=stored))
        return Charge.CHARGED

    def _answered(self, record: Record) -> None:
        self._desk.outage.answered()
        self._refusals.pop(record.job.id, None)
        self._doubted.pop(record.job.model, None)
        self._episodes.pop(record.job.model, None)

    async def _refused(self, record: Record, verdict: Verdict, request_id: str, begun: float) -> None:
        desk, job = self._desk, record.job
        self._refusals[job.id] = self._refusals.get(job.id, 0) + 1
        paused_s = self._heed(record, verdict)
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
            )
        )

    def _heed(self, record: Record, verdict: Verdict) -> float:
        """What a refusal says about more than its job. Returns the seconds that its scope pauses."""
        desk = self._desk
        if verdict.action is Action.STOP_RUN:
            address = verdict.scope is Scope.ENDPOINT
            remedy = _WRONG_ADDRESS if address else REMEDY[verdict.reason]
            desk.ask_to_stop(Stop("wrong_base_url" if address else verdict.reason, verdict.message, remedy))
            return 0.0
        if verdict.scope is not Scope.ENDPOINT and verdict.http_status is not None:
            desk.outage.answered()
            return self._congested(record, verdict) if verdict.congestion else self._asked_to_wait(record, verdict)
        return self._unanswered(record, verdict)

    def _asked_to_wait(self, record: Record, verdict: Verdict) -> float:
        return self._pause(record, verdict, verdict.pause) if verdict.pause else 0.0

    def _congested(self, record: Record, verdict: Verdict) -> float:
        """Too many requests: a pause for all of its scope, longer each time in a row, one for each episode."""
        desk, model = self._desk, record.job.model
        if desk.limiter.resumes_at(model, desk.clock.monotonic()) is None:
            self._episodes[model] = self._episodes.get(model, 0) + 1
        elif verdict.pause is None:
            return 0.0
        seconds = pause_s(max(1, self._episodes.get(model, 0)), verdict.pause)
        return self._pause(record, verdict, seconds) if seconds else 0.0

    def _unanswered(self, record: Record, verdict: Verdict) -> float:
        """The API is not there, or says nothing. Returns the seconds that it is left alone."""
        desk = self._desk
        now = desk.clock.monotonic()
        away = verdict.scope is Scope.ENDPOINT
        first = away and desk.outage.failed(now)
        if not away:
            desk.outage.silent(now)
        if desk.outage.is_over(now):
            remedy = "check the address and the network; run the same command again later"
            desk.ask_to_stop(Stop("outage", f"the API can't be reached: {verdict.message}", remedy))
            return 0.0
        if not away:
            return 0.0
        seconds = pause_s(max(1, desk.outage.episodes), verdict.pause)
        if first:
            desk.outage.paused(now + seconds)
            self._pause(record, verdict, seconds)
        return seconds

    def _pause(self, record: Record, verdict: Verdict, seconds: float) -> float:
        desk = self._desk
        seconds = pause_s(1, seconds)
        desk.limiter.pause(verdict.scope, record.job.model, desk.clock.monotonic() + seconds)
        desk.note(RunPaused(at=desk.clock.now(), scope=verdict.scope, seconds=seconds, message=verdict.message))
        return seconds

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
        self, record: Record, failure: Failure, charge: Charge, *, request_id: str = "", uses: bool = False
    ) -> None:
        desk, job = self._desk, record.job
        self._refusals.pop(job.id, None)
        step = Step(
            job.id,
            JobState.SUBMITTED,
            JobState.FAILED,
            charge=charge,
            usd=job.price or 0.0,
            attempts=int(uses),
            failure=failure,
            request_id=request_id,
        )
        await desk.advance(record, step)
        desk.note(JobFailed(at=desk.clock.now(), job_id=job.id, failure=failure, charge=charge))
