"""mitmproxy between a run and the API: it breaks connections off after the API has answered, and been paid."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.app.stage import (
    check_bills,
    check_folder,
    check_stored,
    photos_into,
    results,
    serving,
    sha256,
    wait_for,
    write_rows,
)
from tests.counterparts.mitm import TOOL, intercepted
from tests.counterparts.programs import HOW

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(120),
    pytest.mark.skipif(TOOL is None, reason=f"mitmproxy is not there: {HOW}"),
]


def test_all_goes_through_it_when_nothing_is_cut(tmp_path: Path) -> None:
    photos_into(tmp_path / "photos", "person.jpg", "cat.webp")
    write_rows(tmp_path / "jobs.jsonl", 6, images=["photos/person.jpg", "photos/cat.webp"])
    with serving(tmp_path / "api") as api, intercepted(api, tmp_path / "mitm") as mitm:
        ran = api.run("jobs.jsonl", "--json", cwd=tmp_path)
        assert (ran.code, ran.summary["stored"], ran.summary["unknown_charges"]) == (0, 6, 0), ran.err
        sent = [sha256(tmp_path / "photos" / name) for name in ("person.jpg", "cat.webp")]
        assert all([one["sha256"] for one in call.inputs] == sent for call in api.sim.calls)
        check_stored(api, tmp_path / "jobs-out", results(tmp_path / "jobs-out"))
        assert mitm.count("passed") == 12
        assert api.sim.leaked_keys == 0


@pytest.mark.parametrize("cut", ["answers", "halves"])
def test_an_answer_that_was_paid_for_is_lost_on_the_way(tmp_path: Path, cut: str) -> None:
    """Maybe billed, made once more, and the account frames the bill."""
    write_rows(tmp_path / "jobs.jsonl", 24)
    with serving(tmp_path / "api") as api, intercepted(api, tmp_path / "mitm", **{cut: [3, 8, 13, 18]}) as mitm:
        ran = api.run("jobs.jsonl", "--json", cwd=tmp_path)
        api.settle()
        lines = results(tmp_path / "jobs-out")
        assert mitm.count(cut) == 4
        stored, failed = ran.summary["stored"], ran.summary["failed"]
        assert (stored + failed, ran.summary["charged"], ran.summary["unknown_charges"]) == (24, stored, 4), ran.err
        assert failed <= 2, "it takes two losses to fail"
        assert len(api.sim.calls) == ran.summary["requests"] == stored + 4
        check_bills(api, lines)
        check_stored(api, tmp_path / "jobs-out", lines)
        check_folder(tmp_path / "jobs-out")
        again = api.run("jobs.jsonl", "--json", cwd=tmp_path)
        assert (again.summary["requests"], again.summary["cached"]) == (0, stored)


def test_nothing_is_paid_for_a_third_time(tmp_path: Path) -> None:
    """Every answer is lost: two requests for a job at most, over all runs, and the run ends by itself."""
    write_rows(tmp_path / "jobs.jsonl", 2)
    with serving(tmp_path / "api") as api, intercepted(api, tmp_path / "mitm", answers=range(1, 100)):
        for _ in range(3):
            ran = api.run("jobs.jsonl", "--json", cwd=tmp_path)
            assert ran.code == 1, ran.err
        api.settle()
        lines = results(tmp_path / "jobs-out")
        assert [line["error"]["code"] for line in lines] == ["unknown_outcome"] * 2
        assert [(line["charged"], line["unknown_charges"]) for line in lines] == [(0, 2)] * 2
        assert len(api.sim.calls) == 4
        check_bills(api, lines)


def test_what_is_held_is_sent_when_it_is_asked_for(tmp_path: Path) -> None:
    write_rows(tmp_path / "jobs.jsonl", 6)
    with serving(tmp_path / "api") as api, intercepted(api, tmp_path / "mitm", answers=[2, 4]):
        ran = api.run("jobs.jsonl", "--json", "--if-unsure", "hold", cwd=tmp_path)
        assert (ran.code, ran.summary["stored"], ran.summary["failed"]) == (1, 4, 2), ran.err
        assert (ran.summary["requests"], ran.summary["unknown_charges"]) == (6, 2)
        ran = api.run("jobs.jsonl", "--json", "--retry", "unknown_outcome", cwd=tmp_path)
        assert (ran.code, ran.summary["stored"], ran.summary["requests"]) == (0, 6, 2), ran.err
        api.settle()
        check_bills(api, results(tmp_path / "jobs-out"))


def test_downloads_that_break_off_are_resumed_and_nothing_is_ordered_again(tmp_path: Path) -> None:
    """The API by one proxy, results by another; halves that arrived are not fetched twice."""
    write_rows(tmp_path / "jobs.jsonl", 12, output_format="png", size="512x512")
    with (
        serving(tmp_path / "api", render="montage") as api,
        intercepted(api, tmp_path / "mitm", downloads=[1, 2, 5, 9, 11]) as mitm,
    ):
        by = f"http://127.0.0.1:{mitm.results_port}"
        ran = api.run("jobs.jsonl", "--json", "--download-proxy", by, cwd=tmp_path)
        assert (ran.code, ran.summary["stored"], ran.summary["requests"]) == (0, 12, 12), ran.err
        assert (ran.summary["charged"], ran.summary["unknown_charges"]) == (12, 0)
        assert len(api.sim.calls) == 12
        check_stored(api, tmp_path / "jobs-out", results(tmp_path / "jobs-out"))
        check_folder(tmp_path / "jobs-out")
        flows = mitm.flows
        assert {(flow["host"], flow["port"]) for flow in flows} == {
            ("api.flux.example", mitm.api_port),
            ("results.flux.example", mitm.results_port),
        }
        assert mitm.count("downloads") == 5
        assert sum(flow["range"] is not None for flow in flows) == 5, "each goes on from where it broke off"


def test_a_run_that_dies_over_broken_downloads_owes_no_new_order(tmp_path: Path) -> None:
    """What was paid for has its URL on record: the next run fetches it, and orders nothing."""
    write_rows(tmp_path / "jobs.jsonl", 4, output_format="png")
    with serving(tmp_path / "api") as api:
        with intercepted(api, tmp_path / "mitm", downloads=range(1, 1000)) as mitm:
            by = f"http://127.0.0.1:{mitm.results_port}"
            with api.running("jobs.jsonl", "--download-proxy", by, cwd=tmp_path) as run:
                wait_for(lambda: len({flow["path"] for flow in mitm.flows if flow["what"] == "downloads"}) == 4)
                run.kill()
        assert len(api.sim.calls) == 4
        with intercepted(api, tmp_path / "mitm-2"):
            ran = api.run("jobs.jsonl", "--json", cwd=tmp_path)
        assert (ran.code, ran.summary["stored"], ran.summary["requests"]) == (0, 4, 0), ran.err
        assert len(api.sim.calls) == 4
        check_stored(api, tmp_path / "jobs-out", results(tmp_path / "jobs-out"))
        check_folder(tmp_path / "jobs-out")


def test_an_authority_that_nobody_vouches_for(tmp_path: Path) -> None:
    write_rows(tmp_path / "jobs.jsonl", 2)
    with serving(tmp_path / "api") as api, intercepted(api, tmp_path / "mitm") as mitm:
        del api.env["FLUXBATCH_CA_FILE"]
        ran = api.run("jobs.jsonl", "--json", cwd=tmp_path)
        assert (ran.code, ran.summary["stop_reason"], ran.summary["unknown_charges"]) == (3, "wrong_base_url", 0)
        assert "certificate" in ran.err.lower()
        assert (mitm.flows, api.sim.requests) == ([], 0)
