"""run --remake rejected: what is made again, what is kept, and that nothing is paid twice."""

from __future__ import annotations

import csv
import json
import shutil
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest

import fluxbatch
from fluxbatch.app.folder import Paths
from fluxbatch.app.review import open_reviews
from fluxbatch.model.state import JobState
from fluxbatch.simulator import Faults
from tests.app.stage import KEY, jobs_in_state, results, run_command, serving, sha256, wait_for
from tests.stores.s3server import s3_serving

if TYPE_CHECKING:
    from tests.app.stage import Api, Ran

MODEL = "flux-2-klein-4b"


def manifest(folder: Path, count: int = 3, *, lock: bool = False, **changes: dict[str, Any]) -> Path:
    jobs = [{"id": f"job-{n}", "prompt": f"Number {n}", "model": MODEL} for n in range(count)]
    for job in jobs:
        job.update(changes.get(str(job["id"]).replace("-", "_"), {}))
    path = folder / "jobs.json"
    path.write_text(json.dumps({"version": 1, "lock": lock, "jobs": jobs}))
    return path


def say(out: Path, word: str, *ids: str, prompt: str = "", shas: dict[str, str] | None = None) -> None:
    """Verdicts on the present images, by way of a table."""
    table = out.parent / "said.csv"
    shas = shas or {line["id"]: line["sha256"] for line in results(out)}
    rows = [[job_id, shas[job_id], word, prompt] for job_id in ids]
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([["id", "sha256", "verdict", "prompt"], *rows])
    done = run_command("review", out, "--import", table, "--by", "Ann", cwd=out.parent)
    assert done.code == 0, done.err


def line_of(out: Path, job_id: str) -> dict[str, Any]:
    return next(line for line in results(out) if line["id"] == job_id)


def remakes(folder: Path) -> list[dict[str, Any]]:
    path = folder / "remakes.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def planned(api: Api, folder: Path, *args: str) -> dict[str, str]:
    """What would be made, and why."""
    done = run_command("plan", "jobs.json", *args, "--json", cwd=folder, env=api.environment)
    assert done.code == 0, done.err
    return {job["id"]: job["why"] for job in json.loads(done.out)["jobs"] if job["action"] == "make"}


def made(api: Api, folder: Path, *args: str) -> Ran:
    done = api.run("jobs.json", *args, "--json", cwd=folder)
    assert done.out, done.err
    return done


def bought(api: Api) -> Counter[tuple[str, int]]:
    """How often each prompt was billed with each seed."""
    return Counter((call.fields["prompt"], call.fields["seed"]) for call in api.sim.calls)


def test_a_rejected_image_is_made_again_with_another_seed_and_kept_to_compare(api: Api, tmp_path: Path) -> None:
    manifest(tmp_path)
    out = tmp_path / "jobs-out"
    made(api, tmp_path)
    first = line_of(out, "job-1")
    say(out, "rejected", "job-1")
    say(out, "approved", "job-2")
    assert planned(api, tmp_path) == {}, "only who asks for it"
    assert planned(api, tmp_path, "--remake", "rejected") == {"job-1": "rejected, round 1: seed changed"}
    assert not remakes(tmp_path), "a plan writes nothing"

    summary = made(api, tmp_path, "--remake", "rejected").summary
    assert (summary["charged"], summary["stored"], summary["cached"]) == (1, 3, 2)
    second = line_of(out, "job-1")
    assert second["seed"] != first["seed"]
    assert second["file"] == first["file"]
    [remake] = remakes(tmp_path)
    assert list(remake) == ["id", "round", "seed", "prompt", "sha256", "base", "by", "at"]
    assert (remake["id"], remake["round"], remake["seed"], remake["sha256"]) == (
        *("job-1", 1, second["seed"]),
        first["sha256"],
    )
    earlier = out / ".fluxbatch" / "earlier" / f"{first['sha256']}{Path(first['file']).suffix}"
    assert sha256(earlier) == first["sha256"] != second["sha256"]

    for args in ((), ("--remake", "rejected")):  # the new one was not rejected
        assert planned(api, tmp_path, *args) == {}
        assert made(api, tmp_path, *args).summary["charged"] == 0
    say(out, "rejected", "job-1")
    made(api, tmp_path, "--remake", "rejected")
    third = line_of(out, "job-1")
    assert len({first["seed"], second["seed"], third["seed"]}) == 3
    assert [one["round"] for one in remakes(tmp_path)] == [1, 2]
    assert set(bought(api).values()) == {1}

    async def earlier_ones() -> list[tuple[int, str]]:
        async with open_reviews(Paths.of(out)) as reviews:
            return [(one.remake.round, one.file) for one in await reviews.earlier("job-1")]

    kept = anyio.run(earlier_ones)
    assert [sha256(out / file) for _, file in kept] == [first["sha256"], second["sha256"]]


