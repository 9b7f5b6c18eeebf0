"""``adopt`` and ``prune``: files from elsewhere, images that nobody asks for, and jobs that got another id."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from fluxbatch.simulator import Faults
from fluxbatch.testing import make_png
from tests.app.stage import results, run_command, sha256, write_rows

if TYPE_CHECKING:
    from pathlib import Path

    from tests.app.stage import Api

MODEL = "flux-2-klein-4b"


def upkeep(command: str, *args: object, cwd: Path, code: int = 0) -> dict[str, Any]:
    ran = run_command(command, *args, "--json", cwd=cwd)
    assert ran.code == code, ran.err
    return ran.summary if code == 0 else {"err": ran.err}


def rows(path: Path, **prompts: str) -> Path:
    lines = [{"id": name, "prompt": prompt, "model": MODEL} for name, prompt in prompts.items()]
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def images(out: Path) -> set[str]:
    return {path.name for path in out.iterdir() if path.suffix in {".jpg", ".png", ".webp"}}


def picture(seed: int) -> bytes:
    return make_png(seed, width=64, height=64)


# ------------------------------------------------------------------------------------------------------------ adopt
def test_images_from_elsewhere_are_taken_for_the_outputs_of_their_jobs(api: Api, tmp_path: Path) -> None:
    jobs = rows(tmp_path / "jobs.jsonl", cat="A cat", dog="A dog", owl="An owl")
    out = tmp_path / "jobs-out"
    out.mkdir()
    (out / "cat.png").write_bytes(picture(1))
    (out / "dog.jpg").write_bytes(picture(2))  # what it is called says nothing about what it is
    (out / "stranger.png").write_bytes(picture(3))
    blocked = api.run(jobs, cwd=tmp_path)
    assert (blocked.code, "fluxbatch adopt" in blocked.err) == (2, True)

    dry = upkeep("adopt", jobs, "--dry-run", cwd=tmp_path)
    assert (set(dry["adopted"]), dry["missing"]) == ({"cat.png", "dog.jpg"}, 1)
    assert upkeep("adopt", jobs, "--dry-run", cwd=tmp_path) == dry, "a dry run has written something down"
    found = upkeep("adopt", jobs, cwd=tmp_path)
    assert (found["adopted"], found["missing"]) == (dry["adopted"], 1)
    ran = api.run(jobs, "--json", cwd=tmp_path)

    assert (ran.code, ran.summary["requests"], ran.summary["cached"]) == (0, 1, 2)
    assert (out / "cat.png").read_bytes() == picture(1)
    lines = {line["id"]: line for line in results(out)}
    assert (lines["cat"]["file"], lines["cat"]["sha256"]) == ("cat.png", sha256(picture(1)))
    assert (lines["cat"]["charged"], lines["cat"]["cost_usd"], lines["cat"]["width"]) == (0, 0.0, 64)
    assert upkeep("adopt", jobs, cwd=tmp_path)["adopted"] == []


@pytest.mark.parametrize(
    "data",
    [picture(1)[:-12], b"", b"<html>no image</html>", picture(1)[:40]],
    ids=["cut off", "empty", "page", "header alone"],
)
def test_what_is_no_whole_image_is_not_adopted(tmp_path: Path, data: bytes) -> None:
    jobs = rows(tmp_path / "jobs.jsonl", cat="A cat", dog="A dog")
    (tmp_path / "jobs-out").mkdir()
    (tmp_path / "jobs-out" / "cat.png").write_bytes(data)
    (tmp_path / "jobs-out" / "dog.png").write_bytes(picture(1))
    found = upkeep("adopt", jobs, cwd=tmp_path)
    assert (found["adopted"], found["missing"]) == (["dog.png"], 1)


def test_a_file_of_another_kind_is_not_adopted(tmp_path: Path) -> None:
    jobs = rows(tmp_path / "jobs.jsonl", cat="A cat")
    out = tmp_path / "jobs-out"
    out.mkdir()
    for name in ("cat.gif", "cat.txt", "cat", "cat.png.bak", "CAT2.png"):
        (out / name).write_bytes(picture(1))
    assert upkeep("adopt", jobs, cwd=tmp_path)["adopted"] == []


def test_edited_outputs_and_those_of_changed_jobs_are_adopted_if_one_says_so(api: Api, tmp_path: Path) -> None:
    jobs = rows(tmp_path / "jobs.jsonl", edited="A cat", changed="A dog", both="An owl", plain="A fox")
    out = tmp_path / "jobs-out"
    assert api.run(jobs, cwd=tmp_path).code == 0
    before = {line["id"]: line for line in results(out)}
    (out / "edited.jpg").write_bytes(picture(1))
    (out / "both.jpg").write_bytes(picture(2))
    rows(jobs, edited="A cat", changed="A dog!", both="An owl!", plain="A fox")

    assert upkeep("adopt", jobs, cwd=tmp_path)["adopted"] == []
    found = upkeep("adopt", jobs, "--changed", cwd=tmp_path)
    assert (set(found["adopted"]), found["missing"]) == ({"edited.jpg", "changed.jpg", "both.jpg"}, 0)
    ran = api.run(jobs, "--json", cwd=tmp_path)
    assert (ran.code, ran.summary["requests"]) == (0, 0)
    assert "edited and kept" not in ran.err + ran.out
    lines = {line["id"]: line for line in results(out)}
    assert lines["edited"]["sha256"] == sha256(picture(1))
    assert lines["changed"]["sha256"] == before["changed"]["sha256"]
    assert lines["changed"]["prompt"] == "A dog!"


def test_adopting_some_leaves_the_others_alone(api: Api, tmp_path: Path) -> None:
    jobs = rows(tmp_path / "jobs.jsonl", cat="A cat", dog="A dog")
    out = tmp_path / "jobs-out"
    assert api.run(jobs, cwd=tmp_path).code == 0
    for name in ("cat", "dog"):
        (out / f"{name}.jpg").write_bytes(picture(1))

    assert upkeep("adopt", jobs, "--changed", "--only", "cat", cwd=tmp_path)["adopted"] == ["cat.jpg"]
    ran = api.run(jobs, "--retry", "altered", "--json", cwd=tmp_path)
    assert ran.summary["requests"] == 1
    assert (out / "cat.jpg").read_bytes() == picture(1)
    assert (out / "dog.jpg").read_bytes() != picture(1)


def test_a_ledger_that_is_lost_is_made_up_for(api: Api, tmp_path: Path) -> None:
    jobs = write_rows(tmp_path / "jobs.jsonl", 4)
    out = tmp_path / "jobs-out"
    assert api.run(jobs, cwd=tmp_path).code == 0
    shutil.rmtree(out / ".fluxbatch")
    assert len(upkeep("adopt", jobs, cwd=tmp_path)["adopted"]) == 4
    ran = api.run(jobs, "--json", cwd=tmp_path)
    assert (ran.code, ran.summary["requests"], ran.summary["cached"]) == (0, 0, 4)


def test_there_is_nothing_to_look_after_where_there_is_no_folder(tmp_path: Path) -> None:
    jobs = rows(tmp_path / "jobs.jsonl", cat="A cat")
    for command in ("adopt", "prune"):
        assert "there is no output folder" in upkeep(command, jobs, cwd=tmp_path, code=2)["err"]
    assert not (tmp_path / "jobs-out").exists()


# ------------------------------------------------------------------------------------------------------------ prune
def test_only_what_nobody_asks_for_is_removed(api: Api, tmp_path: Path) -> None:
    jobs = rows(tmp_path / "jobs.jsonl", cat="A cat", dog="A dog", owl="An owl")
    other = rows(tmp_path / "other.jsonl", fox="A fox")
    out = tmp_path / "jobs-out"
    for manifest in (jobs, other):
        assert api.run(manifest, "-o", out, cwd=tmp_path).code == 0
    (out / "dog.jpg").write_bytes(picture(1))
    (out / "mine.png").write_bytes(picture(2))
    rows(jobs, cat="A cat")

    planned = run_command("plan", jobs, "-o", out, "--json", cwd=tmp_path).summary
    assert (planned["orphans"], set(planned["orphan_files"])) == (2, {"dog.jpg", "owl.jpg"})
    nobody = upkeep("prune", jobs, "-o", out, cwd=tmp_path, code=2)
    assert "say --yes" in nobody["err"]
    dry = upkeep("prune", jobs, "-o", out, "--dry-run", cwd=tmp_path)
    assert images(out) == {"cat.jpg", "dog.jpg", "owl.jpg", "fox.jpg", "mine.png"}
    found = upkeep("prune", jobs, "-o", out, "--yes", cwd=tmp_path)

    assert (found["removed"], found["kept"]) == (["owl.jpg"], ["dog.jpg"])
    assert (dry["removed"], dry["kept"]) == (found["removed"], found["kept"])
    assert images(out) == {"cat.jpg", "dog.jpg", "fox.jpg", "mine.png"}
    for manifest in (jobs, other):
        assert api.run(manifest, "-o", out, "--json", cwd=tmp_path).summary["requests"] == 0


def test_an_image_that_was_pruned_is_made_when_its_job_comes_back(api: Api, tmp_path: Path) -> None:
    jobs = rows(tmp_path / "jobs.jsonl", cat="A cat", dog="A dog")
    out = tmp_path / "jobs-out"
    assert api.run(jobs, cwd=tmp_path).code == 0
    rows(jobs, cat="A cat")
    assert upkeep("prune", jobs, "--yes", cwd=tmp_path)["removed"] == ["dog.jpg"]
    rows(jobs, cat="A cat", dog="A dog")
    ran = api.run(jobs, "--json", cwd=tmp_path)
    assert (ran.code, ran.summary["requests"]) == (0, 1)
    lines = {line["id"]: line for line in results(out)}
    assert (lines["dog"]["charged"], lines["dog"]["cost_usd"]) == (2, 0.02)


@pytest.mark.slow
def test_what_was_maybe_billed_twice_stays_held_though_it_was_pruned(api: Api, tmp_path: Path) -> None:
    jobs = rows(tmp_path / "jobs.jsonl", cat="A cat", dog="A dog")
    out = tmp_path / "jobs-out"
    assert api.run(jobs, cwd=tmp_path).code == 0
    rows(jobs, cat="A cat", dog="A dog in the rain")
    api.sim.faults = Faults(rates={"reset": 1.0})
    assert api.run(jobs, cwd=tmp_path).code == 1
    assert len(api.sim.calls) == 4
    api.sim.faults = Faults()
    rows(jobs, cat="A cat")
    assert upkeep("prune", jobs, "--yes", cwd=tmp_path)["removed"] == ["dog.jpg"]
    assert images(out) == {"cat.jpg"}

    rows(jobs, cat="A cat", dog="A dog in the rain")
    back = api.run(jobs, "--json", cwd=tmp_path)
    assert (back.code, back.summary["requests"]) == (1, 0)
    line = {line["id"]: line for line in results(out)}["dog"]
    assert (line["status"], line["unknown_charges"]) == ("failed", 2)
    released = api.run(jobs, "--retry", "unknown_outcome", "--json", cwd=tmp_path)
    assert (released.code, released.summary["requests"]) == (0, 1)


# --------------------------------------------------------------------------------------------------------- other ids
def test_a_job_with_another_id_gets_a_copy_and_the_seed_of_the_original(api: Api, tmp_path: Path) -> None:
    jobs = rows(tmp_path / "jobs.jsonl", cat="A cat", dog="A dog")
    out = tmp_path / "jobs-out"
    assert api.run(jobs, cwd=tmp_path).code == 0
    original = {line["id"]: line for line in results(out)}["cat"]
    rows(jobs, tiger="A cat", dog="A dog")

    planned = run_command("plan", jobs, "--check", "--json", cwd=tmp_path)
    assert (planned.code, planned.summary["make"], planned.summary["copied"]) == (1, 0, 1)
    [entry] = [job for job in planned.summary["jobs"] if job["action"] == "copy"]
    assert (entry["id"], entry["why"]) == ("tiger", "was cat, its image is copied")
    ran = run_command("run", jobs, "--json", cwd=tmp_path, env={"FLUXBATCH_BASE_URL": api.sim.base_url})
    assert (ran.code, ran.summary["requests"], ran.summary["cached"]) == (0, 0, 2), ran.err

    line = {line["id"]: line for line in results(out)}["tiger"]
    assert (line["file"], line["seed"], line["sha256"]) == ("tiger.jpg", original["seed"], original["sha256"])
    assert (line["charged"], line["cost_usd"]) == (0, 0.0)
    assert images(out) == {"cat.jpg", "dog.jpg", "tiger.jpg"}
    assert run_command("plan", jobs, "--check", cwd=tmp_path).code == 0
    # then what it was called is of no use to anybody
    assert upkeep("prune", jobs, "--yes", cwd=tmp_path)["removed"] == ["cat.jpg"]
    assert images(out) == {"dog.jpg", "tiger.jpg"}
    assert run_command("plan", jobs, "--check", cwd=tmp_path).code == 0


def test_an_edited_image_is_not_copied_and_that_is_said(api: Api, tmp_path: Path) -> None:
    jobs = rows(tmp_path / "jobs.jsonl", cat="A cat", dog="A dog")
    assert api.run(jobs, cwd=tmp_path).code == 0
    (tmp_path / "jobs-out" / "cat.jpg").write_bytes(b"retouched")
    rows(jobs, tiger="A cat", dog="A dog")

    planned = run_command("plan", jobs, "--json", cwd=tmp_path)

    [entry] = [job for job in planned.summary["jobs"] if job["action"] == "make"]
    assert (entry["id"], entry["why"]) == ("tiger", "new; cat.jpg was edited, and is not copied")
    assert planned.summary["why"] == {"new": 1}


def test_ids_that_are_swapped_are_two_changed_jobs(api: Api, tmp_path: Path) -> None:
    jobs = rows(tmp_path / "jobs.jsonl", a="A cat", b="A dog")
    assert api.run(jobs, cwd=tmp_path).code == 0
    rows(jobs, b="A cat", a="A dog")
    ran = api.run(jobs, "--json", cwd=tmp_path)
    assert (ran.code, ran.summary["requests"]) == (0, 2)
    rows(jobs, a="A cat")
    assert upkeep("prune", jobs, "--yes", cwd=tmp_path)["removed"] == ["b.jpg"]


def test_a_copy_does_not_land_on_somebody_elses_file(api: Api, tmp_path: Path) -> None:
    jobs = rows(tmp_path / "jobs.jsonl", cat="A cat")
    out = tmp_path / "jobs-out"
    assert api.run(jobs, cwd=tmp_path).code == 0
    rows(jobs, tiger="A cat")
    (out / "tiger.png").write_bytes(picture(1))
    ran = api.run(jobs, cwd=tmp_path)
    assert (ran.code, "tiger.png is in the output folder already" in ran.err) == (2, True)
    assert (out / "tiger.png").read_bytes() == picture(1)


def test_one_image_does_not_become_two_variants(api: Api, tmp_path: Path) -> None:
    """Also if the run that copied it made nothing else."""
    jobs = tmp_path / "jobs.jsonl"
    out = tmp_path / "jobs-out"
    row = {"id": "cat", "prompt": "A cat", "model": MODEL}
    jobs.write_text(json.dumps(row))
    assert api.run(jobs, cwd=tmp_path).code == 0
    jobs.write_text(json.dumps({**row, "variants": 2}))

    first = api.run(jobs, "--limit", "0", "--json", cwd=tmp_path)
    assert (first.summary["requests"], images(out)) == (0, {"cat.jpg", "cat-1.jpg"})
    rest = api.run(jobs, "--json", cwd=tmp_path)

    assert (rest.code, rest.summary["requests"]) == (0, 1)
    lines = {line["id"]: line for line in results(out)}
    assert lines["cat-1"]["seed"] != lines["cat-2"]["seed"]
    assert lines["cat-1"]["sha256"] == sha256(out / "cat.jpg") != lines["cat-2"]["sha256"]


def test_what_another_manifest_asks_for_is_not_inherited(api: Api, tmp_path: Path) -> None:
    one = rows(tmp_path / "one.jsonl", cat="A cat")
    two = rows(tmp_path / "two.jsonl", tiger="A cat")
    for manifest in (one, two):
        ran = api.run(manifest, "-o", "out", "--json", cwd=tmp_path)
        assert (ran.code, ran.summary["requests"]) == (0, 1)


def test_a_job_that_is_left_out_is_not_copied_and_not_forgotten(api: Api, tmp_path: Path) -> None:
    jobs = rows(tmp_path / "jobs.jsonl", cat="A cat", dog="A dog")
    out = tmp_path / "jobs-out"
    assert api.run(jobs, cwd=tmp_path).code == 0
    rows(jobs, tiger="A cat", dog="A dog")
    planned = run_command("plan", jobs, "--only", "dog", "--json", cwd=tmp_path).summary
    assert {job["id"]: job["action"] for job in planned["jobs"]} == {"tiger": "skip", "dog": "keep"}
    assert api.run(jobs, "--only", "dog", cwd=tmp_path).code == 0
    assert images(out) == {"cat.jpg", "dog.jpg"}
    ran = api.run(jobs, "--json", cwd=tmp_path)
    assert (ran.code, ran.summary["requests"], images(out)) == (0, 0, {"cat.jpg", "dog.jpg", "tiger.jpg"})
