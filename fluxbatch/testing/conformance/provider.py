"""What every ``Provider`` holds to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

import anyio

from fluxbatch.errors import PhotoChanged
from fluxbatch.model.answer import Action, Granted, Inline, Refused, Scope
from fluxbatch.model.state import Charge, Reason
from fluxbatch.policy.deadlines import URL_LIFE_S
from fluxbatch.policy.verdict import Loss
from fluxbatch.testing.conformance.expect import equal, expect, raises
from fluxbatch.testing.images import make_png
from fluxbatch.testing.provider import Grant, Lose, Refuse, Send, Silence

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from fluxbatch.model.answer import Answer, Verdict
    from fluxbatch.model.job import PlannedJob
    from fluxbatch.ports import Clock, Provider
    from fluxbatch.testing.provider import Act

__all__ = ["CASES", "Case", "Factory", "Rig"]


class Rig(Protocol):
    """A provider, and an API behind it that does as it is told."""

    @property
    def provider(self) -> Provider:
        """What is under test. An answer that takes a second is in time."""
        ...

    @property
    def clock(self) -> Clock:
        """The provider's clock."""
        ...

    def will(self, job: PlannedJob, acts: Sequence[Act]) -> None:
        """Have the API do this with the requests for a job, in this order. It tells jobs apart by their prompt."""
        ...

    def arrived(self, job: PlannedJob) -> int:
        """How many whole requests for a job the API got (what it refused or lost included)."""
        ...

    def job(self, name: str) -> PlannedJob:
        """A job that can be sent, with a photo of its own if the provider sends photos. Its prompt holds its name."""
        ...

    def spoiled(self, name: str) -> PlannedJob:
        """A job whose photo is no longer the file that was checked."""
        ...

    def unreachable(self) -> AbstractAsyncContextManager[None]:
        """While it is entered, nobody listens at the API's address."""
        ...


Factory: TypeAlias = "Callable[[], AbstractAsyncContextManager[Rig]]"
Case: TypeAlias = "Callable[[Factory], Awaitable[None]]"


async def a_url_comes_back_as_a_lease(make: Factory) -> None:
    """Byte for byte, with the request id and a deadline."""
    url = "https://delivery.example/a%2Fb/sample.png?x=%3A%2F&sig=a+b%3D&y="
    async with make() as rig:
        job = rig.job("leased")
        rig.will(job, [Grant(url=url, request_id="req-7", latency_s=0.0)])
        before = rig.clock.now()
        answer = await rig.provider.generate(job)
        expect(isinstance(answer, Granted), f"no lease but {answer!r}")
        lease = answer.lease if isinstance(answer, Granted) else None
        expect(lease is not None and lease.url == url, "the URL was changed on its way")
        expect(lease is not None and lease.request_id == "req-7", "the request id is not kept")
        after = rig.clock.now()
        expect(
            lease is not None and before + URL_LIFE_S - 2 <= lease.deadline <= after + URL_LIFE_S + 2,
            "a URL without a deadline of its own lives 600 s from the answer",
        )
        expect(
            lease is not None and before - 2 <= lease.granted_at <= after, "granted_at is not when the image was made"
        )
        expect(url not in repr(lease), "the URL is secret and must not be in the lease's repr")


async def an_image_in_the_answer_is_a_file(make: Factory) -> None:
    """It belongs to the caller."""
    data = make_png(77, width=64, height=64)
    async with make() as rig:
        job = rig.job("inline")
        rig.will(job, [Send(data=data, latency_s=0.0, request_id="req-8")])
        answer = await rig.provider.generate(job)
        expect(isinstance(answer, Inline), f"no image but {answer!r}")
        if isinstance(answer, Inline):
            equal(await anyio.Path(answer.path).read_bytes(), data, "the bytes of the file")
            equal(answer.request_id, "req-8", "the request id")


async def an_error_is_a_verdict(make: Factory) -> None:
    """Reason, action, charge and scope are by ``policy.verdict``; nothing is raised."""
    refusals = {
        "invalid": (Refuse(status=400, code="invalid_request", message="width is odd"), Reason.INVALID_REQUEST),
        "moderated": (Refuse(status=403, message="Request Moderated"), Reason.MODERATED),
        "unauthorized": (Refuse(status=401, code="invalid_api_key", message="bad key"), Reason.UNAUTHORIZED),
        "broke": (Refuse(status=429, code="insufficient_user_quota", message="用户额度不足"), Reason.OUT_OF_CREDIT),
        "too-large": (Refuse(status=413, message="body too large"), Reason.TOO_LARGE),
        "no-model": (Refuse(status=503, code="model_not_found", message="无可用渠道"), Reason.MODEL_UNAVAILABLE),
        "broken": (Refuse(status=500, code="do_request_failed", message="eof"), Reason.SERVER_ERROR),
        "timed-out": (Refuse(status=504, message="gateway time-out"), Reason.UNKNOWN_OUTCOME),
    }
    async with make() as rig:
        for name, (refuse, reason) in refusals.items():
            job = rig.job(name)
            rig.will(job, [refuse])
            verdict = _verdict_of(await rig.provider.generate(job))
            equal(verdict.reason, reason, f"reason of {refuse.status} {refuse.code or refuse.message}")
            equal(verdict.http_status, refuse.status, "status of the verdict")
            expect(verdict.message, "a verdict says what happened")


