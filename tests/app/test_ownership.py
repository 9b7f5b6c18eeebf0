"""An output belongs to one job: nothing replaces, adopts or removes what is another's, whatever names do."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from fluxbatch.testing import make_png
from tests.app.stage import results, run_command, sha256

if TYPE_CHECKING:
    from pathlib import Path

    from tests.app.stage import Api

MODEL = "flux-2-klein-4b"


def document(path: Path, *jobs: dict[str, Any], **more: Any) -> Path:
    """A manifest whose images go to ``out`` beside it."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"out": "out", "defaults": {"model": MODEL}, "jobs": jobs, **more}))
    return path


def named(job_id: str, prompt: str, name: str) -> dict[str, Any]:
    return {"id": job_id, "prompt": prompt, "meta": {"n": name}}


def by_meta(path: Path, *jobs: dict[str, Any]) -> Path:
    return document(path, *jobs, filename="{{ meta.n }}")


def images(out: Path) -> dict[str, str]:
    return {path.name: sha256(path) for path in out.iterdir() if path.suffix in {".jpg", ".png"}}


def make(api: Api, manifest: Path, requests: int) -> None:
    ran = api.run(manifest, "--json", cwd=manifest.parent)
    assert (ran.code, ran.summary["requests"]) == (0, requests), ran.err


def prune(manifest: Path, *more: str) -> dict[str, Any]:
    ran = run_command("prune", manifest, "--yes", "--json", *more, cwd=manifest.parent)
    assert ran.code == 0, ran.err
    return ran.summary


def test_a_name_that_went_to_another_job_is_not_landed_on(api: Api, tmp_path: Path) -> None:
    jobs = by_meta(tmp_path / "m.json", named("a", "one", "x"), named("b", "two", "y"))
    make(api, jobs, 2)
    before = images(tmp_path / "out")
    make(api, by_meta(jobs, named("a", "one", "y"), named("b", "two", "x")), 0)

    by_meta(jobs, named("a", "one", "y"), named("b", "two, edited", "x"))
    ran = api.run(jobs, cwd=tmp_path)

    assert (ran.code, "x.jpg is" in ran.err) == (2, True)
    assert images(tmp_path / "out") == before


def test_what_another_row_has_is_not_pruned(api: Api, tmp_path: Path) -> None:
    jobs = by_meta(tmp_path / "m.json", named("a", "one", "x"))
    make(api, jobs, 1)
    make(api, by_meta(jobs, named("c", "one", "x")), 0)
    make(api, by_meta(jobs, named("c", "one", "y")), 0)

    assert prune(jobs)["removed"] == []
    make(api, jobs, 0)


