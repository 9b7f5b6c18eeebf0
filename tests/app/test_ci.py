"""Runs in CI: reports for its servers, what may fail, and machines that have next to nothing."""

from __future__ import annotations

import os
import re
import subprocess
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest
import yaml

from fluxbatch.simulator import Faults
from tests.app.stage import REPO, Ran, command, run_command, serving, wait_for, write_rows

if TYPE_CHECKING:
    from pathlib import Path

    from tests.app.stage import Api


def on_github(api: Api, folder: Path) -> Path:
    """Have runs believe that they are a step on GitHub; where their summary goes."""
    page = folder / "step.md"
    api.env |= {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(page), "GITHUB_WORKSPACE": str(folder), "CI": "1"}
    return page


def cases(path: Path) -> tuple[dict[str, str], dict[str, ET.Element]]:
    """The counts of a JUnit file, and its cases by name."""
    (suite,) = ET.parse(path).getroot()
    return dict(suite.attrib), {case.attrib["name"]: case for case in suite}


def marks(ran: Ran) -> list[str]:
    return [line for line in ran.err.splitlines() if line.startswith("::")]


def refusing(api: Api, *numbers: int) -> None:
    api.sim.faults = Faults(schedule={"moderation": frozenset(numbers)})


# ------------------------------------------------------------------------------------------------------------ JUnit
def test_a_test_case_a_job(api: Api, tmp_path: Path) -> None:
    write_rows(tmp_path / "jobs.jsonl", 4)
    refusing(api, 2)

    ran = api.run("jobs.jsonl", "--concurrency", "1", "--junit", "reports/junit.xml", "--json", cwd=tmp_path)

    assert ran.code == 1
    counts, found = cases(tmp_path / "reports" / "junit.xml")
    assert {name: counts[name] for name in ("tests", "failures", "errors", "skipped")} == {
        "tests": "4",
        "failures": "1",
        "errors": "0",
        "skipped": "0",
    }
    assert list(found) == ["job-000", "job-001", "job-002", "job-003"], "in the order of the manifest"
    (failed,) = [case for case in found.values() if len(case)]
    assert failed[0].tag == "failure"
    assert failed[0].attrib["type"] == "moderated"
    assert "(HTTP 400)" in failed[0].attrib["message"]
    assert "raise safety_tolerance" in (failed[0].text or "")
    line = int(failed.attrib["name"][-3:]) + 1
    assert (failed.attrib["file"], failed.attrib["line"]) == ("jobs.jsonl", str(line))
    assert [path.name for path in (tmp_path / "reports").iterdir()] == ["junit.xml"]


@pytest.mark.slow
def test_it_tells_how_long_each_took(tmp_path: Path) -> None:
    """From a job's first request to its end, what came in between included; nothing was done for one that was there."""
    limited = Faults(schedule={"429": frozenset({2})})
    with serving(tmp_path / "sim", latency_s=0.3, faults=limited) as api:
        write_rows(tmp_path / "jobs.jsonl", 3)
        assert api.run("jobs.jsonl", "--limit", "1", cwd=tmp_path).code == 0
        with (tmp_path / "jobs-out" / ".fluxbatch" / "events.jsonl").open("ab") as events:
            events.write(b'{"event":"job.torn')
        before = datetime.now(UTC).replace(microsecond=0, tzinfo=None)
        ran = api.run("jobs.jsonl", "--junit", "junit.xml", "--json", cwd=tmp_path)
    assert ran.code == 0
    root = ET.parse(tmp_path / "junit.xml").getroot()
    counts, found = cases(tmp_path / "junit.xml")
    took = {name: float(case.attrib["time"]) for name, case in found.items()}
    assert took["job-000"] == 0
    assert min(took["job-001"], took["job-002"]) >= 0.3
    assert float(counts["time"]) == pytest.approx(ran.summary["wall_s"], abs=0.001)
    assert max(took.values()) <= float(counts["time"])
    assert before <= datetime.fromisoformat(counts["timestamp"]) <= datetime.now(UTC).replace(tzinfo=None)
    assert root.attrib.items() <= counts.items(), "some read them there"
    assert all(case.attrib.keys() == {"classname", "name", "time", "file", "line"} for case in found.values())