async def an_error_in_a_success_is_maybe_billed(make: Factory) -> None:
    """A 200 is looked into; without an image its charge is unknown."""
    async with make() as rig:
        job = rig.job("hollow")
        rig.will(job, [Refuse(status=200, code="bad_response", message="no image")])
        verdict = _verdict_of(await rig.provider.generate(job))
        equal(verdict.charge, Charge.UNKNOWN, "charge of a 200 without an image")


async def a_rate_limit_says_how_long(make: Factory) -> None:
    """429 is congestion, costs nothing, and Retry-After is passed on."""
    async with make() as rig:
        job = rig.job("limited")
        rig.will(job, [Refuse(status=429, code="rate_limit_exceeded", message="slow down", retry_after=7.0)])
        verdict = _verdict_of(await rig.provider.generate(job))
        equal((verdict.action, verdict.charge), (Action.RETRY, Charge.NONE), "action and charge of a 429")
        expect(verdict.congestion, "a 429 is congestion")
        equal(verdict.pause, 7.0, "the pause of a 429 with Retry-After: 7")


async def a_connection_lost_after_sending_is_maybe_billed(make: Factory) -> None:
    """Nobody can know what the API did."""
    async with make() as rig:
        job = rig.job("lost")
        rig.will(job, [Lose(loss=Loss.LOST, latency_s=0.05)])
        verdict = _verdict_of(await rig.provider.generate(job))
        equal(verdict.reason, Reason.UNKNOWN_OUTCOME, "reason of a connection lost after the body was sent")
        equal(verdict.charge, Charge.UNKNOWN, "its charge")
        equal(verdict.http_status, None, "its status")


async def no_connection_costs_nothing(make: Factory) -> None:
    """It says something about the endpoint, and is worth another try."""
    async with make() as rig:
        async with rig.unreachable():
            verdict = _verdict_of(await rig.provider.generate(rig.job("unheard")))
        equal((verdict.action, verdict.charge), (Action.RETRY, Charge.NONE), "action and charge without a connection")
        equal(verdict.scope, Scope.ENDPOINT, "its scope")


async def nothing_is_retried(make: Factory) -> None:
    """One call, one request: trying again is for the engine to decide."""
    async with make() as rig:
        for refuse in (Refuse(status=503), Refuse(status=500), Refuse(status=429), Lose(loss=Loss.LOST)):
            job = rig.job(f"once-{refuse}")
            rig.will(job, [refuse, Grant()])
            _verdict_of(await rig.provider.generate(job))
            equal(rig.arrived(job), 1, f"requests sent after {refuse}")


async def answers_are_not_mixed_up(make: Factory) -> None:
    """Many requests at a time, answered out of order."""
    async with make() as rig:
        jobs = [rig.job(f"crowd-{number}") for number in range(8)]
        for number, job in enumerate(jobs):
            url = f"https://delivery.example/{number}.png"
            rig.will(job, [Grant(url=url, latency_s=0.05 * (8 - number))])
        urls: dict[str, str] = {}

        async def one(job: PlannedJob) -> None:
            answer = await rig.provider.generate(job)
            urls[job.id] = answer.lease.url if isinstance(answer, Granted) else repr(answer)

        async with anyio.create_task_group() as tasks:
            for job in jobs:
                tasks.start_soon(one, job)
        for number, job in enumerate(jobs):
            equal(urls[job.id], f"https://delivery.example/{number}.png", f"answer of {job.id}")


async def a_changed_photo_is_not_sent(make: Factory) -> None:
    """It raises, and no whole request arrives: nothing can be billed."""
    async with make() as rig:
        job = rig.spoiled("changed")
        rig.will(job, [Grant()])
        with raises(PhotoChanged, "a photo that changed"):
            await rig.provider.generate(job)
        equal(rig.arrived(job), 0, "requests that arrived with a changed photo")


async def a_request_can_be_cancelled(make: Factory) -> None:
    """Whoever insists can leave, and the provider is of use afterwards."""
    async with make() as rig:
        job, other = rig.job("silent"), rig.job("heard")
        rig.will(job, [Silence()])
        rig.will(other, [Grant(latency_s=0.0)])
        with anyio.move_on_after(0.3) as scope:
            await rig.provider.generate(job)
        expect(scope.cancelled_caught, "generate came back without an answer")
        answer = await rig.provider.generate(other)
        expect(isinstance(answer, Granted), f"after a cancelled request: {answer!r}")


def _verdict_of(answer: Answer) -> Verdict:
    if not isinstance(answer, Refused):
        raise AssertionError(f"no refusal but {answer!r}")  # noqa: TRY004  # it is the case that fails, not its types
    return answer.verdict


CASES: Final[list[Case]] = [
    a_url_comes_back_as_a_lease,
    an_image_in_the_answer_is_a_file,
    an_error_is_a_verdict,
    an_error_in_a_success_is_maybe_billed,
    a_rate_limit_says_how_long,
    a_connection_lost_after_sending_is_maybe_billed,
    no_connection_costs_nothing,
    nothing_is_retried,
    answers_are_not_mixed_up,
    a_changed_photo_is_not_sent,
    a_request_can_be_cancelled,
]