def test_a_prompt_that_people_asked_for_is_used_with_the_seed_as_it_was_and_stays(api: Api, tmp_path: Path) -> None:
    manifest(tmp_path)
    out = tmp_path / "jobs-out"
    made(api, tmp_path)
    seed = line_of(out, "job-0")["seed"]
    hostile = '<script>alert("x")</script> [/bold] \u202e ={{ 7*7 }}\nNumber 0'
    say(out, "rejected", "job-0", prompt=hostile)
    assert planned(api, tmp_path, "--remake", "rejected") == {"job-0": "rejected, round 1: prompt changed"}
    made(api, tmp_path, "--remake", "rejected")
    assert (line_of(out, "job-0")["prompt"], line_of(out, "job-0")["seed"]) == (hostile, seed)
    say(out, "rejected", "job-0")
    made(api, tmp_path, "--remake", "rejected")
    assert line_of(out, "job-0")["prompt"] == hostile
    assert line_of(out, "job-0")["seed"] != seed
    assert planned(api, tmp_path) == {}
    assert set(bought(api).values()) == {1}


@pytest.mark.slow
def test_who_edits_the_manifest_has_the_last_word(api: Api, tmp_path: Path) -> None:
    manifest(tmp_path)
    out = tmp_path / "jobs-out"
    made(api, tmp_path)
    seed = line_of(out, "job-0")["seed"]
    say(out, "rejected", "job-0", "job-1")
    made(api, tmp_path, "--remake", "rejected")
    manifest(tmp_path, job_0={"prompt": "Quite another number"})
    assert planned(api, tmp_path) == {"job-0": "prompt changed, seed changed"}
    made(api, tmp_path)
    assert (line_of(out, "job-0")["prompt"], line_of(out, "job-0")["seed"]) == ("Quite another number", seed)
    assert planned(api, tmp_path) == {}

    # rejected, and then edited: it is made again for that reason alone
    say(out, "rejected", "job-2", prompt="A wish")
    manifest(tmp_path, job_0={"prompt": "Quite another number"}, job_2={"prompt": "Edited since"})
    assert planned(api, tmp_path, "--remake", "rejected") == {"job-2": "prompt changed"}
    made(api, tmp_path, "--remake", "rejected")
    assert line_of(out, "job-2")["prompt"] == "Edited since"
    assert [one["id"] for one in remakes(tmp_path) if one["round"]] == ["job-0", "job-1"]


@pytest.mark.slow
def test_another_prompt_helps_where_a_round_has_failed(tmp_path: Path) -> None:
    manifest(tmp_path, 1)
    out = tmp_path / "jobs-out"
    with serving(tmp_path / "simulator", faults=Faults(schedule={"moderation": frozenset({2})})) as api:
        made(api, tmp_path)
        first = line_of(out, "job-0")
        say(out, "rejected", "job-0")
        assert made(api, tmp_path, "--remake", "rejected").summary["failed"] == 1
        assert planned(api, tmp_path, "--remake", "rejected") == {}, "it was refused, and would be again"
        assert (out / first["file"]).exists()
        say(out, "rejected", "job-0", prompt="Milder words", shas={"job-0": first["sha256"]})
        assert planned(api, tmp_path) == {}
        assert planned(api, tmp_path, "--remake", "rejected") == {"job-0": "rejected, round 2: prompt changed"}
        assert made(api, tmp_path, "--remake", "rejected").code == 0
        assert line_of(out, "job-0")["prompt"] == "Milder words"
        assert planned(api, tmp_path) == {}
        assert len(api.sim.calls) == 2