def test_what_is_held_and_what_was_not_sent(api: Api, tmp_path: Path) -> None:
    write_rows(tmp_path / "jobs.jsonl", 3)
    api.sim.faults = Faults(schedule={"504": frozenset({1})})

    options = ("--if-unsure", "hold", "--max-cost", "0.02", "--concurrency", "1", "--junit", "junit.xml")
    ran = api.run("jobs.jsonl", *options, cwd=tmp_path)

    assert ran.code == 3
    counts, found = cases(tmp_path / "junit.xml")
    assert (counts["tests"], counts["failures"], counts["errors"], counts["skipped"]) == ("4", "0", "2", "1")
    by_tag = {name: (case[0].tag, case[0].attrib["type"]) for name, case in found.items() if len(case)}
    assert by_tag == {
        "job-000": ("error", "unknown_outcome"),
        "job-002": ("skipped", "budget"),
        "run": ("error", "budget"),
    }, "a run that stopped early must not look like one in which all went well"


def test_a_manifest_that_can_not_be_run_is_an_error(api: Api, tmp_path: Path) -> None:
    page = on_github(api, tmp_path)
    (tmp_path / "jobs.yaml").write_text("version: 1\njobs:\n  - {id: one, prompt: A cup, stpes: 4}\n")

    ran = api.run("jobs.yaml", "--junit", "junit.xml", cwd=tmp_path)

    assert ran.code == 2
    counts, found = cases(tmp_path / "junit.xml")
    assert (counts["tests"], counts["errors"]) == ("1", "1")
    assert "did you mean 'steps'" in (found["one"][0].text or "")
    (said,) = marks(ran)
    assert said.startswith("::error file=jobs.yaml,line=3,title=one::")
    assert "nothing was sent" in page.read_text()


def test_hostile_text_breaks_no_report(api: Api, tmp_path: Path) -> None:
    page = on_github(api, tmp_path)
    rows = [f'{{"id": "a,b:{n}%", "prompt": "{n}"}}' for n in range(3)]
    (tmp_path / "a,b%:c.jsonl").write_text("\n".join(rows))
    api.sim.faults = Faults(schedule={"moderation": frozenset({1, 2, 3})})

    ran = api.run("a,b%:c.jsonl", "--junit", "junit.xml", cwd=tmp_path)

    assert ran.code == 1
    _, found = cases(tmp_path / "junit.xml")
    assert set(found) == {f"a,b:{n}%" for n in range(3)}
    for said in marks(ran):
        assert re.match(r"::error file=a%2Cb%25%3Ac\.jsonl,line=[123],title=a%2Cb%3A[012]%25::moderated: ", said)
    assert len(marks(ran)) == 3
    assert "a,b\\:1%" in page.read_text()


def test_where_no_report_can_be_written_nothing_is_paid_for(api: Api, tmp_path: Path) -> None:
    write_rows(tmp_path / "jobs.jsonl", 2)
    (tmp_path / "file").touch()
    ran = api.run("jobs.jsonl", "--junit", "file/junit.xml", cwd=tmp_path)
    assert ran.code == 2
    assert "--junit" in ran.err
    assert api.sim.requests == 0


# ----------------------------------------------------------------------------------------------------------- GitHub
def test_the_summary_of_a_step_is_added_to(api: Api, tmp_path: Path) -> None:
    page = on_github(api, tmp_path)
    page.write_text("# Of another step\n")
    write_rows(tmp_path / "jobs.jsonl", 3)
    refusing(api, 1)

    assert api.run("jobs.jsonl", cwd=tmp_path).code == 1

    text = page.read_text()
    assert text.startswith("# Of another step\n### fluxbatch: 2 of 3 images there")
    assert "| 2 | 0 | 1 | 0 | 3 | $0.02 | – | 0 |" in text
    assert "| moderated |" in text


def test_a_summary_that_would_be_too_large_is_left_alone(api: Api, tmp_path: Path) -> None:
    page = on_github(api, tmp_path)
    page.write_bytes(b"x" * ((1 << 20) - 100))
    write_rows(tmp_path / "jobs.jsonl", 1)
    assert api.run("jobs.jsonl", cwd=tmp_path).code == 0
    assert page.stat().st_size == (1 << 20) - 100


def test_many_failures_are_ten_annotations(api: Api, tmp_path: Path) -> None:
    page = on_github(api, tmp_path)
    write_rows(tmp_path / "jobs.jsonl", 140)
    api.sim.faults = Faults(rates={"moderation": 1.0})

    ran = api.run("jobs.jsonl", cwd=tmp_path)

    said = marks(ran)
    assert len(said) == 10
    assert said[-1] == "::error title=fluxbatch::… and 131 more"
    assert "… and 40 more" in page.read_text()


