"""What a run makes of a job, from what is asked, what the ledger knows, and what is on disk."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fluxbatch.model.job import Failure, Lease, Photo, PlannedJob, Record, Stored
from fluxbatch.model.state import PASSING, JobState, Reason
from fluxbatch.planning.plan import decide
from fluxbatch.planning.quote import Quote
from fluxbatch.ports import Disposition, Presence

PHOTO = Photo("cat.jpg", "/cat.jpg", "image/jpeg", 10, 1, 1, 64, 64, "d1")
JOB = PlannedJob("a", "m.yaml", 0, "flux-2-pro", {"prompt": "x"}, (PHOTO,), "a", "f1", price=0.03)
STORED = Stored("a.jpg", "s", 10, 64, 64, fingerprint="f1")
LEASE = Lease("https://example.com/x", deadline=600, granted_at=0)


def stored(state: JobState = JobState.STORED) -> Record:
    return Record(JOB, state, charged=1, stored=STORED, stored_by="earlier")


def failed(reason: Reason, lease: Lease | None = None) -> Record:
    return Record(JOB, JobState.FAILED, failure=Failure(reason, "because", 400), lease=lease)


def test_new() -> None:
    assert decide(JOB, None, None).disposition is Disposition.MAKE


@pytest.mark.parametrize(
    ("presence", "retry_altered", "disposition", "pardon"),
    [
        (Presence.SAME, False, Disposition.KEEP, False),
        (Presence.ALTERED, False, Disposition.KEEP, False),
        (Presence.ALTERED, True, Disposition.MAKE, True),
        (Presence.MISSING, False, Disposition.MAKE, True),
    ],
)
def test_what_is_stored_is_kept_while_it_is_there(
    presence: Presence, *, retry_altered: bool, disposition: Disposition, pardon: bool
) -> None:
    decision = decide(JOB, stored(), presence, retry_altered=retry_altered)
    assert (decision.disposition, decision.pardon) == (disposition, pardon)


def test_going_back_to_what_is_on_disk_costs_nothing() -> None:
    changed = replace(stored(JobState.PENDING), job=replace(JOB, fingerprint="f2"))
    assert decide(JOB, changed, Presence.SAME).disposition is Disposition.RESTORE


@pytest.mark.parametrize("state", [JobState.SUBMITTED, JobState.GENERATED])
def test_what_is_under_way_is_left_alone(state: JobState) -> None:
    record = Record(replace(JOB, fingerprint="f2"), state, lease=LEASE)
    assert decide(JOB, record, None).disposition is Disposition.KEEP


@pytest.mark.parametrize("reason", list(Reason))
def test_only_failures_that_pass_are_tried_again_unasked(reason: Reason) -> None:
    decision = decide(JOB, failed(reason), None)
    assert decision.disposition is (Disposition.MAKE if reason in PASSING else Disposition.KEEP)
    assert not decision.pardon
    asked = decide(JOB, failed(reason), None, retry={reason})
    assert asked.disposition is Disposition.MAKE
    assert asked.pardon


@pytest.mark.parametrize("state", [JobState.PENDING, JobState.FAILED])
def test_the_cap_holds_although_the_output_of_an_earlier_time_is_gone(state: JobState) -> None:
    failure = Failure(Reason.UNKNOWN_OUTCOME, "maybe billed twice") if state is JobState.FAILED else None
    record = replace(stored(state), failure=failure, unknown=2)
    decision = decide(JOB, record, Presence.MISSING)
    assert not decision.pardon
    assert decision.disposition is (Disposition.KEEP if failure else Disposition.MAKE)


@pytest.mark.parametrize(("unknown", "disposition"), [(0, Disposition.MAKE), (2, Disposition.KEEP)])
def test_a_photo_that_is_back_is_sent_within_the_cap(unknown: int, disposition: Disposition) -> None:
    away = Record(JOB, JobState.FAILED, unknown=unknown, failure=Failure(Reason.BAD_IMAGE, "no such file"))
    assert decide(JOB, away, None).disposition is disposition


def test_a_url_that_is_left_is_tried_before_anything_is_paid() -> None:
    assert decide(JOB, failed(Reason.DOWNLOAD_FAILED, LEASE), None).disposition is Disposition.FETCH


def test_a_job_that_can_not_be_sent_is_refused_whatever_there_is() -> None:
    broken = replace(JOB, defect=Failure(Reason.BAD_IMAGE, "cut short"))
    assert decide(broken, stored(), Presence.SAME).disposition is Disposition.REFUSE


@pytest.mark.parametrize(
    ("now", "why"),
    [
        (replace(JOB, fields={"prompt": "y"}), "prompt changed"),
        (replace(JOB, fields={"prompt": "x", "seed": 1}), "seed changed"),
        (replace(JOB, images=(replace(PHOTO, digest="d2"),)), "photo cat.jpg changed"),
        (replace(JOB, images=()), "image 1 removed (cat.jpg)"),
    ],
)
def test_a_changed_job_says_what_changed(now: PlannedJob, why: str) -> None:
    decision = decide(replace(now, fingerprint="f2"), stored(), Presence.SAME)
    assert (decision.disposition, decision.why) == (Disposition.MAKE, why)


def test_the_quote_counts_every_job_once() -> None:
    quote = Quote()
    unpriced = replace(JOB, price=None, model="new")
    for job, record, presence in [
        (JOB, None, None),
        (unpriced, None, None),
        (JOB, stored(), Presence.SAME),
        (JOB, stored(), Presence.ALTERED),
        (JOB, failed(Reason.MODERATED), None),
        (JOB, failed(Reason.DOWNLOAD_FAILED, LEASE), None),
        (JOB, Record(JOB, JobState.GENERATED, lease=LEASE), None),
        (replace(JOB, defect=Failure(Reason.BAD_IMAGE, "x")), None, None),
    ]:
        quote.add(job, record, decide(job, record, presence), run_id="now")

    assert (quote.make, quote.keep, quote.owed, quote.fetch, quote.refuse) == (2, 3, 1, 1, 1)
    assert (quote.cached, quote.edited_count, quote.edited) == (2, 1, ["a.jpg"])
    assert (quote.usd, quote.unpriced) == (0.03, 1)
    assert {name: model.images for name, model in quote.models.items()} == {"flux-2-pro": 1, "new": 1}
    assert quote.kept_failures == {"moderated": 1}
