"""What a run says while it goes: words for people, facts for machines."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fluxbatch.cli.talk import Talk
from fluxbatch.errors import UsageError
from fluxbatch.model.events import JobFailed, JobRequeued, JobStored, RunStarted
from fluxbatch.model.job import Failure, Stored
from fluxbatch.model.problem import Level, Problem, Where
from fluxbatch.model.state import Charge, Reason
from fluxbatch.model.summary import Progress, Stop, Summary
from fluxbatch.planning.quote import Quote
from fluxbatch.report.summary import summary_lines, usd
from fluxbatch.telemetry.logs import LogFormat, LogObserver, make_logger

if TYPE_CHECKING:
    from fluxbatch.model.events import Event

PROGRESS = Progress(
    make=30, made=12, failed=1, in_flight=4, owed=2, spent_usd=0.36, unknown_usd=0.03, elapsed_s=9, stopping="because"
)
STORED = Stored("a.jpg", "0f" * 32, 1000, 64, 48, fingerprint="f", url_age_s=1.23456)
EVENTS: list[Event] = [
    RunStarted(at=0, run_id="r1", make=1, keep=0, owed=0, simulated=False),
    JobRequeued(at=0, job_id="a", reason=Reason.RATE_LIMITED, charge=Charge.NONE, delay_s=5.0, message="slow down"),
    JobRequeued(at=0, job_id="b", reason=Reason.UNKNOWN_OUTCOME, charge=Charge.UNKNOWN, delay_s=2.0, message="lost"),
    JobStored(at=0, job_id="a", stored=STORED),
    JobFailed(at=0, job_id="c\x1b[31m", failure=Failure(Reason.MODERATED, "no [/bold] \x1b[2J\u202ethanks", 403)),
]


def talking(form: LogFormat, *, verbosity: int = 1, **options: Any) -> tuple[Talk, LogObserver, io.StringIO]:
    stream = io.StringIO()
    logger = make_logger(stream, form=form, verbosity=verbosity, run_id="r1")
    log = LogObserver(logger, form=form)
    settings: dict[str, Any] = {"yes": False, "free": False, "max_cost": None, "run_id": "r1", **options}
    return Talk(logger, log, form=form, **settings), log, stream


def test_a_person_reads_words() -> None:
    talk, _, stream = talking("text")
    quote = Quote(make=30, cached=5, owed=2, usd=0.9, kept_failures={"moderated": 3}, edited=["a.jpg"], edited_count=1)
    talk.started(Path("out"), quote)
    talk.progress(PROGRESS)
    said = stream.getvalue()
    assert "30 images to make, about $0.90; 5 unchanged; 2 paid for and to be fetched" in said
    assert "3 failed before (moderated; --retry moderated tries again)" in said
    assert "1 edited output kept as it is (--retry altered makes it anew)" in said
    assert "12 of 30 made, 4 in flight, 2 being fetched, 1 failed, $0.36, maybe billed $0.03" in said
    assert "stopping=because" in said
    talk.progress(replace(PROGRESS, budget_usd=900, budget_spent_usd=123.4, budget_period="month"))
    assert "$123.40 of the $900.00 of this month" in stream.getvalue()


def test_a_machine_reads_facts_with_run_and_job_ids() -> None:
    talk, log, stream = talking("json", verbosity=2)
    talk.progress(PROGRESS)
    for event in EVENTS:
        log.note(event)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert {line["run_id"] for line in lines} == {"r1"}
    assert (lines[0]["event"], lines[0]["made"], lines[0]["in_flight"]) == ("run.progress", 12, 4)
    stored = next(line for line in lines if line["event"] == "job.stored")
    assert (stored["job_id"], stored["sha256"], stored["url_age_s"]) == ("a", STORED.sha256, 1.235)
    failed = next(line for line in lines if line["event"] == "job.failed")
    assert (failed["reason"], failed["http_status"], failed["level"]) == ("moderated", 403, "warning")


@pytest.mark.parametrize(("verbosity", "told"), [(0, ["b", "c"]), (1, ["b", "c"]), (2, ["a", "b", "a", "c"])])
def test_maybe_billed_and_failures_are_always_told(verbosity: int, told: list[str]) -> None:
    _, log, stream = talking("json", verbosity=verbosity)
    for event in EVENTS:
        log.note(event)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["job_id"][:1] for line in lines if "job_id" in line] == told


def test_hostile_text_reaches_no_terminal() -> None:
    _, log, stream = talking("text", verbosity=3)
    for event in EVENTS:
        log.note(event)
    said = stream.getvalue()
    assert "\x1b" not in said
    assert "\u202e" not in said
    assert "no [/bold] " in said


def test_warnings_are_shown_up_to_a_number(capsys: pytest.CaptureFixture[str]) -> None:
    talk, _, _ = talking("text")
    problem = Problem(Where("m.yaml", 3), "is wide\x1b[2J", "crop it", "images[1]", "a", Level.WARNING)
    talk.warn([problem], 7)
    said = capsys.readouterr().err
    assert "m.yaml:3: warning: [a] images[1]: is wide[2J (crop it)" in said
    assert "… and 6 more" in said


@pytest.mark.parametrize(
    ("quote", "options", "goes"),
    [
        (Quote(make=800, usd=24.0), {}, True),
        (Quote(make=1000, usd=30.0), {}, False),
        (Quote(make=1000, usd=30.0), {"yes": True}, True),
        (Quote(make=1000, usd=30.0), {"max_cost": 5.0}, True),
        (Quote(make=1000, usd=30.0), {"free": True}, True),
        (Quote(make=0, usd=0.0), {}, True),
        (Quote(make=3, unpriced=3), {}, False),
    ],
)
def test_much_is_not_spent_unasked(quote: Quote, options: dict[str, Any], *, goes: bool) -> None:
    talk, _, _ = talking("text", **options)
    if goes:
        talk.confirm(quote)
    else:
        with pytest.raises(UsageError, match="nobody to ask"):
            talk.confirm(quote)


def summary_of(**facts: Any) -> Summary:
    ran = Summary(
        run_id="r1",
        total=100,
        stored=60,
        cached=10,
        failed=3,
        pending=37,
        requests=58,
        charged=51,
        unknown_charges=2,
        lost=1,
        cost_usd=1.53,
        unknown_usd=0.06,
        wall_s=3725.0,
        url_age_p50_s=1.25,
        url_age_max_s=41.5,
        stop_reason="budget",
        exit_code=3,
        simulated=False,
        failures={"expired": 1, "moderated": 2},
        stop=Stop("budget", "$1.59 of $1.60 are spent", "raise --max-cost"),
    )
    return replace(ran, **facts)


def test_the_summary_is_worth_reading() -> None:
    assert summary_lines(summary_of(), Path("photos-out")) == [
        "100 images: 50 made, 10 unchanged, 3 failed, 37 still to make (1 h 02 min)",
        "  2 × moderated: the API refused the content: change prompt or photos, or raise safety_tolerance",
        "  1 × expired: paid but lost; to make it once more: --retry expired",
        "spent: $1.53 for 51 images, 58 requests; maybe billed: $0.06 for 2 requests; paid but lost: 1",
        "fetched in time: oldest URL 41.5 s of 600 s, median 1.2 s",
        "stopped early: $1.59 of $1.60 are spent",
        "  raise --max-cost",
        "images: photos-out",
    ]


def test_a_remedy_that_is_an_option_comes_with_its_command() -> None:
    lines = summary_lines(summary_of(), Path("out"), command="fluxbatch run 'my jobs.yaml'")
    assert lines[2].endswith("to make it once more: fluxbatch run 'my jobs.yaml' --retry expired")


def test_an_interrupt_does_not_hide_what_had_stopped_the_run() -> None:
    stop = Stop("hung_up", "finishing", "free some space", exit_code=129, before="the disk is full")
    lines = summary_lines(summary_of(stop=stop, exit_code=129), Path("out"))
    assert "stopped early: hung up (before that: the disk is full)" in lines
    assert "  free some space" in lines


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({}, "rate limits: 8 requests refused"),
        ({"": 12}, "rate limits: 8 requests refused; found to work: 12 at a time"),
        ({"": 12, "m": 5}, "rate limits: 8 requests refused; found to work: 5 at a time for m"),
    ],
)
def test_limits_that_were_found_are_named(limits: dict[str, int], words: str) -> None:
    assert words in summary_lines(summary_of(refused=8, limits=limits), Path("out"))


def test_what_the_ledger_lacks_is_said_to_be_elsewhere() -> None:
    lines = summary_lines(summary_of(rescue="/home/me/rescue.jsonl"), Path("out"))
    assert any("kept for the next run in /home/me/rescue.jsonl" in line for line in lines)


@pytest.mark.parametrize(
    ("amount", "words"), [(0, "$0.00"), (0.03, "$0.03"), (0.028, "$0.028"), (0.0025, "$0.0025"), (1234.5, "$1,234.50")]
)
def test_amounts_are_not_rounded_away(amount: float, words: str) -> None:
    assert usd(amount) == words


def test_what_was_spent_before_is_said_when_there_is_a_cap() -> None:
    talk, _, said = talking("text", max_cost=5.0)
    talk.started(Path("out"), Quote(make=3, usd=0.09, carried_usd=4.5))
    assert "did not finish and spent $4.50: $0.50 of --max-cost $5.00 are left" in said.getvalue()