def test_elsewhere_nothing_is_annotated(api: Api, tmp_path: Path) -> None:
    write_rows(tmp_path / "jobs.jsonl", 1)
    refusing(api, 1)
    assert marks(api.run("jobs.jsonl", cwd=tmp_path)) == []


@pytest.mark.parametrize("name", ["validate", "plan"])
def test_warnings_and_errors_of_the_checks_are_annotated(tmp_path: Path, name: str) -> None:
    (tmp_path / "jobs.yaml").write_text("version: 1\njobs:\n  - {id: one, prompt: A cup, images: [no.png]}\n")
    env = {"GITHUB_ACTIONS": "true", "GITHUB_WORKSPACE": str(tmp_path.parent)}
    (said,) = marks(run_command(name, "jobs.yaml", cwd=tmp_path, env=env))
    assert said.startswith(f"::error file={tmp_path.name}/jobs.yaml,line=3,title=one::images[1]: no.png:")


# ------------------------------------------------------------------------------------------------- what may go wrong
@pytest.mark.parametrize(("share", "code"), [("75%", 0), ("0.75", 0), ("76%", 1), ("100%", 1)])
def test_fail_under(api: Api, tmp_path: Path, share: str, code: int) -> None:
    write_rows(tmp_path / "jobs.jsonl", 4)
    refusing(api, 2)
    ran = api.run("jobs.jsonl", "--fail-under", share, "--json", cwd=tmp_path)
    assert (ran.code, ran.summary["exit_code"], ran.summary["failed"]) == (code, code, 1)
    assert ("--fail-under" in ran.err) is (code == 0)


@pytest.mark.parametrize("share", ["95", "-1%", "101%", "most", "1/2"])
def test_no_share(tmp_path: Path, share: str) -> None:
    write_rows(tmp_path / "jobs.jsonl", 1)
    ran = run_command("run", "jobs.jsonl", "--simulate", f"--fail-under={share}", cwd=tmp_path)
    assert ran.code == 2
    assert "write 95% or 0.95" in ran.err


def test_an_early_stop_is_no_share_that_is_enough(api: Api, tmp_path: Path) -> None:
    write_rows(tmp_path / "jobs.jsonl", 10)
    ran = api.run("jobs.jsonl", "--max-cost", "0.09", "--fail-under", "50%", "--json", cwd=tmp_path)
    assert (ran.code, ran.summary["stored"], ran.summary["stop_reason"]) == (3, 9, "budget")


def test_failures_end_a_run(api: Api, tmp_path: Path) -> None:
    write_rows(tmp_path / "jobs.jsonl", 50)
    api.sim.faults = Faults(rates={"moderation": 1.0})

    ran = api.run("jobs.jsonl", "--stop-after-failures", "5", "--concurrency", "2", "--json", cwd=tmp_path)

    assert (ran.code, ran.summary["stop_reason"]) == (3, "failures")
    assert 5 <= ran.summary["failed"] <= 6, "one more was in flight"
    assert ran.summary["requests"] == ran.summary["failed"]
    assert "moderated" in ran.err
    api.sim.faults = Faults()
    assert api.run("jobs.jsonl", cwd=tmp_path).code == 1, "the others are made, those that failed stay"


def test_a_stop_that_was_expected_is_let_pass(api: Api, tmp_path: Path) -> None:
    page = on_github(api, tmp_path)
    write_rows(tmp_path / "jobs.jsonl", 5)
    capped = ("jobs.jsonl", "--max-cost", "0.02", "--ok-if", "budget,runtime", "--json")

    ran = api.run(*capped, cwd=tmp_path)

    assert (ran.code, ran.summary["stop_reason"], ran.summary["pending"]) == (0, "budget", 3)
    assert "stopped early" in ran.err
    assert "--ok-if" in ran.err
    assert marks(ran)[0].startswith("::warning ")
    assert "Stopped early" in page.read_text()
    again = api.run(*capped, cwd=tmp_path)
    assert (again.code, again.summary["requests"]) == (0, 0), "the cap did not begin anew"


def test_no_stop_reason(tmp_path: Path) -> None:
    ran = run_command("run", "jobs.jsonl", "--ok-if", "unauthorized", cwd=tmp_path)
    assert ran.code == 2
    assert "'unauthorized' can't be let pass" in ran.err