def test_a_prompt_that_can_not_be_sent_is_told_where_it_stands(api: Api, tmp_path: Path) -> None:
    manifest(tmp_path, 1)
    out = tmp_path / "jobs-out"
    made(api, tmp_path)
    say(out, "rejected", "job-0", prompt="多" * 40_000)
    done = api.run("jobs.json", "--remake", "rejected", cwd=tmp_path)
    assert done.code == 2
    assert f"{tmp_path / 'remakes.jsonl'}: error: [job-0] prompt: the prompt has about" in done.err
    assert len(api.sim.calls) == 1
    assert [one["round"] for one in remakes(tmp_path)] == [0]
    say(out, "rejected", "job-0", prompt="Number 0")  # what it had
    assert planned(api, tmp_path, "--remake", "rejected") == {"job-0": "rejected, round 1: seed changed"}


@pytest.mark.slow
def test_an_image_that_somebody_edited_is_neither_replaced_nor_kept_under_a_wrong_name(
    api: Api, tmp_path: Path
) -> None:
    manifest(tmp_path, 1)
    out = tmp_path / "jobs-out"
    made(api, tmp_path)
    first = line_of(out, "job-0")
    say(out, "rejected", "job-0")
    image = out / first["file"]
    image.write_bytes(image.read_bytes() + b"\0")
    refused = api.run("jobs.json", "--remake", "rejected", cwd=tmp_path)
    assert refused.code == 2
    assert "was edited since it was made" in refused.err
    assert not remakes(tmp_path)
    assert made(api, tmp_path, "--remake", "rejected", "--retry", "altered").summary["charged"] == 1
    assert not list(out.rglob(f"{first['sha256']}.*"))


def test_a_job_that_got_another_id_is_copied_once_it_has_that_in_both_files(api: Api, tmp_path: Path) -> None:
    manifest(tmp_path, 2)
    out = tmp_path / "jobs-out"
    made(api, tmp_path)
    say(out, "rejected", "job-0")
    made(api, tmp_path, "--remake", "rejected")
    path = manifest(tmp_path, 2)
    path.write_text(path.read_text().replace("job-0", "mug"))
    said = run_command("plan", "jobs.json", cwd=tmp_path, env=api.environment).err
    assert "[mug] is written as 'job-0' was, which was made again and is gone" in said
    overlay = tmp_path / "remakes.jsonl"
    assert str(overlay) in said
    overlay.write_text(overlay.read_text().replace("job-0", "mug"))
    plan = run_command("plan", "jobs.json", cwd=tmp_path, env=api.environment)
    assert "was job-0, its image is copied" in plan.out
    assert "is gone" not in plan.err
    assert made(api, tmp_path).summary["charged"] == 0


def test_rounds_that_are_used_up_are_told_and_cost_nothing(api: Api, tmp_path: Path) -> None:
    manifest(tmp_path, 1)
    out = tmp_path / "jobs-out"
    made(api, tmp_path)
    for _ in range(2):
        say(out, "rejected", "job-0")
        made(api, tmp_path, "--remake", "rejected", "--max-rounds", "2")
    say(out, "rejected", "job-0")
    done = made(api, tmp_path, "--remake", "rejected", "--max-rounds", "2")
    assert done.summary["charged"] == 0
    assert "[job-0] is rejected, and was made again 2 times (--max-rounds 3 makes it once more" in done.err
    assert len(api.sim.calls) == 3
    assert list(planned(api, tmp_path, "--remake", "rejected")) == ["job-0"]