def test_images_of_a_manifest_that_moved_away_stay(api: Api, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for name in ("one", "two"):
        manifest = document(tmp_path / "project" / f"{name}.json", {"id": name, "prompt": name})
        assert api.run(manifest, "-o", out, cwd=tmp_path).code == 0
    (tmp_path / "project").rename(tmp_path / "elsewhere")
    before = images(out)

    found = prune(tmp_path / "elsewhere" / "one.json", "-o", str(out))

    assert (found["removed"], images(out)) == ([], before)


def test_prune_is_not_for_photos(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(make_png(1, width=64, height=64))
    (tmp_path / "photos-out").mkdir()
    ran = run_command("prune", "a.png", "-p", "White background", "--yes", cwd=tmp_path)
    assert (ran.code, "prune is for manifests" in ran.err) == (2, True)


def test_the_image_of_another_manifest_is_not_adopted(api: Api, tmp_path: Path) -> None:
    make(api, document(tmp_path / "b.json", {"id": "precious", "prompt": "two"}), 1)
    other = document(tmp_path / "a.json", {"id": "d", "prompt": "one"}, filename="precious")
    refused = api.run(other, cwd=tmp_path)
    assert refused.code == 2, refused.err

    adopted = run_command("adopt", other, "--json", cwd=tmp_path)

    assert (adopted.code, adopted.summary["adopted"]) == (0, [])


def test_what_is_about_to_be_copied_is_not_pruned(api: Api, tmp_path: Path) -> None:
    jobs = document(tmp_path / "m.json", {"id": "a", "prompt": "one"})
    make(api, jobs, 1)
    document(jobs, {"id": "c", "prompt": "one"})

    planned = run_command("plan", jobs, "--json", cwd=tmp_path).summary
    assert (planned["copied"], planned["orphans"]) == (1, 0)
    assert prune(jobs)["removed"] == []
    make(api, jobs, 0)
    assert prune(jobs)["removed"] == ["a.jpg"]
    make(api, jobs, 0)


def test_a_copy_that_was_not_recorded_any_more_is_taken_up(api: Api, tmp_path: Path) -> None:
    jobs = document(tmp_path / "m.json", {"id": "a", "prompt": "one"})
    make(api, jobs, 1)
    document(jobs, {"id": "c", "prompt": "one"})
    shutil.copy(tmp_path / "out" / "a.jpg", tmp_path / "out" / "c.jpg")  # and then the run was killed

    make(api, jobs, 0)

    assert [line["status"] for line in results(tmp_path / "out")] == ["stored"]


def test_a_copy_that_is_gone_hides_none_that_is_there(api: Api, tmp_path: Path) -> None:
    jobs = document(tmp_path / "m.json", {"id": "a", "prompt": "one"})
    make(api, jobs, 1)
    make(api, document(jobs, {"id": "c", "prompt": "one"}), 0)
    (tmp_path / "out" / "a.jpg").unlink()
    make(api, document(jobs, {"id": "d", "prompt": "one"}), 0)


def test_an_edit_is_not_lost_to_a_changed_prompt(api: Api, tmp_path: Path) -> None:
    jobs = document(tmp_path / "m.json", {"id": "a", "prompt": "one"})
    make(api, jobs, 1)
    edited = make_png(1, width=64, height=64)
    (tmp_path / "out" / "a.jpg").write_bytes(edited)
    document(jobs, {"id": "a", "prompt": "two"})

    refused = api.run(jobs, cwd=tmp_path)

    assert (refused.code, "--retry altered" in refused.err) == (2, True)
    assert (tmp_path / "out" / "a.jpg").read_bytes() == edited
    anew = api.run(jobs, "--retry", "altered", "--json", cwd=tmp_path)
    assert (anew.code, anew.summary["requests"]) == (0, 1)


def test_another_variant_as_input_is_another_image(api: Api, tmp_path: Path) -> None:
    whole = {"id": "x", "prompt": "one", "variants": 2}
    jobs = document(tmp_path / "m.json", whole, {"id": "b", "prompt": "oil", "images": [{"job": "x-1"}]})
    make(api, jobs, 3)
    make(api, document(jobs, whole, {"id": "b", "prompt": "oil", "images": [{"job": "x-2"}]}), 1)


def test_an_output_that_was_edited_is_made_fit_as_a_photo_is(api: Api, tmp_path: Path) -> None:
    pillow = pytest.importorskip("PIL.Image")
    base = {"id": "a", "prompt": "one"}
    jobs = document(tmp_path / "m.json", base)
    make(api, jobs, 1)
    pillow.new("CMYK", (64, 64), (0, 255, 255, 0)).save(tmp_path / "out" / "a.jpg")
    make(api, document(jobs, base, {"id": "b", "prompt": "oil", "images": [{"job": "a"}]}), 1)


# ------------------------------------------------------------------------------------------------------- lock files
def locked(path: Path, *jobs: dict[str, Any]) -> Path:
    return document(path, *jobs, lock=True)


def entry(folder: Path, **changes: Any) -> dict[str, Any]:
    line = (folder / "fluxbatch.lock").read_text().splitlines()[1]
    return {**json.loads(line), **changes}


def add_line(folder: Path, line: dict[str, Any]) -> None:
    with (folder / "fluxbatch.lock").open("a") as file:
        file.write(json.dumps(line) + "\n")


def fresh(folder: Path) -> None:
    shutil.rmtree(folder / "out" / ".fluxbatch")


def test_a_lock_file_claims_nothing_that_is_anothers(api: Api, tmp_path: Path) -> None:
    make(api, document(tmp_path / "b.json", {"id": "precious", "prompt": "two"}), 1)
    make(api, locked(tmp_path / "a.json", {"id": "own", "prompt": "one"}), 1)
    evil = {"id": "evil", "prompt": "three"}
    plan = run_command(
        "plan", locked(tmp_path / "a.json", {"id": "own", "prompt": "one"}, evil), "--json", cwd=tmp_path
    )
    fingerprint = next(job["fingerprint"] for job in plan.summary["jobs"] if job["id"] == "evil")
    precious = next(line for line in results(tmp_path / "out") if line["id"] == "precious")
    claim = {name: precious[name] for name in ("file", "sha256", "bytes", "width", "height")}
    add_line(tmp_path, entry(tmp_path, id="evil", fingerprint=fingerprint, **claim))

    make(api, tmp_path / "a.json", 1)
    locked(tmp_path / "a.json", {"id": "own", "prompt": "one"})

    assert prune(tmp_path / "a.json")["removed"] == ["evil.jpg"]
    assert "precious.jpg" in images(tmp_path / "out")


@pytest.mark.parametrize("file", ["", ".", "/", "code.py", "results.jsonl", "a.jpg\0", "../a.jpg"])
def test_a_lock_file_names_images_alone(api: Api, tmp_path: Path, file: str) -> None:
    make(api, locked(tmp_path / "a.json", {"id": "own", "prompt": "one"}), 1)
    add_line(tmp_path, entry(tmp_path, id="evil", file=file))
    ran = run_command("plan", "a.json", cwd=tmp_path)
    assert (ran.code, "fluxbatch.lock:3" in ran.err) == (2, True)


def test_a_narrow_run_forgets_nothing_that_is_locked(api: Api, tmp_path: Path) -> None:
    both = ({"id": "a", "prompt": "one"}, {"id": "b", "prompt": "two"})
    manifest = locked(tmp_path / "m.json", *both)
    make(api, manifest, 2)
    before = (tmp_path / "fluxbatch.lock").read_bytes()
    fresh(tmp_path)
    (tmp_path / "out" / "b.jpg").rename(tmp_path / "b.jpg")

    assert api.run(manifest, "--only", "a", cwd=tmp_path).code == 0
    assert api.run(manifest, "-o", "elsewhere", "--only", "a", cwd=tmp_path).code == 0

    assert (tmp_path / "fluxbatch.lock").read_bytes() == before


def test_two_lines_of_one_job_are_both_believed(api: Api, tmp_path: Path) -> None:
    manifest = locked(tmp_path / "m.json", {"id": "a", "prompt": "one"})
    make(api, manifest, 1)
    add_line(tmp_path, entry(tmp_path, sha256="0" * 64))
    fresh(tmp_path)
    make(api, manifest, 0)


def test_a_renamed_job_of_a_checkout_is_copied(api: Api, tmp_path: Path) -> None:
    manifest = locked(tmp_path / "m.json", {"id": "a", "prompt": "one"})
    make(api, manifest, 1)
    fresh(tmp_path)
    make(api, locked(manifest, {"id": "c", "prompt": "one"}), 0)
    assert images(tmp_path / "out").keys() == {"a.jpg", "c.jpg"}


def test_tables_are_read_where_prompts_are(tmp_path: Path) -> None:
    (tmp_path / "secret.csv").write_text("sku\nkey\n")
    catalogue = {"catalog": {"rows": "../secret.csv", "id": "{{ sku }}", "prompt": "x"}}
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "m.json").write_text(json.dumps(catalogue))
    ran = run_command("validate", "m.json", cwd=folder)
    assert (ran.code, "outside of the manifest's folder" in ran.err) == (2, True)
    assert run_command("validate", "project/m.json", cwd=tmp_path).code == 0
