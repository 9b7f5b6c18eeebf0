"""``fluxbatch plan`` beside ``run``: what one edit makes again and why, chains, samples, digests, canaries, and how a
plan is shown."""

from __future__ import annotations

import csv
import json
import shutil
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from fluxbatch.simulator import Faults
from fluxbatch.testing import make_png
from tests.app.stage import names_of, opened, results, run_command, serving, sha256, wait_for, write_rows

if TYPE_CHECKING:
    from pathlib import Path

    from tests.app.stage import Api

MODEL = {"model": "flux-2-klein-4b"}
SCENES = ("beach", "studio", "street")
SKUS = ("mug", "hat", "lamp")


def plan(api: Api, *args: object, cwd: Path) -> dict[str, Any]:
    ran = run_command("plan", *args, "--json", cwd=cwd, env=api.environment)
    assert ran.code == 0, ran.err
    return ran.summary


def to_make(planned: dict[str, Any]) -> dict[str, str]:
    """What is to be made, and why."""
    return {job["id"]: job["why"] for job in planned["jobs"] if job["action"] == "make"}


def made(api: Api, out: Path, since: int = 0) -> Counter[str]:
    """The jobs that were billed, one by one: each has a prompt of its own."""
    ids = {sha256(line["prompt"].encode()): line["id"] for line in results(out)}
    return Counter(ids[call.prompt_sha256] for call in api.sim.calls[since:])


def picture(seed: int) -> bytes:
    return make_png(seed, width=64, height=64)


def write_catalogue(folder: Path, *, name: str = "red mug") -> None:
    for number, photo in enumerate([*SKUS, *(f"scenes/{scene}" for scene in SCENES)]):
        path = folder / f"{photo}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(number))
    with (folder / "products.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("sku", "name"), ("mug", name), ("hat", "hat"), ("lamp", "lamp")])
    catalogue = {
        "rows": "products.csv",
        "matrix": {"scene": list(SCENES)},
        "id": "{{ sku }}-{{ scene }}",
        "prompt": "The {{ name }} of image 1 in the {{ scene }} of image 2",
        "images": ["{{ sku }}.png", "scenes/{{ scene }}.png"],
    }
    document = {"version": 1, "defaults": MODEL, "catalog": catalogue}
    (folder / "shop.json").write_text(json.dumps(document))


def write_chain(folder: Path, *prompts: str) -> None:
    jobs = [
        {"id": f"s{number}", "prompt": prompt, "images": [{"job": f"s{number - 1}"}] if number > 1 else []}
        for number, prompt in enumerate(prompts, 1)
    ]
    (folder / "jobs.json").write_text(json.dumps({"version": 1, "defaults": MODEL, "jobs": jobs}))


# ------------------------------------------------------------------------------------------------ one edit, and why
def change_row(folder: Path) -> None:
    write_catalogue(folder, name="blue mug")


def change_product_photo(folder: Path) -> None:
    (folder / "hat.png").write_bytes(picture(77))


def change_scene_photo(folder: Path) -> None:
    (folder / "scenes" / "beach.png").write_bytes(picture(78))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param(change_row, {f"mug-{scene}": "prompt changed" for scene in SCENES}, id="row"),
        pytest.param(change_product_photo, {f"hat-{s}": "photo hat.png changed" for s in SCENES}, id="photo"),
        pytest.param(
            change_scene_photo, {f"{sku}-beach": "photo scenes/beach.png changed" for sku in SKUS}, id="scene"
        ),
    ],
)
def test_one_edit_of_a_catalogue_makes_just_what_it_is_about(
    api: Api, tmp_path: Path, change: Any, expected: dict[str, str]
) -> None:
    write_catalogue(tmp_path)
    first = plan(api, "shop.json", cwd=tmp_path)
    assert to_make(first) == {f"{sku}-{scene}": "new" for sku in SKUS for scene in SCENES}
    assert api.run("shop.json", "--expect-digest", first["digest"], cwd=tmp_path).code == 0

    change(tmp_path)
    planned = plan(api, "shop.json", cwd=tmp_path)
    assert to_make(planned) == expected
    assert (planned["make"], planned["cached"], planned["usd"]) == (3, 6, pytest.approx(0.03))
    ran = api.run("shop.json", "--expect-digest", planned["digest"], "--json", cwd=tmp_path)

    assert (ran.code, ran.summary["requests"]) == (0, 3)
    assert made(api, tmp_path / "shop-out", since=9) == Counter(list(expected))
    assert not plan(api, "shop.json", cwd=tmp_path)["has_work"]