def test_what_a_run_leaves_out_or_calls_off_is_not_decided(api: Api, tmp_path: Path) -> None:
    manifest(tmp_path)
    out = tmp_path / "jobs-out"
    made(api, tmp_path)
    say(out, "rejected", "job-0", "job-1", "job-2")
    refused = api.run("jobs.json", "--remake", "rejected", "--expect-digest", "0000", cwd=tmp_path)
    assert refused.code == 2
    assert not remakes(tmp_path)
    made(api, tmp_path, "--remake", "rejected", "--only", "job-1")
    assert [one["id"] for one in remakes(tmp_path)] == ["job-1"]
    made(api, tmp_path, "--remake", "rejected", "--limit", "1")
    assert [one["id"] for one in remakes(tmp_path)] == ["job-1", "job-0"]
    assert planned(api, tmp_path) == {}
    assert made(api, tmp_path).summary["charged"] == 0


def test_jobs_that_need_it_follow_and_keep_what_was_asked_for_them(api: Api, tmp_path: Path) -> None:
    manifest(tmp_path, job_1={"images": [{"job": "job-0"}]}, job_2={"images": [{"job": "job-1"}]})
    out = tmp_path / "jobs-out"
    made(api, tmp_path)
    say(out, "rejected", "job-1", prompt="Mended words")
    made(api, tmp_path, "--remake", "rejected")
    assert len(api.sim.calls) == 5
    say(out, "rejected", "job-0", "job-2")
    why = planned(api, tmp_path, "--remake", "rejected")
    assert why["job-0"] == "rejected, round 1: seed changed"
    assert set(why) == {"job-0", "job-1", "job-2"}
    made(api, tmp_path, "--remake", "rejected")
    assert line_of(out, "job-1")["prompt"] == "Mended words"
    assert [one["id"] for one in remakes(tmp_path) if one["round"]] == ["job-1", "job-0"], "job-2 was made anyway"
    assert planned(api, tmp_path) == {}
    assert len(api.sim.calls) == 8


@pytest.mark.slow
def test_simulated_images_change_nothing_about_real_ones(api: Api, tmp_path: Path) -> None:
    manifest(tmp_path, 2)
    made(api, tmp_path)
    simulated = tmp_path / "jobs-out-simulated"
    assert run_command("run", "jobs.json", "--simulate", "-q", cwd=tmp_path).code == 0
    say(simulated, "rejected", "job-0")
    again = run_command("run", "jobs.json", "--simulate", "--remake", "rejected", "--json", cwd=tmp_path)
    assert again.summary["charged"] == 1
    assert len(remakes(simulated)) == 1
    assert not (tmp_path / "remakes.jsonl").exists()
    assert planned(api, tmp_path, "--remake", "rejected") == {}


