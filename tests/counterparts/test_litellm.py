"""litellm between a run and the API: a gateway that nobody here wrote, by both of its ways.

``/openai_passthrough/v1`` hands requests and answers on as they are. ``/v1`` reads them, words answers anew, and sends
again by itself what failed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fluxbatch.simulator import Faults
from tests.app.stage import (
    check_bills,
    check_folder,
    check_stored,
    photos_into,
    results,
    run_command,
    sha256,
    write_rows,
)
from tests.counterparts.gateway import IMPATIENT, TOOL, UNKNOWN, Gateway, litellm
from tests.counterparts.programs import HOW

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.app.stage import Api

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(180),
    pytest.mark.skipif(TOOL is None, reason=f"litellm is not there: {HOW}"),
]
HANDED_ON, WORDED_ANEW = "/openai_passthrough/v1", "/v1"
both = pytest.mark.parametrize("by", [HANDED_ON, WORDED_ANEW])


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with litellm(tmp_path_factory.mktemp("litellm")) as running:
        yield running


def check_images(api: Api, out: Path) -> None:
    """As ``check_stored``, where the gateway keeps the API's request ids to itself."""
    served = {call.prompt_sha256: api.served(call.result) for call in api.sim.calls}
    for line in results(out):
        assert (out / line["file"]).read_bytes() == served[sha256(line["prompt"].encode())]


@both
def test_photos_and_fields_arrive_as_they_are(gateway: Gateway, tmp_path: Path, by: str) -> None:
    photos_into(tmp_path / "photos", "person.jpg", "cat.webp")
    images = ["photos/person.jpg", "photos/cat.webp", "https://example.com/bird.jpg"]
    said: dict[str, Any] = {"steps": 20, "guidance": 2.5, "seed": 7, "safety_tolerance": 3, "aspect_ratio": "16:9"}
    write_rows(tmp_path / "jobs.jsonl", 4, models=["flux-2-flex"], images=images, output_format="png", **said)
    with gateway.before(tmp_path / "api", by=by, render="montage") as api:
        ran = api.run("jobs.jsonl", "--json", cwd=tmp_path)
        assert (ran.code, ran.summary["stored"], ran.summary["unknown_charges"]) == (0, 4, 0), ran.err
        sent = [sha256(tmp_path / "photos" / name) for name in ("person.jpg", "cat.webp")]
        for call in api.sim.calls:
            assert said.items() <= call.fields.items()
            assert [one.get("sha256", one.get("url")) for one in call.inputs] == [*sent, "https://example.com/bird.jpg"]
        check_bills(api, results(tmp_path / "jobs-out"))
        check_images(api, tmp_path / "jobs-out")
        assert all(line["request_id"] for line in results(tmp_path / "jobs-out"))


@both
def test_an_image_in_the_answer_arrives_too(gateway: Gateway, tmp_path: Path, by: str) -> None:
    write_rows(tmp_path / "jobs.jsonl", 2, size="1024x1024")
    with gateway.before(tmp_path / "api", by=by, render="montage", answer="b64_json") as api:
        ran = api.run("jobs.jsonl", "--json", cwd=tmp_path)
        assert (ran.code, ran.summary["stored"]) == (0, 2), ran.err
        check_images(api, tmp_path / "jobs-out")


def test_what_is_handed_on_is_sent_once_and_judged_as_if_it_were_not_there(gateway: Gateway, tmp_path: Path) -> None:
    write_rows(tmp_path / "jobs.jsonl", 30)
    kinds = ("429", "500-billed", "504", "524", "moderation", "reset", "truncated-json", "empty-data", "429")
    schedule: dict[str, frozenset[int]] = {}
    for number, kind in enumerate(kinds):
        schedule[kind] = schedule.get(kind, frozenset()) | {3 * number + 2}
    with gateway.before(tmp_path / "api", faults=Faults(schedule=schedule), retry_after=0.2) as api:
        ran = api.run("jobs.jsonl", "--json", cwd=tmp_path, timeout=120)
        api.settle()
        lines = results(tmp_path / "jobs-out")
        codes = [line["error"]["code"] for line in lines if line["error"]]
        assert (ran.code, ran.summary["stored"]) == (1, 30 - len(codes)), ran.err
        assert codes.count("moderated") == 1
        assert {*codes} <= {"moderated", "unknown_outcome"}, "the latter for whom two of them met"
        assert ran.summary["requests"] == api.sim.requests, "each was sent once"
        assert ran.summary["unknown_charges"] == 6
        check_bills(api, lines)
        check_stored(api, tmp_path / "jobs-out", lines)
        check_folder(tmp_path / "jobs-out")