def test_a_scene_that_is_added_makes_its_images_alone(api: Api, tmp_path: Path) -> None:
    write_catalogue(tmp_path)
    assert api.run("shop.json", cwd=tmp_path).code == 0
    document = json.loads((tmp_path / "shop.json").read_text())
    document["catalog"]["matrix"]["scene"].insert(0, "forest")
    (tmp_path / "shop.json").write_text(json.dumps(document))
    (tmp_path / "scenes" / "forest.png").write_bytes(picture(9))

    assert to_make(plan(api, "shop.json", cwd=tmp_path)) == {f"{sku}-forest": "new" for sku in SKUS}
    assert api.run("shop.json", "--json", cwd=tmp_path).summary["requests"] == 3


def test_the_fields_that_changed_are_named(api: Api, tmp_path: Path) -> None:
    jobs = tmp_path / "jobs.jsonl"
    (tmp_path / "a.png").write_bytes(make_png(1, width=128, height=128))
    (tmp_path / "b.png").write_bytes(picture(2))
    row = {"id": "one", "prompt": "x", "images": ["a.png"], **MODEL}
    jobs.write_text(json.dumps(row))
    assert api.run(jobs, cwd=tmp_path).code == 0
    for change, why in (
        ({"seed": 7}, "seed changed"),
        ({"output_format": "png", "prompt": "y"}, "prompt changed, output_format changed"),
        ({"images": ["b.png"]}, "image 1 is b.png instead of a.png"),
        ({"images": ["a.png", "b.png"]}, "image 2 added (b.png)"),
        ({"images": []}, "image 1 removed (a.png)"),
        ({"fit": {"long_edge": 64}}, "fit of a.png changed"),
    ):
        jobs.write_text(json.dumps({**row, **change}))
        assert to_make(plan(api, jobs, cwd=tmp_path)) == {"one": why}


# ---------------------------------------------------------------------------------------------------------- chains
@pytest.mark.slow
def test_a_step_of_a_chain_that_changes_takes_the_later_ones_along(api: Api, tmp_path: Path) -> None:
    out = tmp_path / "jobs-out"
    write_chain(tmp_path, "One", "Two", "Three", "Four")
    planned = plan(api, "jobs.json", cwd=tmp_path)
    assert list(to_make(planned)) == ["s1", "s2", "s3", "s4"]
    assert api.run("jobs.json", cwd=tmp_path).code == 0
    before = {line["id"]: line["sha256"] for line in results(out)}

    write_chain(tmp_path, "One", "Two, in oil", "Three", "Four")
    planned = plan(api, "jobs.json", cwd=tmp_path)
    changed = {"s2": "prompt changed", "s3": "made from s2, which changed", "s4": "made from s3, which changed"}
    assert to_make(planned) == changed
    ran = api.run("jobs.json", "--expect-digest", planned["digest"], "--json", cwd=tmp_path)
    assert (ran.code, ran.summary["requests"]) == (0, 3)
    assert made(api, out, since=4) == Counter(list(changed))
    # each was made from the image that is there now
    shas = {line["id"]: line["sha256"] for line in results(out)}
    inputs = [call.inputs[0]["sha256"] for call in api.sim.calls[4:]]
    assert inputs == [before["s1"], shas["s2"], shas["s3"]]


