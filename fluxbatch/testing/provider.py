"""An image API that does as it is told."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import anyio

from fluxbatch.model.answer import Granted, Inline, Refused
from fluxbatch.model.job import Lease
from fluxbatch.policy.deadlines import URL_LIFE_S
from fluxbatch.policy.verdict import Complaint, Loss, judge, judge_loss
from fluxbatch.testing.images import make_png

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from fluxbatch.errors import PhotoError
    from fluxbatch.model.answer import Answer
    from fluxbatch.model.job import PlannedJob
    from fluxbatch.ports import Clock

__all__ = ["Act", "Congestion", "Grant", "Lose", "Refuse", "ScriptedProvider", "Send", "Sent", "Silence", "SpoilPhoto"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """The image is made and waits at ``url`` (one of its own, if empty) for ``life_s`` seconds from then."""

    latency_s: float = 1.0
    url: str = ""
    life_s: float = URL_LIFE_S
    request_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """The image comes in the answer itself."""

    data: bytes = make_png()
    latency_s: float = 1.0
    request_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refuse:
    """The API answers with an error; ``early``: before the whole request was sent.

    ``billed``: it takes the money all the same.
    """

    status: int
    code: str = ""
    message: str = ""
    retry_after: float | None = None
    latency_s: float = 0.5
    request_id: str = ""
    billed: bool = False
    early: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Lose:
    """The connection is lost. ``billed``: the image was made all the same."""

    loss: Loss = Loss.LOST
    latency_s: float = 1.0
    billed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """No answer, ever."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoilPhoto:
    """A photo of the job can't be sent."""

    error: PhotoError
    latency_s: float = 0.1


Act: TypeAlias = Grant | Send | Refuse | Lose | Silence | SpoilPhoto
Script: TypeAlias = "Callable[[PlannedJob, int], Act]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Congestion:
    """A limit that the API doesn't tell of: what goes beyond is refused with 429."""

    limit: int
    retry_after: float | None = None
    latency_s: float = 0.05


@dataclass(frozen=True, slots=True)
class Sent:
    """A request that arrived: whose, the how-manieth of this job (from 1), and when (monotonic)."""

    job_id: str
    model: str
    attempt: int
    at: float


class ScriptedProvider:
    """The ``Provider`` port, played.

    Args:
        clock: its time.
        script: what to do with a job's n-th request: a function of both, acts by job id (the last one stays), or one
            act for all.
        congestion: a hidden limit of requests at a time, by model or (key ``""``) for all together.
        spool: a folder for images that come in the answer itself.

    Attributes:
        sent: all requests, in the order in which they arrived.
        in_flight, peak: requests under way now, and at most, refused ones left out.
        billed: how often each job was really paid for.
        url_of: the job that a URL was given out for.
    """

    def __init__(
        self,
        clock: Clock,
        script: Script | Mapping[str, Sequence[Act]] | Act | None = None,
        *,
        congestion: Mapping[str, Congestion] | None = None,
        spool: Path | None = None,
    ) -> None:
        self._clock = clock
        self._script = _as_script(script if script is not None else Grant())
        self._congestion = dict(congestion or {})
        self._spool = spool
        self._by_model: Counter[str] = Counter()
        self._attempts: Counter[str] = Counter()
        self.sent: list[Sent] = []
        self.in_flight = 0
        self.peak = 0
        self.billed: Counter[str] = Counter()
        self.url_of: dict[str, str] = {}

    async def generate(self, job: PlannedJob) -> Answer:
        """Take one request."""
        self._attempts[job.id] += 1
        attempt = self._attempts[job.id]
        self.sent.append(Sent(job.id, job.model, attempt, self._clock.monotonic()))
        refused = self._too_many(job.model)
        if refused is not None:
            await anyio.sleep(refused.latency_s)
            return _refusal(Refuse(status=429, code="rate_limit_exceeded", retry_after=refused.retry_after))
        self.in_flight += 1
        self._by_model[job.model] += 1
        self.peak = max(self.peak, self.in_flight)
        try:
            return await self._play(job, attempt, self._script(job, attempt))
        finally:
            self.in_flight -= 1
            self._by_model[job.model] -= 1

    async def _play(self, job: PlannedJob, attempt: int, act: Act) -> Answer:
        if isinstance(act, Silence):
            await anyio.sleep_forever()
        else:
            await anyio.sleep(act.latency_s)
        match act:
            case Grant():
                self.billed[job.id] += 1
                return Granted(self._lease(job, attempt, act))
            case Send():
                self.billed[job.id] += 1
                return Inline(self._spooled(job, attempt, act.data), act.request_id)
            case Refuse():
                self.billed[job.id] += act.billed
                return _refusal(act)
            case Lose(loss=loss):
                self.billed[job.id] += act.billed
                return Refused(judge_loss(loss, f"the connection was lost ({loss})"))
            case SpoilPhoto(error=error):
                raise error
            case Silence():
                raise RuntimeError("silence has ended")

    def _lease(self, job: PlannedJob, attempt: int, act: Grant) -> Lease:
        url = act.url or f"https://delivery.example/results/{job.id}/{attempt}.png?sig=a%2Fb%3D{attempt}"
        self.url_of[url] = job.id
        now = self._clock.now()
        return Lease(url, deadline=now + act.life_s, granted_at=now, request_id=act.request_id)

    def _spooled(self, job: PlannedJob, attempt: int, data: bytes) -> Path:
        if self._spool is None:
            raise ValueError("a provider that sends images needs a spool folder")
        path = self._spool / f"{job.id.replace('/', '_')}-{attempt}.image"
        path.write_bytes(data)
        return path

    def _too_many(self, model: str) -> Congestion | None:
        for key, count in (("", self.in_flight), (model, self._by_model[model])):
            hidden = self._congestion.get(key)
            if hidden is not None and count >= hidden.limit:
                return hidden
        return None


def _as_script(script: Script | Mapping[str, Sequence[Act]] | Act) -> Script:
    match script:
        case Grant() | Send() | Refuse() | Lose() | Silence() | SpoilPhoto():
            return lambda _job, _attempt: script
        case _ if callable(script):
            return script
        case _:
            return lambda job, attempt: _act_of(script.get(job.id, ()), attempt)


def _act_of(acts: Sequence[Act], attempt: int) -> Act:
    return acts[min(attempt, len(acts)) - 1] if acts else Grant()


def _refusal(act: Refuse) -> Refused:
    complaint = Complaint(act.status, act.code, act.message, act.retry_after, act.early)
    return Refused(judge(complaint), act.request_id)