# ------------------------------------------------------------------------------------------------ next to nothing
def test_without_a_key_it_says_what_it_would_cost(api: Api, tmp_path: Path) -> None:
    page = on_github(api, tmp_path)
    api.env["FLUXBATCH_API_KEY"] = ""
    write_rows(tmp_path / "jobs.jsonl", 3)

    planned = run_command("plan", "jobs.jsonl", "--json", cwd=tmp_path, env=api.environment)
    ran = api.run("jobs.jsonl", "--junit", "junit.xml", cwd=tmp_path)

    assert (planned.code, planned.summary["make"]) == (0, 3)
    assert ran.code == 2
    assert "there is no API key: 3 images to make, about $0.03; nothing was sent" in ran.err
    assert "about \\$0\\.03" in page.read_text()
    assert cases(tmp_path / "junit.xml")[0]["errors"] == "1"
    assert api.sim.requests == 0
    assert not (tmp_path / "jobs-out").exists()


def test_without_a_key_a_folder_that_is_there_is_planned_as_well(api: Api, tmp_path: Path) -> None:
    write_rows(tmp_path / "jobs.jsonl", 3)
    assert api.run("jobs.jsonl", "--limit", "2", cwd=tmp_path).code == 0
    api.env["FLUXBATCH_API_KEY"] = ""
    ran = api.run("jobs.jsonl", cwd=tmp_path)
    assert ran.code == 2
    assert "1 image to make, about $0.01" in ran.err
    assert api.run("jobs.jsonl", "--limit", "0", cwd=tmp_path).code == 0, "what is there needs no key"


@pytest.mark.parametrize("home", ["unset", "unwritable"])
def test_without_a_home(api: Api, tmp_path: Path, home: str) -> None:
    write_rows(tmp_path / "jobs.jsonl", 2)
    (tmp_path / "file").touch()
    api.via = ("env", "-u", "HOME") if home == "unset" else ("env", f"HOME={tmp_path / 'file'}")
    ran = api.run("jobs.jsonl", "--json", cwd=tmp_path)
    assert ran.code == 0, ran.err
    assert ran.summary["stored"] == 2


