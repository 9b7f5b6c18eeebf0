"""Who may go ahead, and what the others make of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxbatch.errors import UsageError
from fluxbatch.model.job import Failure, Step
from fluxbatch.model.state import JobState, Reason
from fluxbatch.policy.canary import Canary
from fluxbatch.settings import Settings

MODERATED = Failure(Reason.MODERATED, "Request Moderated", 403)
GONE = Failure(Reason.SERVER_ERROR, "gone", 500)


def send(canary: Canary, job_id: str) -> None:
    assert canary.admits(job_id)
    canary.chosen(job_id)
    canary.heed(Step(job_id, JobState.PENDING, JobState.SUBMITTED))


def store(canary: Canary, job_id: str) -> None:
    canary.heed(Step(job_id, JobState.GENERATED, JobState.STORED))


def fail(canary: Canary, job_id: str, failure: Failure = MODERATED) -> None:
    canary.heed(Step(job_id, JobState.SUBMITTED, JobState.FAILED, failure=failure))


def test_without_a_canary_all_may_go() -> None:
    canary = Canary(None, 0.0)
    for job_id in "abc":
        send(canary, job_id)
        fail(canary, job_id)
        assert not canary.holds
        assert canary.stop() is None
    canary.give_up()
    assert canary.stop() is None


def test_the_first_go_ahead_and_the_others_follow() -> None:
    canary = Canary(2, 0.2)
    send(canary, "a")
    assert canary.admits("z")
    send(canary, "b")
    assert canary.holds
    assert canary.admits("a")
    assert not canary.admits("z")
    store(canary, "a")
    assert not canary.admits("z")
    store(canary, "b")
    assert canary.admits("z")
    assert canary.stop() is None


def test_retries_and_remakes_belong_to_the_first() -> None:
    canary = Canary(1, 0.0)
    send(canary, "a")
    for frm in (JobState.SUBMITTED, JobState.GENERATED):
        canary.heed(Step("a", frm, JobState.PENDING, lost=frm is JobState.GENERATED))
        assert canary.admits("a")
        assert not canary.admits("b")
        canary.chosen("a")
        canary.heed(Step("a", JobState.PENDING, JobState.SUBMITTED))
    fail(canary, "a")
    assert canary.stop() is not None


def test_the_share_may_fail_and_no_more() -> None:
    for share, failed, stops in ((0.2, 1, False), (0.2, 2, True), (0.0, 0, False), (0.0, 1, True), (1.0, 5, False)):
        canary = Canary(5, share)
        for number in range(5):
            send(canary, str(number))
        for number in range(5):
            assert canary.stop() is None, "decided before all had ended"
            (fail if number < failed else store)(canary, str(number))
        assert (canary.stop() is not None) is stops, (share, failed)


def test_the_message_names_how_many_and_why() -> None:
    canary = Canary(4, 0.5)
    for job_id in "abcd":
        send(canary, job_id)
    for job_id, failure in zip("abc", (MODERATED, GONE, MODERATED), strict=True):
        fail(canary, job_id, failure)
    store(canary, "d")
    stop = canary.stop()
    assert stop is not None
    assert (stop.reason, stop.exit_code) == ("canary", 3)
    assert stop.message == ("3 of the first 4 jobs failed: moderated (Request Moderated); server_error (gone)")
    assert "--canary" in stop.remedy


def test_many_reasons_are_cut_short() -> None:
    canary = Canary(9, 0.0)
    for number in range(9):
        send(canary, str(number))
    for number in range(9):
        fail(canary, str(number), Failure(Reason.SERVER_ERROR, f"number {number}"))
    stop = canary.stop()
    assert stop is not None
    assert "number 2" in stop.message
    assert "number 3" not in stop.message


def test_a_job_that_was_never_sent_gives_its_place_away() -> None:
    canary = Canary(1, 0.0)
    canary.chosen("a")
    assert not canary.admits("b")
    canary.heed(Step("a", JobState.PENDING, JobState.FAILED, failure=MODERATED))
    assert canary.stop() is None
    send(canary, "b")
    assert not canary.admits("c")
    fail(canary, "b")
    assert canary.stop() is not None


def test_those_that_can_not_end_have_failed() -> None:
    canary = Canary(3, 0.5)
    for job_id in "abc":
        send(canary, job_id)
    store(canary, "a")
    canary.give_up()
    assert not canary.holds
    stop = canary.stop()
    assert stop is not None
    assert stop.message == "2 of the first 3 jobs failed"


def test_others_are_none_of_its_business() -> None:
    canary = Canary(1, 0.0)
    fail(canary, "of an earlier run")
    send(canary, "a")
    fail(canary, "of an earlier run")
    assert canary.holds
    store(canary, "a")
    canary.chosen("b")
    fail(canary, "b")
    assert canary.stop() is None


@given(st.integers(1, 200), st.floats(0, 1), st.data())
def test_a_share_is_a_share(count: int, share: float, data: st.DataObject) -> None:
    failed = data.draw(st.integers(0, count))
    canary = Canary(count, share)
    for number in range(count):
        send(canary, str(number))
        (fail if number < failed else store)(canary, str(number))
    if abs(failed / count - share) > 1e-6:
        assert (canary.stop() is not None) is (failed / count > share)


@pytest.mark.parametrize(
    "options",
    [{"canary": 0}, {"canary": -1}, {"canary_share": 1.1}, {"canary_share": -0.1}, {"canary_share": float("nan")}],
)
def test_settings_that_make_no_sense(options: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(options))):
        Settings.of(options)


def test_settings_that_do() -> None:
    assert (Settings().canary, Settings().canary_share) == (None, 0.2)
    assert Settings.of({"canary": 1, "canary_share": 1}).canary == 1