def test_the_first_output_of_a_chain_that_is_lost_is_made_again_alone(api: Api, tmp_path: Path) -> None:
    out = tmp_path / "jobs-out"
    write_chain(tmp_path, "One", "Two", "Three", "Four")
    assert api.run("jobs.json", cwd=tmp_path).code == 0
    (out / "s1.jpg").unlink()

    assert to_make(plan(api, "jobs.json", cwd=tmp_path)) == {"s1": "output missing"}
    ran = api.run("jobs.json", "--json", cwd=tmp_path)
    assert (ran.code, ran.summary["requests"]) == (0, 1)
    assert made(api, out, since=4) == Counter(["s1"])


def test_a_chain_whose_first_step_is_refused_waits_for_a_better_prompt(api: Api, tmp_path: Path) -> None:
    out = tmp_path / "jobs-out"
    write_chain(tmp_path, "One", "Two", "Three", "Four")
    api.sim.faults = Faults(schedule={"moderation": frozenset({1})})
    ran = api.run("jobs.json", "--json", cwd=tmp_path)
    assert (ran.code, ran.summary["requests"], ran.summary["failed"]) == (1, 1, 4)
    codes = {line["id"]: line["error"]["code"] for line in results(out)}
    assert codes == {"s1": "moderated", **dict.fromkeys(["s2", "s3", "s4"], "dependency_failed")}

    planned = plan(api, "jobs.json", cwd=tmp_path)
    assert (planned["has_work"], planned["refused"], planned["failed"]) == (False, 3, {"moderated": 1})
    again = api.run("jobs.json", "--json", cwd=tmp_path)
    assert (again.code, again.summary["requests"]) == (1, 0)

    write_chain(tmp_path, "One, decently", "Two", "Three", "Four")
    planned = plan(api, "jobs.json", cwd=tmp_path)
    assert list(to_make(planned)) == ["s1", "s2", "s3", "s4"]
    mended = api.run("jobs.json", "--expect-digest", planned["digest"], "--json", cwd=tmp_path)
    assert (mended.code, mended.summary["requests"], mended.summary["stored"]) == (0, 4, 4)


def test_only_takes_what_it_needs_along(api: Api, tmp_path: Path) -> None:
    out = tmp_path / "jobs-out"
    write_chain(tmp_path, "One", "Two", "Three", "Four")
    planned = plan(api, "jobs.json", "--only", "s2", cwd=tmp_path)
    actions = {job["id"]: job["action"] for job in planned["jobs"]}
    assert actions == {"s1": "make", "s2": "make", "s3": "skip", "s4": "skip"}
    assert (planned["make"], planned["left_out"], planned["total"]) == (2, 2, 4)
    ran = api.run("jobs.json", "--only", "s2", "--expect-digest", planned["digest"], "--json", cwd=tmp_path)
    assert (ran.code, ran.summary["requests"], ran.summary["total"]) == (0, 2, 2)
    assert made(api, out) == Counter(["s1", "s2"])
    assert api.run("jobs.json", "--json", cwd=tmp_path).summary["requests"] == 2
    assert made(api, out) == Counter(["s1", "s2", "s3", "s4"])


def test_a_limit_on_chains_never_sends_what_needs_one_that_is_left_out(api: Api, tmp_path: Path) -> None:
    out = tmp_path / "jobs-out"
    steps = [{"id": name, "chain": [f"{name} one", f"{name} two", f"{name} three"]} for name in ("a", "b")]
    (tmp_path / "jobs.json").write_text(json.dumps({"version": 1, "defaults": MODEL, "jobs": steps}))
    seen: Counter[str] = Counter()
    for expected in (2, 2, 2, 0):
        planned = plan(api, "jobs.json", "--limit", "2", cwd=tmp_path)
        ran = api.run("jobs.json", "--limit", "2", "--expect-digest", planned["digest"], "--json", cwd=tmp_path)
        assert (ran.code, ran.summary["requests"]) == (0, expected)
        assert made(api, out) - seen == Counter(list(to_make(planned)))
        seen = made(api, out)
    assert seen == Counter(f"{name}{step}" for name in ("a", "b") for step in ("-step1", "-step2", ""))


