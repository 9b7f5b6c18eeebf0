"""Money over several runs: the cap that is carried over, prices of one's own, what is held and how it is released."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING

import pytest

from fluxbatch.simulator import Faults
from tests.app.stage import command, names_of, photos_into, results, run_command, serving, wait_for, write_rows

if TYPE_CHECKING:
    from pathlib import Path


def test_a_cap_is_not_a_new_one_for_a_run_taken_up_again(tmp_path: Path) -> None:
    jobs = write_rows(tmp_path / "jobs.jsonl", 10)
    with serving(tmp_path / "api") as api:
        first = api.run(jobs, "--max-cost", "0.05", "--json", cwd=tmp_path)
        assert (first.code, first.summary["stored"], first.summary["stop_reason"]) == (3, 5, "budget")
        again = api.run(jobs, "--max-cost", "0.05", "--json", cwd=tmp_path)
        assert (again.code, again.summary["requests"], again.summary["stop_reason"]) == (3, 0, "budget")
        assert "$0.05 of it by runs before this one" in again.err
        assert "--max-cost" in again.err
        rest = api.run(jobs, "--max-cost", "0.1", "--json", cwd=tmp_path)
        assert (rest.code, rest.summary["stored"], rest.summary["cost_usd"]) == (0, 10, 0.05)
        # it went through: what comes now is a new matter
        more = api.run(write_rows(jobs, 12), "--max-cost", "0.02", "--json", cwd=tmp_path)
        assert (more.code, more.summary["requests"]) == (0, 2)


@pytest.mark.slow
def test_a_cap_holds_over_runs_that_are_killed(tmp_path: Path) -> None:
    jobs = write_rows(tmp_path / "jobs.jsonl", 60)
    out = tmp_path / "jobs-out"
    args = (jobs, "--max-cost", "0.2", "--concurrency", "4")
    with serving(tmp_path / "api", latency_s=0.05) as api:
        for number in range(1, 4):
            with api.start(*args, cwd=tmp_path) as process:
                wait_for(lambda: len(names_of(out, "job.stored")) >= 3 * number)  # noqa: B023  # waited for right here
                process.kill()
                process.communicate()
        last = api.run(*args, "--json", cwd=tmp_path)
        assert (last.code, last.summary["stop_reason"]) == (3, "budget")
        spent = sum(call.usd for call in api.sim.calls)
        assert 0.09 <= spent <= 0.2 + 1e-9
        assert len({line["id"] for line in results(out) if line["status"] == "stored"}) >= 9


def test_prices_of_ones_own_count(tmp_path: Path) -> None:
    jobs = write_rows(tmp_path / "jobs.jsonl", 5)
    prices = tmp_path / "mine.toml"
    prices.write_text('as_of = "2026-12"\n[usd]\nflux-2-klein-4b = 1.0\n')
    with serving(tmp_path / "api") as api:
        ran = api.run(jobs, "--prices", prices, "--max-cost", "3", "--json", cwd=tmp_path)
        assert (ran.code, ran.summary["stored"], ran.summary["cost_usd"]) == (3, 3, 3.0)
        # a single one named by hand goes before the list
        rest = api.run(
            *(jobs, "--prices", prices, "--price", "flux-2-klein-4b=0.5", "--max-cost", "4", "--json"), cwd=tmp_path
        )
        assert (rest.code, rest.summary["cost_usd"]) == (0, 1.0)
    shown = run_command("models", cwd=tmp_path, env={"FLUXBATCH_PRICES": str(prices)})
    line = next(line for line in shown.out.splitlines() if "klein-4b" in line)
    assert line.split()[2] == "1"
    assert "2026-12" in shown.out


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[usd]\nflux-2-prp = 0.02\n", "did you mean flux-2-pro?"),
        ('[usd]\nflux-2-pro = "cheap"\n', "'cheap' is no price"),
        ("[usd]\nflux-2-pro = -1\n", "is no price"),
        ("usd = 3\n", "there is no table [usd]"),
        ("flux-2-pro = 0.02\n", "unknown key 'flux-2-pro'"),
        ("[usd\n", "line 1"),
    ],
)
def test_a_wrong_price_list_is_an_error_that_names_it(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "mine.toml").write_text(text)
    ran = run_command("models", "--prices", "mine.toml", cwd=tmp_path)
    assert ran.code == 2
    assert "mine.toml" in ran.err
    assert words in ran.err


def test_a_price_list_that_is_not_there(tmp_path: Path) -> None:
    ran = run_command("models", "--prices", "mine.toml", cwd=tmp_path)
    assert (ran.code, "mine.toml: No such file" in ran.err) == (2, True)


def test_a_price_for_a_model_that_is_misspelt_is_no_price(tmp_path: Path) -> None:
    jobs = write_rows(tmp_path / "jobs.jsonl", 1)
    ran = run_command("run", jobs, "--simulate", "--price", "flux-2-klien-4b=0.1", cwd=tmp_path)
    assert ran.code == 2
    assert "did you mean flux-2-klein-4b?" in ran.err


def test_what_is_held_is_released_by_the_command_that_is_named(tmp_path: Path) -> None:
    jobs = write_rows(tmp_path / "jobs.jsonl", 3)
    with serving(tmp_path / "api", faults=Faults(schedule={"reset": frozenset({2})})) as api:
        ran = api.run(jobs.name, "--if-unsure", "hold", "--concurrency", "1", cwd=tmp_path)
        assert ran.code == 1
        line = next(line for line in ran.out.splitlines() if "unknown_outcome" in line)
        _, _, named = line.partition("fluxbatch ")
        assert named == "run jobs.jsonl --if-unsure hold --concurrency 1 --retry unknown_outcome"
        held = [line["id"] for line in results(tmp_path / "jobs-out") if line["status"] == "failed"]
        assert held == ["job-001"]
        # nothing happens to it unless it is asked for
        assert api.run(jobs.name, "--if-unsure", "hold", cwd=tmp_path).code == 1
        assert command(*shlex.split(named))[3:] == shlex.split(named)
        released = api.run(*shlex.split(named)[1:], "--json", cwd=tmp_path)
        assert (released.code, released.summary["requests"]) == (0, 1)
        assert len(api.sim.calls) == 4


def test_a_release_allows_one_more_request_and_no_two(tmp_path: Path) -> None:
    jobs = write_rows(tmp_path / "jobs.jsonl", 1)
    with serving(tmp_path / "api", faults=Faults(rates={"reset": 1.0})) as api:
        assert api.run(jobs, cwd=tmp_path).code == 1
        assert len(api.sim.calls) == 2
        assert api.run(jobs, "--retry", "unknown_outcome", cwd=tmp_path).code == 1
        assert len(api.sim.calls) == 3


def test_a_job_changed_back_is_not_sent_a_third_time(tmp_path: Path) -> None:
    """At most two requests that may have been billed, for life: also with something else asked for in between."""
    jobs = tmp_path / "jobs.jsonl"

    def ask(prompt: str) -> Path:
        jobs.write_text(json.dumps({"id": "one", "prompt": prompt, "model": "flux-2-klein-4b"}))
        return jobs

    with serving(tmp_path / "api", faults=Faults(schedule={"reset": frozenset({1, 2})})) as api:
        assert api.run(ask("A cat"), cwd=tmp_path).code == 1
        assert api.run(ask("A dog"), cwd=tmp_path).code == 0
        back = api.run(ask("A cat"), "--json", cwd=tmp_path)
        assert (back.code, back.summary["requests"]) == (1, 0)
        [line] = results(tmp_path / "jobs-out")
        assert line["error"]["code"] == "unknown_outcome"
        assert line["unknown_charges"] == 2
        assert len(api.sim.calls) == 3
        # what was stored and replaced on purpose is another matter
        again = api.run(ask("A dog"), "--json", cwd=tmp_path)
        assert again.code == 0
        released = api.run(ask("A cat"), "--retry", "unknown_outcome", "--json", cwd=tmp_path)
        assert released.code == 1, "it was changed just now: the failure to be retried is the next one"
        assert api.run(jobs, "--retry", "unknown_outcome", cwd=tmp_path).code == 0
        status = run_command("status", "--json", cwd=tmp_path)
        facts = json.loads(status.out)
        assert facts["charged"] + facts["unknown_charges"] == len(api.sim.calls), "money that was spent is forgotten"


def test_a_run_that_left_nothing_out_went_through_whatever_its_options(tmp_path: Path) -> None:
    """A limit above what there is to make narrows nothing; one below it leaves the cap as it stands."""
    jobs = write_rows(tmp_path / "jobs.jsonl", 4)
    with serving(tmp_path / "api") as api:
        assert api.run(jobs, "--max-cost", "0.04", "--limit", "2", cwd=tmp_path).code == 0
        over = api.run(write_rows(jobs, 6), "--max-cost", "0.04", "--json", cwd=tmp_path)
        assert (over.code, over.summary["requests"], over.summary["stop_reason"]) == (3, 2, "budget")
        assert api.run(jobs, "--max-cost", "0.06", "--limit", "100", cwd=tmp_path).code == 0
        anew = api.run(write_rows(jobs, 8), "--max-cost", "0.02", "--json", cwd=tmp_path)
        assert (anew.code, anew.summary["requests"]) == (0, 2)


def test_a_command_with_a_secret_in_it_is_not_shown_again(tmp_path: Path) -> None:
    """Reference images may be signed URLs, and addresses may hold a password."""
    photos_into(tmp_path / "photos", "cat.webp")
    signed = "https://photos.example/logo.png?sig=abc123secret"
    with serving(tmp_path / "api", faults=Faults(rates={"reset": 1.0})) as api:
        ran = api.run("photos", "-p", "On the shirt", "--with", signed, cwd=tmp_path)
    assert ran.code == 1
    assert "to send it once more: --retry unknown_outcome" in ran.out
    assert "abc123secret" not in ran.out + ran.err


def test_a_prompt_of_several_lines_is_not_shown_as_a_command(tmp_path: Path) -> None:
    photos_into(tmp_path / "photos", "cat.webp")
    with serving(tmp_path / "api", faults=Faults(rates={"reset": 1.0})) as api:
        ran = api.run("photos", "-p", "One\ntwo", cwd=tmp_path)
    line = next(line for line in ran.out.splitlines() if "unknown_outcome" in line)
    assert line.endswith("to send it once more: --retry unknown_outcome")