@both
def test_a_limit_of_the_api_is_found_and_kept_to(gateway: Gateway, tmp_path: Path, by: str) -> None:
    write_rows(tmp_path / "jobs.jsonl", 24)
    with gateway.before(tmp_path / "api", by=by, latency_s=0.2, concurrency=3, retry_after=0.5) as api:
        ran = api.run("jobs.jsonl", "--json", cwd=tmp_path, timeout=120)
        assert (ran.code, ran.summary["stored"], ran.summary["unknown_charges"]) == (0, 24, 0), ran.err
        assert len(api.sim.calls) == 24
        check_bills(api, results(tmp_path / "jobs-out"))


@both
@pytest.mark.parametrize(
    ("fault", "more", "ends"),
    [
        ("moderation", {}, (1, "", "moderated")),
        ("quota", {}, (3, "out_of_credit", None)),
        (None, {"extra": {"no_such_field": 1}}, (1, "", "invalid_request")),
    ],
)
def test_what_the_api_refuses_is_understood(
    gateway: Gateway,
    tmp_path: Path,
    by: str,
    fault: str | None,
    more: dict[str, Any],
    ends: tuple[int, str, str | None],
) -> None:
    write_rows(tmp_path / "jobs.jsonl", 1, **more)
    faults = Faults(schedule={fault: frozenset(range(1, 20))}) if fault else None
    with gateway.before(tmp_path / "api", by=by, faults=faults) as api:
        ran = api.run("jobs.jsonl", "--json", cwd=tmp_path)
        line = results(tmp_path / "jobs-out")[0]
        assert (ran.code, ran.summary["stop_reason"], line["error"] and line["error"]["code"]) == ends, ran.err
        assert (ran.summary["charged"], ran.summary["unknown_charges"]) == (0, 0)
        assert len(api.sim.calls) == 0


@both
def test_photos_that_are_too_large_for_the_api(gateway: Gateway, tmp_path: Path, by: str) -> None:
    photos_into(tmp_path / "photos", "person.jpg")
    write_rows(tmp_path / "jobs.jsonl", 1, images=["photos/person.jpg"])
    with gateway.before(tmp_path / "api", by=by, max_body_mb=0.01) as api:
        ran = api.run("jobs.jsonl", "--json", cwd=tmp_path)
        assert (ran.code, ran.summary["unknown_charges"]) == (1, 0), ran.err
        assert results(tmp_path / "jobs-out")[0]["error"]["code"] == "too_large"


@both
def test_a_key_that_the_gateway_does_not_know_stops_the_run(gateway: Gateway, tmp_path: Path, by: str) -> None:
    write_rows(tmp_path / "jobs.jsonl", 12)
    with gateway.before(tmp_path / "api", by=by) as api:
        api.env["FLUXBATCH_API_KEY"] = "sk-of-someone-else"
        ran = api.run("jobs.jsonl", "--json", cwd=tmp_path)
        assert (ran.code, ran.summary["stop_reason"], ran.summary["failed"]) == (3, "unauthorized", 0), ran.err
        assert api.sim.requests == 0


def test_a_model_that_the_gateway_does_not_know_stops_alone(gateway: Gateway, tmp_path: Path) -> None:
    write_rows(tmp_path / "jobs.jsonl", 12, models=["flux-2-pro", UNKNOWN])
    with gateway.before(tmp_path / "api", by=WORDED_ANEW) as api:
        ran = api.run("jobs.jsonl", "--json", cwd=tmp_path)
        assert (ran.code, ran.summary["stored"], ran.summary["charged"]) == (3, 6, 6), ran.err
        assert len(api.sim.calls) == 6


def test_a_gateway_that_does_not_wait_for_the_answer(gateway: Gateway, tmp_path: Path) -> None:
    """It says 408 for what it had passed on, and the API bills that: maybe billed, and never sent a third time.

    On this route it sends each three times by itself, whatever its settings say; nobody on this side can know.
    """
    photos_into(tmp_path / "photos", "person.jpg")
    write_rows(tmp_path / "jobs.jsonl", 1, models=[IMPATIENT], images=["photos/person.jpg"])
    with gateway.before(tmp_path / "api", by=WORDED_ANEW, latency_s=1.5) as api:
        ran = api.run("jobs.jsonl", "--json", cwd=tmp_path, timeout=120)
        api.settle()
        line = results(tmp_path / "jobs-out")[0]
        assert (ran.code, line["error"]["code"]) == (1, "unknown_outcome"), ran.err
        assert (ran.summary["requests"], ran.summary["charged"], ran.summary["unknown_charges"]) == (2, 0, 2)
        assert len(api.sim.calls) == 6


@both
def test_the_doctor_finds_it_well(gateway: Gateway, tmp_path: Path, by: str) -> None:
    with gateway.before(tmp_path / "api", by=by) as api:
        ran = run_command("doctor", cwd=tmp_path, env=api.environment)
        assert ran.code == 0, ran.out + ran.err