# ----------------------------------------------------------------------------------------- samples, digests, canaries
def test_a_sample_is_the_same_for_its_seed_and_the_rest_comes_later(api: Api, tmp_path: Path) -> None:
    jobs = write_rows(tmp_path / "jobs.jsonl", 20)

    def sample(*args: str) -> set[str]:
        return to_make(plan(api, jobs, "--sample", "4", *args, cwd=tmp_path)).keys() & {
            f"job-{n:03}" for n in range(20)
        }

    chosen = sample()
    assert len(chosen) == 4
    assert sample() == chosen
    assert sample("--sample-seed", "1") != chosen
    ran = api.run(jobs, "--sample", "4", "--json", cwd=tmp_path)
    assert (ran.code, ran.summary["requests"], ran.summary["stored"]) == (0, 4, 4)
    assert made(api, tmp_path / "jobs-out") == Counter(chosen)
    assert not plan(api, jobs, "--sample", "4", cwd=tmp_path)["has_work"]
    assert api.run(jobs, "--json", cwd=tmp_path).summary["requests"] == 16
    assert max(made(api, tmp_path / "jobs-out").values()) == 1


def test_a_plan_that_is_not_the_one_that_was_reviewed_is_not_run(api: Api, tmp_path: Path) -> None:
    jobs = write_rows(tmp_path / "jobs.jsonl", 3)
    digest = plan(api, jobs, cwd=tmp_path)["digest"]
    assert plan(api, jobs, "--price", "flux-2-klein-4b=0.5", cwd=tmp_path)["digest"] != digest
    write_rows(jobs, 3, seed=1)

    now = plan(api, jobs, cwd=tmp_path)["digest"]
    for attempt in ("before there is a folder", "and then"):
        ran = api.run(jobs, "--expect-digest", digest, cwd=tmp_path)
        assert ran.code == 2, attempt
        assert f"its digest is {now}, not {digest}" in ran.err
    assert api.sim.requests == 0
    assert api.run(jobs, "--expect-digest", now, "--json", cwd=tmp_path).summary["requests"] == 3


@pytest.mark.parametrize(("refused", "code", "requests"), [(2, 3, 3), (1, 1, 12)])
def test_canaries_that_fail_keep_the_others_back(
    api: Api, tmp_path: Path, refused: int, code: int, requests: int
) -> None:
    jobs = write_rows(tmp_path / "jobs.jsonl", 12)
    api.sim.faults = Faults(schedule={"moderation": frozenset(range(1, refused + 1))})

    ran = api.run(jobs, "--canary", "3", "--canary-share", "0.4", "--json", cwd=tmp_path)

    assert (ran.code, ran.summary["requests"]) == (code, requests)
    assert ran.summary["stop_reason"] == ("canary" if code == 3 else "")
    if code == 3:
        assert ran.summary["pending"] == 9
        api.sim.faults = Faults()
        rest = api.run(jobs, "--retry", "moderated", "--json", cwd=tmp_path)
        assert (rest.code, rest.summary["requests"], rest.summary["stored"]) == (0, 11, 12)


def test_an_openai_batch_file_runs_and_runs_again_for_nothing(api: Api, tmp_path: Path) -> None:
    (tmp_path / "cat.png").write_bytes(picture(3))
    rows = [
        {
            "custom_id": f"request-{number}",
            "method": "POST",
            "url": "/v1/images/generations",
            "body": {**MODEL, "prompt": f"Number {number}", "n": 1, "input_image": "cat.png"},
        }
        for number in range(3)
    ]
    jobs = tmp_path / "batch.jsonl"
    jobs.write_text("".join(json.dumps(row) + "\n" for row in rows))

    ran = api.run(jobs, "--json", cwd=tmp_path)

    assert (ran.code, ran.summary["requests"]) == (0, 3)
    assert [line["id"] for line in results(tmp_path / "batch-out")] == ["request-0", "request-1", "request-2"]
    assert {call.inputs[0]["sha256"] for call in api.sim.calls} == {sha256(tmp_path / "cat.png")}
    assert not plan(api, jobs, cwd=tmp_path)["has_work"]
    assert api.run(jobs, "--json", cwd=tmp_path).summary["requests"] == 0