def test_a_checkout_that_can_only_be_read(
    api: Api, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, readonly: tuple[str, ...]
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    rows = {"prompt": "A cup", "model": "flux-2-klein-4b"}
    (tmp_path / "jobs.yaml").write_text(yaml.safe_dump({"version": 1, "lock": True, "jobs": [rows]}))
    api.via = readonly

    refused = api.run("jobs.yaml", cwd=tmp_path)
    assert refused.code == 3, "images have to go somewhere"
    assert "jobs-out" in refused.err
    assert api.sim.requests == 0

    ran = api.run("jobs.yaml", "-o", elsewhere / "out", "--state", elsewhere / "state", "--json", cwd=tmp_path)
    assert ran.code == 0, ran.err
    assert api.sim.requests == 1
    again = api.run("jobs.yaml", "-o", elsewhere / "out", "--state", elsewhere / "state", "--json", cwd=tmp_path)
    assert (again.code, again.summary["requests"]) == (0, 0)


def test_a_reader_that_goes_away_changes_no_report(api: Api, tmp_path: Path) -> None:
    page = on_github(api, tmp_path)
    write_rows(tmp_path / "jobs.jsonl", 2)
    process = api.start("jobs.jsonl", "--junit", "junit.xml", cwd=tmp_path)
    assert process.stderr is not None
    assert process.stdout is not None
    process.stderr.close()
    process.stdout.close()
    assert process.wait(30) == 0
    assert cases(tmp_path / "junit.xml")[0]["tests"] == "2"
    wait_for(page.exists)


# ------------------------------------------------------------------------------------------------------ the action
ACTION: dict[str, Any] = yaml.safe_load((REPO / ".github" / "actions" / "fluxbatch" / "action.yml").read_text())


def test_no_input_is_part_of_a_script() -> None:
    gitlab = yaml.safe_load((REPO / ".github" / "gitlab" / "fluxbatch.yml").read_text())
    for step in ACTION["runs"]["steps"]:
        assert "${{" not in step.get("run", "")
    assert {"fluxbatch plan", "fluxbatch run"} < set(gitlab)


@pytest.mark.parametrize(("name", "code"), [("run", 0), ("plan", 0), ("validate", 0), ("rm -rf", 2)])
def test_the_step_of_the_action(tmp_path: Path, name: str, code: int) -> None:
    tool = tmp_path / "bin" / "fluxbatch"
    tool.parent.mkdir()
    tool.write_text(f'#!/bin/sh\nexec {" ".join(command())} "$@"\n')
    tool.chmod(0o755)
    manifest = '$(touch hit)"; touch hit; ".jsonl'
    write_rows(tmp_path / manifest, 2)
    step = ACTION["runs"]["steps"][-1]
    inputs = {name: str(facts.get("default", "")) for name, facts in ACTION["inputs"].items()}
    inputs |= {
        "command": name,
        "manifest": manifest,
        "args": "--simulate\n  --concurrency 4\n" if name != "validate" else "",
        "out": "o ut",
    }
    values = {key: inputs[said[len("${{ inputs.") : -len(" }}")]] for key, said in step["env"].items()}
    files = {key: str(tmp_path / key) for key in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
    env = {**os.environ, **values, **files, "PATH": f"{tool.parent}:{os.environ['PATH']}", "PYTHONPATH": str(REPO)}

    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", step["run"]], cwd=tmp_path, env=env, capture_output=True, check=False
    )

    assert done.returncode == code, done.stderr
    assert not (tmp_path / "hit").exists()
    if name == "run":
        said = (tmp_path / "GITHUB_OUTPUT").read_text()
        assert said.startswith('exit-code=0\nsummary={"run_id":')
        assert len(list((tmp_path / "o ut").glob("*.jpg"))) == 2
    if name == "plan":
        assert "2 images to make" in (tmp_path / "GITHUB_STEP_SUMMARY").read_text()


# ------------------------------------------------------------------------------------------------------ the rehearsal
def git(folder: Path, *words: str) -> None:
    who = ("-c", "user.name=Tests", "-c", "user.email=tests@example.com", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True)


def changed(folder: Path) -> set[str]:
    """Files of a repository that are not as they were committed."""
    done = subprocess.run(["git", "diff", "--name-only"], cwd=folder, check=True, capture_output=True, text=True)
    return set(done.stdout.split())


def test_a_change_in_a_fresh_clone_is_one_request(api: Api, tmp_path: Path) -> None:
    """Manifest, lock and images are in the repository; the ledger is not."""
    repo, clone = tmp_path / "repo", tmp_path / "clone"
    repo.mkdir()
    rows = [{"id": name, "prompt": f"A {name}", "model": "flux-2-klein-4b"} for name in ("cup", "mug", "bowl")]
    document: dict[str, Any] = {"version": 1, "lock": True, "out": "images", "jobs": rows}
    (repo / "shop.yaml").write_text(yaml.safe_dump(document))
    assert api.run("shop.yaml", cwd=repo).code == 0
    git(repo, "init", "-q")
    git(repo, "add", "shop.yaml", "fluxbatch.lock", "images")
    git(repo, "commit", "-qm", "Images")
    git(tmp_path, "clone", "-q", str(repo), str(clone))
    page = on_github(api, clone)
    assert run_command("plan", "shop.yaml", "--check", cwd=clone, env=api.environment).code == 0

    rows[1]["prompt"] = "A blue mug"
    (clone / "shop.yaml").write_text(yaml.safe_dump(document))
    planned = run_command("plan", "shop.yaml", "--markdown", "--check", cwd=clone, env=api.environment)
    assert planned.code == 1
    assert planned.out.startswith("### fluxbatch: 1 image to make, about $0.01\n")
    ran = api.run("shop.yaml", "--junit", "junit.xml", "--json", cwd=clone)

    assert ran.code == 0, ran.err
    assert (ran.summary["requests"], ran.summary["cached"], ran.summary["stored"]) == (1, 2, 3)
    counts, found = cases(clone / "junit.xml")
    assert (counts["tests"], counts["failures"], counts["errors"], counts["skipped"]) == ("3", "0", "0", "0")
    assert set(found) == {"cup", "mug", "bowl"}
    assert {float(found[name].attrib["time"]) for name in ("cup", "bowl")} == {0.0}
    wanted = {"shop.yaml", "fluxbatch.lock", "images/mug.jpg", "images/results.jsonl"}
    assert changed(clone) == wanted, "what the pull request would be"
    assert "all 3 images there" in page.read_text()
    assert "| 1 | 2 | 0 | 0 | 1 | $0.01 | – | 0 |" in page.read_text()