def test_a_fresh_checkout_knows_what_was_made_again_and_what_is_rejected(api: Api, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    manifest(here, lock=True)
    made(api, here)
    say(here / "jobs-out", "rejected", "job-0")
    made(api, here, "--remake", "rejected")
    say(here / "jobs-out", "rejected", "job-1")
    shutil.copytree(here, there, ignore=shutil.ignore_patterns(".fluxbatch", "results.jsonl"))
    assert planned(api, there) == {}
    # a lock file holds no fields that could tell what changed
    assert list(planned(api, there, "--remake", "rejected")) == ["job-1"]
    summary = made(api, there, "--remake", "rejected").summary
    assert (summary["charged"], summary["cached"]) == (1, 2)
    assert [(one["id"], one["round"]) for one in remakes(there)] == [("job-0", 1), ("job-1", 1)]
    assert planned(api, there) == {}
    assert made(api, there).summary["charged"] == 0


@pytest.mark.slow
def test_upkeep_goes_by_what_was_made_again(api: Api, tmp_path: Path) -> None:
    manifest(tmp_path)
    out = tmp_path / "jobs-out"
    made(api, tmp_path)
    say(out, "rejected", "job-0")
    made(api, tmp_path, "--remake", "rejected")
    adopted = run_command("adopt", "jobs.json", "--changed", "--json", cwd=tmp_path)
    assert (adopted.code, adopted.summary["missing"]) == (0, 0)
    assert run_command("prune", "jobs.json", "--yes", "--json", cwd=tmp_path).summary["removed"] == []
    assert planned(api, tmp_path) == {}


@pytest.mark.slow
def test_photos_without_a_manifest_are_made_again_as_well(api: Api, tmp_path: Path) -> None:
    from tests.app.stage import photos_into

    photos_into(tmp_path / "photos", "cat.webp", "cup.png")
    what = ("photos", "-p", "White background", "--model", MODEL)
    out = tmp_path / "photos-out"
    assert api.run(*what, cwd=tmp_path).code == 0
    say(out, "rejected", "cat")
    assert api.run(*what, "--remake", "rejected", "--json", cwd=tmp_path).summary["charged"] == 1
    assert [one["id"] for one in remakes(out)] == ["cat"]
    assert api.run(*what, "--json", cwd=tmp_path).summary["charged"] == 0


def test_each_manifest_keeps_its_own(api: Api, tmp_path: Path) -> None:
    names = ("one", "two")
    for name in names:
        (tmp_path / name).mkdir()
        path = manifest(tmp_path / name, 2)
        path.write_text(path.read_text().replace("job-", f"{name}-"))
    both = [f"{name}/jobs.json" for name in names]
    out = tmp_path / "out"
    assert api.run(*both, "-o", out, cwd=tmp_path).code == 0
    say(out, "rejected", "one-0", "two-1")
    done = api.run(*both, "-o", out, "--remake", "rejected", "--json", cwd=tmp_path)
    assert done.summary["charged"] == 2
    assert {name: [one["id"] for one in remakes(tmp_path / name)] for name in names} == {
        "one": ["one-0"],
        "two": ["two-1"],
    }
    assert not remakes(out)
    assert api.run(*both, "-o", out, "--json", cwd=tmp_path).summary["charged"] == 0


def test_in_an_object_store_too(api: Api, tmp_path: Path) -> None:
    manifest(tmp_path, 2)
    state = tmp_path / "state"
    where = ("-o", "s3://pictures/shop", "--state", state)
    with s3_serving() as server:
        api.env |= server.environment
        assert api.run("jobs.json", *where, cwd=tmp_path).code == 0
        first = line_of(state, "job-1")
        say(state, "rejected", "job-1")
        done = api.run("jobs.json", *where, "--remake", "rejected", "--json", cwd=tmp_path)
        assert done.summary["charged"] == 1, done.err
        assert sha256(server.objects[f"shop/{first['file']}"].data) == line_of(state, "job-1")["sha256"]
        assert sha256(server.objects[f"shop/.fluxbatch/earlier/{first['sha256']}.jpg"].data) == first["sha256"]
        assert api.run("jobs.json", *where, "--json", cwd=tmp_path).summary["charged"] == 0


def test_from_python(api: Api, tmp_path: Path) -> None:
    path = manifest(tmp_path, 2)
    made(api, tmp_path)
    say(tmp_path / "jobs-out", "rejected", "job-1")
    result = fluxbatch.run(path, base_url=api.sim.base_url, api_key=KEY, remake_rejected=True, max_rounds=1)
    assert (result.ok, result.summary.charged) == (True, 1)
    with pytest.raises(fluxbatch.UsageError, match="max_rounds is 0"):
        fluxbatch.run(path, remake_rejected=True, max_rounds=0)


def test_a_broken_line_is_named_before_anything_is_sent(api: Api, tmp_path: Path) -> None:
    manifest(tmp_path, 1)
    (tmp_path / "remakes.jsonl").write_text('{"id":"job-0","round":"one"}\n')
    for command in ("plan", "run"):
        done = run_command(command, "jobs.json", cwd=tmp_path, env=api.environment)
        assert done.code == 2
        assert "remakes.jsonl:1: 'round' is 'one'" in done.err
    assert not api.sim.calls


@pytest.mark.slow
@pytest.mark.parametrize("kills", [2, pytest.param(6, marks=[pytest.mark.slow, pytest.mark.timeout(120)])])
def test_killed_in_the_middle_nothing_is_paid_twice(tmp_path: Path, kills: int) -> None:
    count = 12
    manifest(tmp_path, count)
    out = tmp_path / "jobs-out"
    with serving(tmp_path / "simulator") as api:
        made(api, tmp_path)
        say(out, "rejected", *(f"job-{n}" for n in range(count)))
    before = {line["id"]: line for line in results(out)}
    unknown: Counter[str] = Counter()
    with serving(tmp_path / "simulator-2", latency=0.3, latency_s=None) as api:
        for number in range(kills):
            enough = api.sim.requests + 2
            args = ("--remake", "rejected") if number % 2 == 0 else ()
            with api.running("jobs.json", *args, "--concurrency", "3", cwd=tmp_path) as child:
                wait_for(lambda: child.ended or api.sim.requests >= enough)  # noqa: B023  # in this round
                child.kill()
            unknown.update(jobs_in_state(out, JobState.SUBMITTED))
            assert len(remakes(tmp_path)) == count, "on record before the first request, and once"
        assert unknown
        last = made(api, tmp_path)
        api.settle()
        lines = results(out)
        assert last.summary["lost"] == 0
        for line in lines:
            assert line["seed"] != before[line["id"]]["seed"]
            times = bought(api).get((line["prompt"], line["seed"]), 0)
            assert line["charged"] <= times <= line["charged"] + line["unknown_charges"] <= 2
            assert line["unknown_charges"] == unknown[line["id"]]
        assert sum(bought(api).values()) == len(api.sim.calls)
        assert {seed for _, seed in bought(api)} <= {line["seed"] for line in lines}
        done = len(api.sim.calls)
        assert planned(api, tmp_path) == {}
        made(api, tmp_path, "--remake", "rejected")
        assert len(api.sim.calls) == done
    for line in before.values():
        assert sha256(out / ".fluxbatch" / "earlier" / f"{line['sha256']}.jpg") == line["sha256"]


@pytest.mark.slow
def test_ten_thousand_jobs(api: Api, tmp_path: Path) -> None:
    count = 10_000
    manifest(tmp_path, count, lock=True)
    out = tmp_path / "jobs-out"
    out.mkdir()
    plan = run_command("plan", "jobs.json", "--json", cwd=tmp_path, env=api.environment)
    lock: list[dict[str, Any]] = [{"lock": 1, "about": ""}]
    verdicts: list[dict[str, Any]] = []
    for job in json.loads(plan.out)["jobs"]:
        data = job["id"].encode()
        (out / f"{job['id']}.png").write_bytes(data)
        facts = {
            "manifest": "jobs.json",
            "id": job["id"],
            "fingerprint": job["fingerprint"],
            "file": f"{job['id']}.png",
        }
        facts |= {"sha256": sha256(data), "bytes": len(data), "width": 1, "height": 1, "model": MODEL, "seed": 1}
        lock.append(facts)
        verdict = "rejected" if len(lock) % 2 else "approved"
        said = {"id": job["id"], "sha256": facts["sha256"], "verdict": verdict, "note": "", "by": "Ann"}
        verdicts.append(said | {"at": "2026-11-23T12:00:00Z"})
    for name, lines in (("fluxbatch.lock", lock), ("reviews.jsonl", verdicts)):
        (tmp_path / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert planned(api, tmp_path) == {}
    assert len(planned(api, tmp_path, "--remake", "rejected")) == count // 2
