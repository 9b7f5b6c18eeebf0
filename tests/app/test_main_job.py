"""The main job, end to end: real photos, real sockets, the command line in a process of its own."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

from fluxbatch.simulator import Faults
from tests.app.stage import PHOTOS, jobs_into, leftovers, photos_into, results, run_command, serving, sha256, write_rows

if TYPE_CHECKING:
    from pathlib import Path

    from tests.app.stage import Api

DEMO = {
    "petting-the-cat": ["person.jpg", "cat.webp", "cup.png"],
    "cat-among-stars": ["cat.webp", "stars.jpg"],
    "brick-suit": ["person.jpg", "bricks.jpg"],
    "picnic-at-the-launch": ["person.jpg", "launch.jpg", "grass.jpg", "cat.webp"],
    "cup-on-grass": ["cup.png", "grass.jpg"],
    "cup-on-bricks": ["cup.png", "bricks.jpg"],
    "launch-sketch": ["launch.jpg"],
    "lighthouse": [],
}


def demo(folder: Path) -> Path:
    return jobs_into(folder) / "demo-out"


def test_the_exact_bytes_of_each_photo_arrive_in_order_and_what_was_served_lands(api: Api, tmp_path: Path) -> None:
    out = demo(tmp_path / "jobs")

    ran = api.run("demo.yaml", "--json", cwd=tmp_path / "jobs")

    assert ran.code == 0, ran.err
    calls = {call.request_id: call for call in api.sim.calls}
    lines = results(out)
    assert [line["id"] for line in lines] == list(DEMO)
    for line in lines:
        call = calls[line["request_id"]]
        assert [image["sha256"] for image in call.inputs] == [sha256(PHOTOS / name) for name in DEMO[line["id"]]]
        served = api.served(call.result)
        assert (out / line["file"]).read_bytes() == served
        assert line["sha256"] == sha256(served)
        assert line["status"] == "stored"
        assert not line["simulated"]
    assert leftovers(out) == []
    assert api.sim.leaked_keys == 0
    assert ran.summary["stored"] == ran.summary["charged"] == ran.summary["requests"] == len(DEMO)
    assert ran.summary["cost_usd"] == round(api.sim.spent_usd, 6)


def test_run_again_changes_nothing_and_sends_nothing(api: Api, tmp_path: Path) -> None:
    out = demo(tmp_path / "jobs")
    api.run("demo.yaml", cwd=tmp_path / "jobs")
    before = {path: path.stat().st_mtime_ns for path in out.iterdir() if path.suffix in {".jpg", ".png"}}

    ran = api.run("demo.yaml", "--json", cwd=tmp_path / "jobs")

    assert ran.code == 0
    assert ran.summary["requests"] == 0
    assert ran.summary["cached"] == ran.summary["stored"] == len(DEMO)
    assert len(api.sim.calls) == len(DEMO)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert all(line["cached"] for line in results(out))


def test_one_changed_photo_makes_one_request(api: Api, tmp_path: Path) -> None:
    folder = photos_into(tmp_path / "photos")
    first = api.run("photos", "-p", "White background", "--json", cwd=tmp_path)
    assert first.code == 0, first.err
    shutil.copy(folder / "person.jpg", folder / "launch.jpg")

    again = api.run("photos", "-p", "White background", "--json", cwd=tmp_path)

    assert again.summary["requests"] == 1
    assert again.summary["cached"] == again.summary["total"] - 1
    assert api.sim.calls[-1].inputs[0]["sha256"] == sha256(folder / "person.jpg")


def test_a_touched_photo_is_no_changed_photo(api: Api, tmp_path: Path) -> None:
    folder = photos_into(tmp_path / "photos", "cat.webp", "cup.png")
    api.run("photos", "-p", "White background", cwd=tmp_path)
    (folder / "cat.webp").touch()

    assert api.run("photos", "-p", "White background", "--json", cwd=tmp_path).summary["requests"] == 0


def test_photos_with_a_prompt_need_no_manifest(api: Api, tmp_path: Path) -> None:
    photos_into(tmp_path / "photos", "person.jpg", "cup.png")
    shutil.copy(PHOTOS / "stars.jpg", tmp_path / "logo.jpg")

    ran = api.run(
        "photos", "-p", "Put image 2 behind image 1", "--with", "logo.jpg", "--model", "flux-2-max", cwd=tmp_path
    )

    assert ran.code == 0, ran.err
    assert sorted(path.name for path in (tmp_path / "photos-out").iterdir() if path.suffix == ".jpg") == [
        "cup.jpg",
        "person.jpg",
    ]
    logo = sha256(tmp_path / "logo.jpg")
    assert {call.inputs[1]["sha256"] for call in api.sim.calls} == {logo}
    assert {call.model for call in api.sim.calls} == {"flux-2-max"}


def test_a_lost_output_is_made_again_and_an_edited_one_is_kept(api: Api, tmp_path: Path) -> None:
    photos_into(tmp_path / "photos", "person.jpg", "cup.png")
    api.run("photos", "-p", "White background", cwd=tmp_path)
    out = tmp_path / "photos-out"
    (out / "cup.jpg").unlink()
    (out / "person.jpg").write_bytes((PHOTOS / "cat.webp").read_bytes())

    ran = api.run("photos", "-p", "White background", "--json", cwd=tmp_path)

    assert ran.summary["requests"] == 1
    assert (out / "cup.jpg").exists()
    assert (out / "person.jpg").read_bytes() == (PHOTOS / "cat.webp").read_bytes()
    assert "edited" in ran.err
    assert "--retry altered" in ran.err
    assert (
        api.run("photos", "-p", "White background", "--retry", "altered", "--json", cwd=tmp_path).summary["requests"]
        == 1
    )


def test_the_embedded_simulator_serves_without_a_key_into_a_folder_of_its_own(tmp_path: Path) -> None:
    demo(tmp_path / "jobs")

    ran = run_command("run", "demo.yaml", "--simulate", "--json", cwd=tmp_path / "jobs")

    out = tmp_path / "jobs" / "demo-out-simulated"
    assert ran.code == 0, ran.err
    assert ran.summary["simulated"]
    assert all(line["simulated"] for line in results(out))
    assert leftovers(out) == []
    again = run_command("run", "demo.yaml", "--simulate", "--json", cwd=tmp_path / "jobs")
    assert again.summary["requests"] == 0
    mixed = run_command(
        "run", "demo.yaml", "-o", out, cwd=tmp_path / "jobs", env={"FLUXBATCH_API_KEY": "sk-real-enough"}
    )
    assert mixed.code == 2
    assert "holds simulated images" in mixed.err


def test_only_and_limit_narrow_a_run(api: Api, tmp_path: Path) -> None:
    demo(tmp_path / "jobs")

    some = api.run("demo.yaml", "--only", "cup-*", "--json", cwd=tmp_path / "jobs")
    assert (some.code, some.summary["total"], some.summary["requests"]) == (0, 2, 2)
    limited = api.run("demo.yaml", "--limit", "1", "--json", cwd=tmp_path / "jobs")
    assert (limited.code, limited.summary["requests"]) == (0, 1)
    nothing = api.run("demo.yaml", "--limit", "0", "--json", cwd=tmp_path / "jobs")
    assert (nothing.code, nothing.summary["requests"]) == (0, 0)
    rest = api.run("demo.yaml", "--json", cwd=tmp_path / "jobs")
    assert rest.summary["requests"] == len(DEMO) - 3


def test_a_row_taken_out_of_the_manifest_is_never_bought(api: Api, tmp_path: Path) -> None:
    rows = [{"id": f"job-{n}", "prompt": f"Number {n}", "model": "flux-2-klein-4b"} for n in range(4)]
    manifest = tmp_path / "jobs.jsonl"
    manifest.write_text("\n".join(map(json.dumps, rows)))
    api.run("jobs.jsonl", "--limit", "1", cwd=tmp_path)
    manifest.write_text("\n".join(map(json.dumps, rows[:3])))

    ran = api.run("jobs.jsonl", "--json", cwd=tmp_path)

    assert ran.summary["requests"] == 2
    assert [line["id"] for line in results(tmp_path / "jobs-out")] == ["job-0", "job-1", "job-2"]
    assert len(api.sim.calls) == 3


def test_an_id_belongs_to_the_manifest_that_claimed_it(api: Api, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"id": "same", "prompt": name, "model": "flux-2-klein-4b"}))
    assert api.run("a.jsonl", "-o", "out", cwd=tmp_path).code == 0

    clash = api.run("b.jsonl", "-o", "out", cwd=tmp_path)
    assert clash.code == 2
    assert "'same' belongs to" in clash.err
    assert len(api.sim.calls) == 1

    (tmp_path / "a.jsonl").rename(tmp_path / "moved.jsonl")
    moved = api.run("moved.jsonl", "-o", "out", "--json", cwd=tmp_path)
    assert (moved.code, moved.summary["requests"]) == (0, 0)


def test_a_host_that_puts_the_image_into_its_answer(tmp_path: Path) -> None:
    demo(tmp_path / "jobs")
    out = tmp_path / "jobs" / "demo-out"
    with serving(tmp_path / "simulator", answer="b64_json", render="montage") as api:
        ran = api.run("demo.yaml", "--json", cwd=tmp_path / "jobs")

        assert ran.code == 0, ran.err
        calls = {call.request_id: call for call in api.sim.calls}
        for line in results(out):
            assert line["sha256"] == sha256(api.served(calls[line["request_id"]].result))
            assert line["url_age_s"] is None
    (tmp_path / "ordinary").touch()
    assert {(out / line["file"]).stat().st_mode for line in results(out)} == {(tmp_path / "ordinary").stat().st_mode}
    assert leftovers(out) == []


def test_results_can_be_written_anew_from_the_ledger(api: Api, tmp_path: Path) -> None:
    out = demo(tmp_path / "jobs")
    api.run("demo.yaml", cwd=tmp_path / "jobs")
    before = results(out)
    (out / "results.jsonl").unlink()

    status = run_command("status", out, "--results", cwd=tmp_path)

    assert status.code == 0, status.err
    assert f"{len(DEMO)} made, 0 failed, 0 still to make" in status.out
    assert "(simulated)" not in status.out
    assert [{**line, "cached": True} for line in results(out)] == [{**line, "cached": True} for line in before]


def test_nothing_that_it_did_not_make_is_overwritten(api: Api, tmp_path: Path) -> None:
    folder = photos_into(tmp_path / "photos", "person.jpg", "cat.webp")
    before = {path.name: sha256(path) for path in folder.iterdir()}

    ran = api.run("photos", "-p", "White background", "-o", "photos", cwd=tmp_path)

    assert ran.code == 2
    assert "person.jpg is in the output folder already" in ran.err
    assert {path.name: sha256(path) for path in folder.iterdir() if path.is_file()} == before
    assert api.sim.requests == 0


def test_a_folder_keeps_to_its_ledger(api: Api, tmp_path: Path) -> None:
    photos_into(tmp_path / "photos", "cup.png")
    options = ("photos", "-p", "White background", "-o", "out")
    assert api.run(*options, "--state", "elsewhere", cwd=tmp_path).code == 0

    without = api.run(*options, cwd=tmp_path)

    assert without.code == 2
    assert f"--state {tmp_path / 'elsewhere'}" in without.err
    assert len(api.sim.calls) == 1
    assert "1 made" in run_command("status", "out", cwd=tmp_path).out
    assert api.run(*options, "--state", "elsewhere", "--json", cwd=tmp_path).summary["requests"] == 0
    (tmp_path / "elsewhere").rename(tmp_path / "moved")
    assert api.run(*options, "--state", "moved", "--json", cwd=tmp_path).summary["requests"] == 0


def test_results_name_the_inputs_as_written_but_for_signed_queries(api: Api, tmp_path: Path) -> None:
    photos_into(tmp_path, "cup.png")
    (tmp_path / "cup.png").rename(tmp_path / "sk-cup  red.png")
    signed = "https://example.com/cat.jpg?X-Amz-Signature=0123456789abcdef"
    row = {"id": "a", "prompt": "x", "images": ["sk-cup  red.png", signed]}
    (tmp_path / "jobs.jsonl").write_text(json.dumps(row))

    assert api.run("jobs.jsonl", cwd=tmp_path).code == 0

    (line,) = results(tmp_path / "jobs-out")
    assert line["inputs"] == ["sk-cup  red.png", "https://example.com/cat.jpg?…"]


def test_what_is_left_out_stays_as_it_is(api: Api, tmp_path: Path) -> None:
    write_rows(tmp_path / "jobs.jsonl", 3)
    api.sim.faults = Faults(rates={"moderation": 1.0})
    assert api.run("jobs.jsonl", "--json", cwd=tmp_path).summary["failed"] == 3
    api.sim.faults = Faults()

    for narrow in (("--only", "job-000"), ("--limit", "1")):
        ran = api.run("jobs.jsonl", "--retry", "moderated", *narrow, "--json", cwd=tmp_path)
        assert ran.summary["requests"] == 1
    assert api.run("jobs.jsonl", "--json", cwd=tmp_path).summary["requests"] == 0
    assert [line["status"] for line in results(tmp_path / "jobs-out")] == ["stored", "stored", "failed"]
    assert api.run("jobs.jsonl", "--only", "jbo-*", cwd=tmp_path).code == 2


def test_a_closed_pipe_does_not_end_a_run(tmp_path: Path) -> None:
    with serving(tmp_path / "simulator", latency_s=0.5) as api:
        write_rows(tmp_path / "jobs.jsonl", 6)
        with api.start("jobs.jsonl", "-vv", "--concurrency", "3", cwd=tmp_path) as process:
            assert process.stderr is not None
            process.stderr.close()
            process.wait(timeout=30)
        assert [line["status"] for line in results(tmp_path / "jobs-out")] == ["stored"] * 6
        assert len(api.sim.calls) == 6