# ------------------------------------------------------------------------------------------------- how it is shown
def test_check_tells_by_its_exit_code_whether_there_is_work(api: Api, tmp_path: Path) -> None:
    jobs = write_rows(tmp_path / "jobs.jsonl", 2)

    def check(*args: str) -> int:
        return run_command("plan", jobs, "--check", *args, cwd=tmp_path).code

    assert check() == 1
    assert not (tmp_path / "jobs-out").exists()
    assert api.run(jobs, cwd=tmp_path).code == 0
    assert (check(), check("-q"), check("--json"), check("--markdown")) == (0, 0, 0, 0)
    (tmp_path / "jobs-out" / "job-001.jpg").unlink()
    assert (check(), check("-q"), check("--json"), check("--markdown"), check("--only", "job-000")) == (1, 1, 1, 1, 0)
    jobs.write_text('{"id": "a", "prompt": "x", "seeed": 1}')
    assert check() == 2
    jobs.unlink()
    assert check() == 2


def test_what_failed_and_stays_so_is_no_work(api: Api, tmp_path: Path) -> None:
    jobs = write_rows(tmp_path / "jobs.jsonl", 2)
    api.sim.faults = Faults(rates={"moderation": 1.0})
    assert api.run(jobs, cwd=tmp_path).code == 1
    check = ("plan", jobs, "--check", "--json")
    ran = run_command(*check, cwd=tmp_path)
    assert (ran.code, ran.summary["failed"]) == (0, {"moderated": 2})
    retried = run_command(*check, "--retry", "moderated", cwd=tmp_path)
    assert (retried.code, retried.summary["make"]) == (1, 2)


HOSTILE = (
    "`rm` | <img src=x onerror=alert(1)> **bold** [a](https://evil.example) @octocat #1 \x1b[31m\nsecond\u202eline"
)


def test_what_people_wrote_can_not_pass_for_more_than_text(api: Api, tmp_path: Path) -> None:
    (tmp_path / "p|h`o<b>t@o.png").write_bytes(picture(1))
    row = {"id": "a|b`c@octocat#1", "prompt": HOSTILE, "images": ["p|h`o<b>t@o.png"], "meta": {"x": HOSTILE}, **MODEL}
    jobs = tmp_path / "jobs.jsonl"
    jobs.write_text(json.dumps(row))
    assert api.run(jobs, cwd=tmp_path).code == 0
    jobs.write_text(json.dumps({**row, "images": [], "extra": {"@octocat|<b>": 1}}))

    shown = run_command("plan", jobs, "--markdown", cwd=tmp_path).out

    [line] = [line for line in shown.splitlines() if "octocat" in line and line.startswith("|")]
    assert "image 1 removed" in line
    for text in (line, shown.partition("<summary>")[2].partition("</summary>")[0]):
        assert "<b>" not in text
        assert "`" not in text.replace("\\`", "")
        # a mention is found in what was rendered: a backslash before it doesn't help
        assert "@octocat" not in text.replace("\\", "")
        assert "#1" not in text.replace("\\", "")
    cells = line.replace("\\|", "").strip("|").split("|")
    assert len(cells) == 4
    plain = run_command("plan", jobs, cwd=tmp_path).out
    assert "\x1b" not in plain + shown


def test_json_is_one_object_whatever_the_jobs_are_called(api: Api, tmp_path: Path) -> None:
    names = ["a b", "Größe-☕", 'quo"te', "brace}]", "日本"]
    rows = [{"id": name, "prompt": f"{HOSTILE} {name}", **MODEL} for name in names]
    jobs = tmp_path / "jobs.jsonl"
    jobs.write_text("\n".join(map(json.dumps, rows)))
    ran = run_command("plan", jobs, "--json", cwd=tmp_path)
    assert ran.code == 0, ran.err
    planned = ran.summary
    assert [job["id"] for job in planned["jobs"]] == names
    assert set(planned["jobs"][0]) == {"id", "action", "why", "manifest", "model", "usd", "file", "fingerprint"}
    assert planned["usd"] == pytest.approx(sum(job["usd"] for job in planned["jobs"]))


