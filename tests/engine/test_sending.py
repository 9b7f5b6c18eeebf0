"""Requests: how many, when, and what is made of their answers."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from fluxbatch.errors import PhotoChanged, PhotoError
from fluxbatch.model.events import (
    JobFailed,
    JobGranted,
    JobRequeued,
    JobStored,
    JobSubmitted,
    LimitChanged,
    RunPaused,
    RunStopping,
)
from fluxbatch.model.limits import LimitCause
from fluxbatch.model.state import Charge, JobState, Reason
from fluxbatch.policy.verdict import Loss
from fluxbatch.testing import (
    Congestion,
    Grant,
    Lose,
    MemoryLedger,
    Refuse,
    ScriptedProvider,
    Send,
    SpoilPhoto,
    make_job,
)
from tests.engine.world import VIRTUAL_TIME, World, jobs, rounds

if TYPE_CHECKING:
    from pathlib import Path

    from fluxbatch.model.job import PlannedJob
    from fluxbatch.testing import Act

LIMITED = Refuse(status=429, code="rate_limit_exceeded", message="slow down")
NO_MODEL = Refuse(status=503, code="model_not_found", message="无可用渠道")
HICCUP = Refuse(status=408, early=True, message="hiccup")
BAD_KEY = Refuse(status=401, code="invalid_api_key", message="invalid key")


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return VIRTUAL_TIME


async def test_everything_lands() -> None:
    world = World()
    desk = await world.run(jobs(100))
    assert await world.states() == {"stored": 100}
    assert len(world.sink.files()) == 100
    assert (desk.account.requests, desk.account.charged, desk.account.stored) == (100, 100, 100)
    assert desk.account.cost_usd == pytest.approx(3.0)
    assert set(world.provider.billed.values()) == {1}
    assert len(world.recorder.of(JobStored)) == 100
    assert desk.stop is None


async def test_a_storm_of_429_does_not_fire_off_the_manifest() -> None:
    """Without a Retry-After, too: all of the scope waits, instead of one new job being tried after the other."""
    world = World(ceiling=8, adaptive=True)
    over_at = world.clock.monotonic() + 60

    def storm(_job: PlannedJob, _number: int) -> Act:
        return LIMITED if world.clock.monotonic() < over_at else Grant()

    world.provider = ScriptedProvider(world.clock, storm)
    await world.run(jobs(2000))
    assert await world.states() == {"stored": 2000}
    assert sum(sent.at < over_at for sent in world.provider.sent) <= 8 * 4


async def test_nothing_to_do_takes_no_time() -> None:
    world = World()
    before, at = rounds(), world.clock.monotonic()
    await world.run([])
    assert rounds() - before < 20
    assert world.clock.monotonic() == at


async def test_the_ceiling_is_held_and_used() -> None:
    world = World(ceiling=7)
    begun = world.clock.monotonic()
    await world.run(jobs(70))
    assert world.provider.peak == 7
    # ten waves of one second, and the delivery of the last
    assert world.clock.monotonic() - begun < 11


async def test_each_model_has_a_ceiling_of_its_own() -> None:
    world = World(ceiling=10, by_model={"slow": 2})
    planned = [make_job(n, model="slow" if n < 20 else "fast") for n in range(100)]
    flying: Counter[str] = Counter()
    peaks: Counter[str] = Counter()

    class Watched(ScriptedProvider):
        async def generate(self, job: PlannedJob) -> Any:
            flying[job.model] += 1
            peaks[job.model] = max(peaks[job.model], flying[job.model])
            try:
                return await super().generate(job)
            finally:
                flying[job.model] -= 1

    world.provider = Watched(world.clock)
    await world.run(planned)
    assert peaks == {"slow": 2, "fast": 8}


async def test_images_in_answers_land_too(tmp_path: Path) -> None:
    world = World()
    world.provider = ScriptedProvider(world.clock, Send(request_id="req"), spool=tmp_path)
    desk = await world.run(jobs(5))
    assert await world.states() == {"stored": 5}
    assert (desk.account.charged, desk.account.url_age_max_s) == (5, None)
    assert world.fetcher.tries == []
    assert list(tmp_path.iterdir()) == []


async def test_an_answer_that_holds_no_image_is_maybe_billed(tmp_path: Path) -> None:
    world = World()
    script: dict[str, list[Act]] = {"job-00000": [Send(data=b"<html>"), Grant()]}
    world.provider = ScriptedProvider(world.clock, script, spool=tmp_path)
    await world.run(jobs(1))
    record = await world.record(make_job(0))
    assert (record.state, record.unknown, record.charged) == (JobState.STORED, 1, 1)
    assert list(tmp_path.iterdir()) == []


# --------------------------------------------------------------------------------------------------------- retries
async def test_retries_go_between_new_jobs() -> None:
    world = World(ceiling=2)
    world.provider = ScriptedProvider(
        world.clock, lambda job, attempt: HICCUP if (job.position, attempt) == (0, 1) else Grant()
    )
    await world.run(jobs(60))
    again = next(n for n, sent in enumerate(world.provider.sent) if sent.attempt == 2)
    assert 1 < again < 15, "the retry waited for the end of the plan"


async def test_attempts_are_few() -> None:
    world = World()
    world.provider = ScriptedProvider(world.clock, Refuse(status=408, early=True, message="hiccup"))
    await world.run(jobs(3), max_attempts=4)
    assert Counter(sent.job_id for sent in world.provider.sent) == dict.fromkeys(
        ["job-00000", "job-00001", "job-00002"], 4
    )
    record = await world.record(make_job(0))
    assert (record.state, record.attempts) == (JobState.FAILED, 4)
    assert record.failure is not None
    assert record.failure.reason is Reason.SERVER_ERROR
    assert "4 attempts" in record.failure.message


async def test_backoff_grows() -> None:
    world = World()
    world.provider = ScriptedProvider(world.clock, {"job-00000": [Refuse(status=408, early=True)] * 20 + [Grant()]})
    await world.run(jobs(1), max_attempts=30)
    times = [sent.at for sent in world.provider.sent]
    gaps = [b - a for a, b in pairwise(times)]
    assert max(gaps) <= 61
    assert sum(gaps[10:20]) > sum(gaps[:5]) * 4


async def test_rate_limits_use_up_no_attempts() -> None:
    world = World()
    world.provider = ScriptedProvider(world.clock, {"job-00000": [LIMITED] * 12 + [Grant()]})
    desk = await world.run(jobs(1), max_attempts=2)
    record = await world.record(make_job(0))
    assert (record.state, record.attempts, record.charged, record.unknown) == (JobState.STORED, 1, 1, 0)
    assert (desk.account.requests, desk.account.unknown) == (13, 0)


async def test_a_hidden_limit_costs_time_and_nothing_else() -> None:
    world = World(ceiling=12, adaptive=True)
    world.provider = ScriptedProvider(world.clock, congestion={"": Congestion(limit=3)})
    desk = await world.run(jobs(40))
    assert await world.states() == {"stored": 40}
    assert world.provider.peak == 3
    assert desk.account.unknown == 0


async def test_retry_after_is_shared_and_no_herd_follows() -> None:
    world = World(ceiling=12)
    limited = Refuse(status=429, code="rate_limit_exceeded", retry_after=40.0, latency_s=0.5)
    world.provider = ScriptedProvider(world.clock, lambda _job, attempt: limited if attempt == 1 else Grant())
    begun = world.clock.monotonic()
    await world.run(jobs(12))
    again = sorted(sent.at - begun for sent in world.provider.sent if sent.attempt == 2)
    assert again[0] >= 40.5
    assert all(0 <= at - 40.5 <= 10.1 for at in again), "Retry-After is obeyed to the letter and spread over a quarter"
    assert len({round(at, 1) for at in again}) > 6, "those who waited came back as a herd"
    pause = world.recorder.of(RunPaused)[0]
    assert (pause.seconds, pause.reason, pause.model, pause.asked) == (40.0, Reason.RATE_LIMITED, "", True)


async def test_each_change_of_the_limit_is_told_once_with_its_cause() -> None:
    world = World(ceiling=12, adaptive=True)
    world.provider = ScriptedProvider(world.clock, lambda _job, attempt: LIMITED if attempt == 1 else Grant())
    desk = await world.run(jobs(60))
    told = world.recorder.of(LimitChanged)
    assert (told[0].before, told[0].limit, told[0].cause) == (0, 4, LimitCause.START)
    assert all(one.limit == other.before != other.limit for one, other in pairwise(told))
    assert told[-1].limit == desk.limiter.limit
    assert {one.cause for one in told if one.limit < one.before} == {LimitCause.REFUSED}


async def test_what_attempts_cost_is_told_with_their_end() -> None:
    world = World(ceiling=4)
    script: dict[str, list[Act]] = {
        "job-00000": [Grant()],
        "job-00001": [Refuse(status=504), Grant()],
        "job-00002": [Refuse(status=400, code="content_policy_violation")],
    }
    world.provider = ScriptedProvider(world.clock, script)
    desk = await world.run(jobs(3))
    granted = {event.job_id: event.usd for event in world.recorder.of(JobGranted)}
    assert granted == {"job-00000": 0.03, "job-00001": 0.03}
    assert sum(granted.values()) == desk.account.cost_usd
    assert [event.usd for event in world.recorder.of(JobRequeued)] == [desk.account.unknown_usd] == [0.03]
    assert [event.usd for event in world.recorder.of(JobFailed)] == [0.0]
    assert {event.usd for event in world.recorder.of(JobStored)} == {0.0}, "it would be counted twice"


async def test_a_pause_of_one_model_leaves_the_others_alone() -> None:
    world = World(ceiling=4)
    saturated = Refuse(status=429, message="当前分组上游负载已饱和", retry_after=100.0)
    script: dict[str, list[Act]] = {"job-00000": [saturated, Grant()]}
    world.provider = ScriptedProvider(world.clock, script)
    planned = [make_job(n, model="a" if n < 2 else "b") for n in range(40)]
    begun = world.clock.monotonic()
    await world.run(planned)
    done = {event.job_id: event.at for event in world.recorder.of(JobStored)}
    others = [done[job.id] for job in planned[2:]]
    assert max(others) - world.clock.now() + world.clock.monotonic() - begun < 20
    assert await world.states() == {"stored": 40}


async def test_an_endless_retry_after_pins_nothing() -> None:
    world = World()
    world.provider = ScriptedProvider(world.clock, {"job-00000": [Refuse(status=429, retry_after=86_400.0), Grant()]})
    begun = world.clock.monotonic()
    await world.run(jobs(1))
    assert world.clock.monotonic() - begun < 200


# ----------------------------------------------------------------------------------------------- restarts, outages
async def test_a_restart_window_is_waited_out_together() -> None:
    world = World(ceiling=8)
    begun = world.clock.monotonic()

    def script(job: PlannedJob, attempt: int) -> Act:
        since = world.clock.monotonic() - begun
        return Refuse(status=502, message="Bad Gateway") if 3 <= since < 30 else Grant()

    world.provider = ScriptedProvider(world.clock, script)
    desk = await world.run(jobs(100), max_attempts=1)
    assert await world.states() == {"stored": 100}
    assert desk.stop is None
    in_window = [sent for sent in world.provider.sent if 3 <= sent.at - begun < 30]
    # the first failures pause everything: what follows are a few probes, not a storm
    assert len(in_window) < 40
    assert {record.attempts for record in (await world.ledger.recall([job.id for job in jobs(100)])).values()} == {1}
    assert desk.account.unknown == 0


async def test_an_outage_before_any_answer_is_noticed_soon() -> None:
    world = World()
    world.provider = ScriptedProvider(world.clock, Lose(loss=Loss.CONNECT, latency_s=0.1))
    begun = world.clock.monotonic()
    desk = await world.run(jobs(50))
    assert desk.stop is not None
    assert (desk.stop.reason, desk.stop.exit_code) == ("outage", 3)
    assert 60 <= world.clock.monotonic() - begun < 140
    assert await world.states() == {"pending": 50}
    assert world.provider.billed.total() == 0


async def test_an_outage_after_an_answer_is_given_time() -> None:
    world = World(ceiling=4)
    begun = world.clock.monotonic()

    def script(job: PlannedJob, attempt: int) -> Act:
        return Grant() if world.clock.monotonic() - begun < 5 else Lose(loss=Loss.CONNECT, latency_s=0.1)

    world.provider = ScriptedProvider(world.clock, script)
    desk = await world.run(jobs(100))
    assert desk.stop is not None
    assert desk.stop.reason == "outage"
    assert 900 <= world.clock.monotonic() - begun < 1100
    assert len(world.provider.sent) < 150, "an outage is no reason to knock on the door all the time"
    pauses = [event.seconds for event in world.recorder.of(RunPaused)]
    assert pauses[:5] == [5, 15, 45, 135, 240], "what is waited for, and for how long, is not told"


async def test_an_outage_that_passes_is_no_reason_to_stop() -> None:
    world = World(ceiling=4)
    begun = world.clock.monotonic()

    def script(job: PlannedJob, attempt: int) -> Act:
        away = 5 < world.clock.monotonic() - begun < 800
        return Lose(loss=Loss.CONNECT, latency_s=0.1) if away else Grant()

    world.provider = ScriptedProvider(world.clock, script)
    desk = await world.run(jobs(60))
    assert desk.stop is None
    assert await world.states() == {"stored": 60}


async def test_silence_after_sending_is_an_outage_too() -> None:
    """Answers that never come must not burn two requests of every job."""
    world = World(ceiling=4)
    world.provider = ScriptedProvider(world.clock, Lose(loss=Loss.TIMEOUT, latency_s=360.0))
    desk = await world.run(jobs(200))
    assert desk.stop is not None
    assert (desk.stop.reason, desk.stop.exit_code) == ("outage", 3)
    assert len(world.provider.sent) <= 12


# ------------------------------------------------------------------------------------------------ stopping verdicts
@pytest.mark.parametrize("commit_s", [0.0, 0.2])
async def test_after_a_bad_key_nothing_new_is_sent(commit_s: float) -> None:
    world = World(ceiling=6, ledger=MemoryLedger(commit_s=commit_s))
    first = world.clock.monotonic()

    def script(job: PlannedJob, attempt: int) -> Act:
        return Grant(latency_s=30.0) if job.position < 3 else BAD_KEY

    world.provider = ScriptedProvider(world.clock, script)
    desk = await world.run(jobs(50))
    assert desk.stop is not None
    assert (desk.stop.reason, desk.stop.exit_code) == ("unauthorized", 3)
    assert desk.stop.remedy
    stopped = world.recorder.of(RunStopping)[0].at - world.clock.now() + world.clock.monotonic()
    assert all(sent.at <= stopped for sent in world.provider.sent)
    assert len(world.provider.sent) == 6
    # what was in flight is finished and fetched
    assert await world.states() == {"stored": 3, "pending": 47}
    assert stopped - first < 3


async def test_what_is_taken_back_before_it_is_sent_costs_nothing() -> None:
    """A slow disk: requests are on record and not yet sent when the first verdict comes."""
    world = World(ceiling=20, ledger=MemoryLedger(commit_s=0.0))

    class SlowForMost(MemoryLedger):
        async def advance(self, step: Any) -> None:
            self.commit_s = 0.0 if step.job_id == "job-00000" else 3.0
            await super().advance(step)

    world.ledger = SlowForMost()
    world.provider = ScriptedProvider(world.clock, BAD_KEY)
    desk = await world.run(jobs(20))
    assert [sent.job_id for sent in world.provider.sent] == ["job-00000"]
    assert await world.states() == {"pending": 20}
    assert (desk.account.unknown, desk.account.charged, desk.account.requests) == (0, 0, 1)
    assert len(world.recorder.of(JobSubmitted)) == 1


async def test_a_wrong_address_stops_the_run() -> None:
    world = World()
    world.provider = ScriptedProvider(world.clock, Refuse(status=404, message="Invalid URL (POST /images/generations)"))
    desk = await world.run(jobs(30))
    assert desk.stop is not None
    assert desk.stop.reason == "wrong_base_url"
    assert "--base-url" in desk.stop.remedy
    assert len(world.provider.sent) <= 24


async def test_an_unavailable_model_stops_alone() -> None:
    world = World(ceiling=6)
    world.provider = ScriptedProvider(
        world.clock, lambda job, _attempt: NO_MODEL if job.model == "gone" else Grant(latency_s=1.0)
    )
    planned = [make_job(n, model="gone" if n % 2 else "here") for n in range(80)]
    desk = await world.run(planned)
    sent = Counter(sent.model for sent in world.provider.sent)
    assert sent["here"] == 40
    assert sent["gone"] <= 8
    assert desk.stop is None
    assert list(desk.models_out) == ["gone"]
    states = await world.states()
    assert states["stored"] == 40
    assert states.get("failed", 0) <= 6


async def test_a_model_that_stumbles_once_is_not_given_up() -> None:
    """All that were in flight get the same bad answer: that is one episode, not one and one more try."""
    world = World(ceiling=6)
    world.provider = ScriptedProvider(world.clock, lambda _job, attempt: NO_MODEL if attempt == 1 else Grant())
    desk = await world.run(jobs(6))
    assert await world.states() == {"stored": 6}
    assert desk.models_out == {}


async def test_a_model_given_up_stays_so_for_those_who_wait() -> None:
    """A retry that was waiting, or comes back later, is not sent to it either."""
    world = World(ceiling=6)

    def script(job: PlannedJob, attempt: int) -> Act:
        if job.position == 0:
            return Refuse(status=408, early=True, latency_s=20.0)
        return NO_MODEL

    world.provider = ScriptedProvider(world.clock, script)
    desk = await world.run(jobs(10))
    assert list(desk.models_out) == ["flux-2-pro"]
    given_up = max(event.at for event in world.recorder.of(JobFailed)) - world.clock.now() + world.clock.monotonic()
    assert all(sent.at <= given_up for sent in world.provider.sent)
    assert (await world.record(make_job(0))).state is JobState.PENDING


# ----------------------------------------------------------------------------------------------------------- money
async def test_the_budget_is_never_exceeded() -> None:
    for cap, fit in ((0.0, 0), (0.029, 0), (0.03, 1), (0.3, 10), (0.31, 10), (1.0, 33)):
        world = World()
        desk = await world.run(jobs(40), max_cost_usd=cap)
        assert len(world.provider.sent) == fit
        assert desk.stop is not None
        assert (desk.stop.reason, desk.stop.exit_code) == ("budget", 3)
        assert desk.budget.spent <= cap + 1e-9


async def test_maybe_billed_counts_as_spent() -> None:
    world = World()
    world.provider = ScriptedProvider(world.clock, lambda _job, attempt: Lose() if attempt == 1 else Grant())
    desk = await world.run(jobs(40), max_cost_usd=0.6)
    assert desk.account.charged + desk.account.unknown == 20
    assert desk.account.cost_usd + desk.account.unknown_usd <= 0.6 + 1e-9
    assert desk.stop is not None
    assert desk.stop.reason == "budget"


async def test_a_budget_that_just_fits_is_no_reason_to_stop() -> None:
    world = World()
    desk = await world.run(jobs(10), max_cost_usd=0.3)
    assert desk.stop is None
    assert await world.states() == {"stored": 10}


async def test_money_that_comes_free_is_used() -> None:
    world = World(ceiling=10)
    refuse = Refuse(status=408, early=True, latency_s=1.0)
    world.provider = ScriptedProvider(world.clock, lambda job, _attempt: refuse if job.position < 5 else Grant())
    desk = await world.run(jobs(10), max_cost_usd=0.15, max_attempts=1)
    assert await world.states() == {"stored": 5, "failed": 5}
    assert desk.stop is None


async def test_one_model_too_dear_leaves_the_cheap_one() -> None:
    """Also while the cheap one has to wait for a moment."""
    world = World(ceiling=4)
    planned = [make_job(n, model="dear" if n < 5 else "cheap", price=1.0 if n < 5 else 0.01) for n in range(10)]
    saturated = Refuse(status=429, message="当前分组上游负载已饱和", retry_after=30.0)
    world.provider = ScriptedProvider(
        world.clock, lambda job, attempt: saturated if job.model == "cheap" and attempt == 1 else Grant()
    )
    desk = await world.run(planned, max_cost_usd=0.5)
    assert await world.states() == {"stored": 5, "pending": 5}
    assert desk.stop is not None
    assert desk.stop.reason == "budget"


async def test_an_unknown_outcome_is_sent_once_more_and_no_third_time() -> None:
    world = World(ceiling=4)
    world.provider = ScriptedProvider(
        world.clock, lambda job, _attempt: Lose(billed=True) if job.position % 4 == 0 else Grant(latency_s=0.1)
    )
    desk = await world.run(jobs(20))
    assert desk.stop is None
    assert {world.provider.billed[f"job-{n:05}"] for n in range(0, 20, 4)} == {2}
    record = await world.record(make_job(0))
    assert (record.state, record.unknown, record.charged) == (JobState.FAILED, 2, 0)
    assert record.failure is not None
    assert record.failure.reason is Reason.UNKNOWN_OUTCOME
    assert desk.account.unknown_usd == pytest.approx(0.3)


async def test_unsure_jobs_are_held_if_asked() -> None:
    world = World()
    world.provider = ScriptedProvider(world.clock, Lose(billed=True))
    await world.run(jobs(5), if_unsure="hold")
    assert set(world.provider.billed.values()) == {1}
    record = await world.record(make_job(0))
    assert record.failure is not None
    assert record.failure.reason is Reason.UNKNOWN_OUTCOME


@pytest.mark.parametrize(
    "refuse",
    [
        Refuse(status=200, code="insufficient_user_quota", message="no credit"),
        Refuse(status=200, code="model_not_found", message="no channel"),
        Refuse(status=200, code="rate_limit_exceeded", message="slow down"),
        Refuse(status=200, code="content_policy_violation", message="no"),
    ],
    ids=lambda refuse: refuse.code,
)
async def test_whatever_the_error_a_job_is_maybe_billed_twice_at_most(refuse: Refuse) -> None:
    """Over any number of runs."""
    world = World()
    job = make_job(0)
    for number in range(5):
        world.run_id = f"run-{number}"
        world.provider = ScriptedProvider(world.clock, refuse)
        record = None if number == 0 else await world.record(job)
        if record is None or record.state is not JobState.FAILED:
            await world.run([job])
    record = await world.record(job)
    assert record.charged + record.unknown <= 2
    assert record.state is JobState.FAILED


# ---------------------------------------------------------------------------------------------------------- photos
async def test_a_photo_that_changed_fails_its_job_alone() -> None:
    world = World()
    spoiled = {
        "job-00001": [SpoilPhoto(error=PhotoChanged("cat.jpg has changed"))],
        "job-00002": [SpoilPhoto(error=PhotoError("dog.jpg can't be read"))],
    }
    world.provider = ScriptedProvider(world.clock, spoiled)
    desk = await world.run(jobs(4))
    reasons = {event.job_id: (event.failure.reason, event.charge) for event in world.recorder.of(JobFailed)}
    assert reasons == {
        "job-00001": (Reason.INPUT_CHANGED, Charge.NONE),
        "job-00002": (Reason.BAD_IMAGE, Charge.NONE),
    }
    assert desk.account.unknown == 0


async def test_events_tell_the_story() -> None:
    world = World()
    world.provider = ScriptedProvider(world.clock, {"job-00000": [LIMITED, Lose(), Grant(request_id="req-9")]})
    await world.run(jobs(1))
    assert [event.attempt for event in world.recorder.of(JobSubmitted)] == [1, 2, 3]
    requeued = world.recorder.of(JobRequeued)
    assert [(event.reason, event.charge) for event in requeued] == [
        (Reason.RATE_LIMITED, Charge.NONE),
        (Reason.UNKNOWN_OUTCOME, Charge.UNKNOWN),
    ]
    names = [event.name for event in world.recorder.events]
    assert names[-2:] == ["job.granted", "job.stored"]