# -------------------------------------------------------------------------------------------- it looks, and no more
BESIDE = {".sqlite-shm", ".sqlite-wal"}
"""what SQLite puts beside a database that it reads is its own, and holds nothing"""


def everything(folder: Path) -> dict[str, tuple[int, int]]:
    found = [path for path in folder.rglob("*") if not path.is_dir() and path.suffix not in BESIDE]
    return {str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.stat().st_size) for path in found}


def test_a_plan_makes_nothing_and_needs_no_key(tmp_path: Path) -> None:
    jobs = write_rows(tmp_path / "jobs.jsonl", 2)
    (tmp_path / "here").mkdir()
    ran = run_command("plan", jobs, "-o", "not/yet", cwd=tmp_path / "here")
    assert ran.code == 0, ran.err
    assert "2 images to make" in ran.out
    assert list((tmp_path / "here").iterdir()) == []


def test_a_plan_leaves_a_folder_as_it_is(api: Api, tmp_path: Path) -> None:
    jobs = write_rows(tmp_path / "jobs.jsonl", 2)
    assert api.run(jobs, cwd=tmp_path).code == 0
    before = everything(tmp_path)
    assert run_command("plan", jobs, "--retry", "altered", cwd=tmp_path).code == 0
    assert everything(tmp_path) == before
    assert run_command("plan", jobs, "--simulate", "-o", "jobs-out", cwd=tmp_path).code == 2


def test_a_plan_does_not_wait_for_a_run(tmp_path: Path) -> None:
    jobs = write_rows(tmp_path / "jobs.jsonl", 6)
    out = tmp_path / "jobs-out"
    with serving(tmp_path / "api", latency_s=20) as api, api.running(jobs, "--concurrency", "2", cwd=tmp_path) as child:
        wait_for(lambda: len(names_of(out, "job.submitted")) == 2)
        planned = plan(api, jobs, cwd=tmp_path)
        assert not child.ended, child.said
        assert (planned["make"], planned["owed"]) == (4, 2)
        assert {job["action"] for job in planned["jobs"]} == {"fetch", "make"}
        child.kill()


def test_a_plan_of_what_can_only_be_read(api: Api, tmp_path: Path, readonly: tuple[str, ...]) -> None:
    write_rows(tmp_path / "jobs.jsonl", 3)
    without = run_command("plan", "jobs.jsonl", "--json", cwd=tmp_path, via=readonly)
    assert (without.code, without.summary["make"]) == (0, 3)
    assert api.run("jobs.jsonl", "--limit", "2", cwd=tmp_path).code == 0

    ran = run_command("plan", "jobs.jsonl", "--json", cwd=tmp_path, via=readonly)

    assert ran.code == 0, ran.err
    assert (ran.summary["cached"], ran.summary["make"]) == (2, 1)


def test_photos_that_are_unchanged_are_not_opened_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_catalogue(tmp_path)
    photos = sorted(str(path) for path in tmp_path.rglob("*.png"))
    first = opened("plan", "shop.json", "-q", cwd=tmp_path)
    assert (first.code, sorted(set(first.err.splitlines()))) == (0, photos)

    again = opened("plan", "shop.json", "-q", cwd=tmp_path)
    assert (again.code, again.err) == (0, "")
    change_scene_photo(tmp_path)
    changed = opened("plan", "shop.json", "-q", cwd=tmp_path)
    assert set(changed.err.splitlines()) == {str(tmp_path / "scenes" / "beach.png")}
    # the memory is one of all folders, and may be lost
    shutil.rmtree(tmp_path / "cache")
    lost = opened("plan", "shop.json", "-q", cwd=tmp_path)
    assert (lost.code, sorted(set(lost.err.splitlines()))) == (0, photos)
