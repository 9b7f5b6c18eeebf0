"""fluxbatch export: images delivered as they were seen, and tables of what became of each row."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import subprocess
import threading
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import openpyxl
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest

from fluxbatch.adapters.disk.delivery import FolderDestination
from fluxbatch.model.job import Stored
from fluxbatch.ports import Delivered
from tests.app.stage import command, jobs_into, results, run_command, sha256, wait_for, write_rows
from tests.stores.s3server import Kept, s3_serving

if TYPE_CHECKING:
    from pathlib import Path

    from tests.app.stage import Api, Ran

OURS = ["fb_status", "fb_file", "fb_cost", "fb_error"]


def export(out: Path, *args: object) -> Ran:
    return run_command("export", out, *args, cwd=out.parent)


def facts(done: Ran) -> dict[str, Any]:
    return dict(json.loads(done.out))


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def files(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): sha256(path) for path in folder.rglob("*") if path.is_file()}


def approve(out: Path, *ids: str) -> None:
    table = out.parent / "said.csv"
    shas = {line["id"]: line["sha256"] for line in results(out)}
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([["id", "sha256", "verdict"], *([one, shas[one], "approved"] for one in ids)])
    assert run_command("review", out, "--import", table, cwd=out.parent).code == 0


@pytest.fixture
def out(api: Api, tmp_path: Path) -> Path:
    write_rows(tmp_path / "jobs.jsonl", 4)
    assert api.run("jobs.jsonl", cwd=tmp_path).code == 0
    return tmp_path / "jobs-out"


# ------------------------------------------------------------------------------------------------------------ images
def test_all_images_are_copied_once(out: Path, tmp_path: Path) -> None:
    to = tmp_path / "deep" / "delivery"
    assert facts(export(out, "--to", to, "--json")) == {
        "to": str(to), "copied": 4, "there": 0, "left_out": 0, "refused": []
    }  # fmt: skip
    assert files(to) == {line["file"]: line["sha256"] for line in results(out)}
    one = next(to.iterdir())
    assert one.stat().st_nlink == 1, "what happens to a delivered image must not happen to ours"
    inodes = {path.name: path.stat().st_ino for path in to.iterdir()}
    one.unlink()
    again = export(out, "--to", to)
    assert again.out == f"{to}: 1 image copied, 3 there already, 0 left out, 0 refused\n"
    assert {path.name: path.stat().st_ino for path in to.iterdir() if path.name != one.name} == {
        name: inode for name, inode in inodes.items() if name != one.name
    }


def test_only_what_was_approved_as_it_was_seen(api: Api, out: Path, tmp_path: Path) -> None:
    approve(out, "job-001", "job-002", "job-003")
    edited = out / next(line["file"] for line in results(out) if line["id"] == "job-002")
    edited.write_bytes(edited.read_bytes() + b"\0")
    write_rows(tmp_path / "jobs.jsonl", 4, seed=5)
    for line in ("job-003",):  # approved, and then asked for with another seed
        assert api.run("jobs.jsonl", "--only", line, cwd=tmp_path).code == 0
    done = export(out, "--approved", "--to", tmp_path / "to", "--json")
    assert done.code == 1
    found = facts(done)
    assert (found["copied"], found["left_out"]) == (1, 2)
    assert [(one["file"], "edited since" in one["why"]) for one in found["refused"]] == [(edited.name, True)]
    assert [name.partition(".")[0] for name in files(tmp_path / "to")] == ["job-001"]


def test_what_has_the_name_already_is_left_alone_unless_force_is_said(out: Path, tmp_path: Path) -> None:
    to = tmp_path / "to"
    names = [line["file"] for line in results(out)]
    (to / names[2]).mkdir(parents=True)
    (to / names[0]).write_text("mine")
    (tmp_path / "elsewhere").write_text("mine too")
    (to / names[1]).symlink_to(tmp_path / "elsewhere")
    done = export(out, "--to", to, "--json")
    assert done.code == 1
    assert [one["file"] for one in facts(done)["refused"]] == sorted(names[:3])
    assert (to / names[0]).read_text() == "mine"
    forced = facts(export(out, "--to", to, "--force", "--json"))
    assert (forced["copied"], forced["there"]) == (2, 1)
    assert [one["file"] for one in forced["refused"]] == [names[2]]
    assert (tmp_path / "elsewhere").read_text() == "mine too"
    assert not (to / names[1]).is_symlink()
    assert not list(to.rglob("*.part"))


def test_an_export_that_was_killed_is_taken_up_by_the_next(out: Path, tmp_path: Path) -> None:
    to = tmp_path / "to"
    stuck = out / results(out)[2]["file"]
    data = stuck.read_bytes()
    stuck.unlink()
    os.mkfifo(stuck)
    process = subprocess.Popen(command("export", out, "--to", to), cwd=tmp_path)
    try:
        # three are there, and one waits for its bytes
        wait_for(lambda: to.exists() and len(list(to.glob("*.jpg"))) == 3 and len(list(to.glob(".*.part"))) == 1)
    finally:
        process.kill()
        process.wait()
    stuck.unlink()
    stuck.write_bytes(data)
    assert facts(export(out, "--to", to, "--json"))["copied"] == 1
    assert files(to) == {line["file"]: line["sha256"] for line in results(out)}


def test_what_a_killed_export_left_is_swept_and_what_another_one_writes_is_not(out: Path, tmp_path: Path) -> None:
    to = tmp_path / "to"
    to.mkdir()
    (to / ".fluxbatch-dead.part").write_bytes(b"half")
    (to / ".mine.part").write_bytes(b"mine")
    source = out / results(out)[0]["file"]
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    size = source.stat().st_size
    stored = Stored("slow.png", sha256(source), size, 1, 1)
    other = FolderDestination(to)
    became: list[Delivered] = []
    deliver = partial(other.deliver, pipe, stored, replace=False)
    work = threading.Thread(target=lambda: became.append(anyio.run(deliver)))
    work.start()
    with pipe.open("wb") as file:
        file.write(source.read_bytes()[:10])
        file.flush()
        assert export(out, "--to", to).code == 0
        assert len(list(to.glob(".fluxbatch-*.part"))) == 1
        file.write(source.read_bytes()[10:])
    work.join(timeout=10)
    assert became == [Delivered.COPIED]
    assert sorted(path.name for path in to.glob(".*")) == [".mine.part"]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ([], "nothing to export"),
        (["--approved", "--table", "new.csv"], "--approved is about images"),
        (["--to", ""], "--to is empty"),
        (["--to", "s3://me:secret@bucket/x?key=secret"], "--to s3://"),
        (["--to", "ftp://bucket/x"], "--to ftp://"),
        (["--to", "jobs-out/mine"], "is in the output folder"),
        (["--to", "jobs.jsonl"], "is no folder"),
        (["--table", "there.csv"], "is there already"),
        (["--table", "new.txt"], "'.txt' is no kind of table"),
    ],
)
def test_wrong_use(out: Path, tmp_path: Path, args: list[str], said: str) -> None:
    (tmp_path / "there.csv").write_text("mine")
    done = export(out, *args)
    assert done.code == 2
    assert said in done.err
    assert (tmp_path / "there.csv").read_text() == "mine"
    assert "secret" not in done.err
    assert not [path for path in out.parent.iterdir() if path.name.endswith(".new")]


def test_images_in_an_object_store_are_brought_from_there(api: Api, tmp_path: Path) -> None:
    write_rows(tmp_path / "jobs.jsonl", 3)
    state, to = tmp_path / "state", tmp_path / "to"
    (tmp_path / "temporary").mkdir()
    api.env["TMPDIR"] = str(tmp_path / "temporary")
    with s3_serving() as server:
        api.env |= server.environment
        assert api.run("jobs.jsonl", "-o", "s3://pictures/shop", "--state", state, cwd=tmp_path).code == 0
        done = run_command("export", state, "--to", to, "--json", cwd=tmp_path, env=api.environment)
        assert (done.code, facts(done)["copied"]) == (0, 3), done.err
        assert files(to) == {line["file"]: line["sha256"] for line in results(state)}
        server.objects.pop("shop/job-001.jpg")
        again = run_command("export", state, "--to", tmp_path / "again", "--json", cwd=tmp_path, env=api.environment)
        assert again.code == 1, (again.code, again.err)
        assert [one["file"] for one in facts(again)["refused"]] == ["job-001.jpg"]
    assert not list((tmp_path / "temporary").iterdir())


def test_images_are_delivered_into_an_object_store(api: Api, tmp_path: Path) -> None:
    write_rows(tmp_path / "jobs.jsonl", 3)
    assert api.run("jobs.jsonl", cwd=tmp_path).code == 0
    out, address = tmp_path / "jobs-out", "s3://pictures/shop"
    digests = {line["file"]: line["sha256"] for line in results(out)}
    with s3_serving() as server:
        environment = api.environment | server.environment

        def to_store(*args: str) -> Ran:
            return run_command("export", out, "--to", address, "--json", *args, cwd=tmp_path, env=environment)

        def there() -> dict[str, str]:
            names = (name for name in server.objects if name.startswith("shop/"))
            return {name[5:]: hashlib.sha256(server.objects[name].data).hexdigest() for name in names}

        first = to_store()
        assert (first.code, facts(first)["copied"]) == (0, 3), first.err
        assert there() == digests
        again = to_store()
        assert (facts(again)["copied"], facts(again)["there"]) == (0, 3)
        server.objects["shop/job-001.jpg"] = Kept(b"mine", '"its-own"', datetime.now(UTC))
        left = to_store()
        assert left.code == 1
        assert [one["file"] for one in facts(left)["refused"]] == ["job-001.jpg"]
        assert server.objects["shop/job-001.jpg"].data == b"mine"
        assert facts(to_store("--force"))["copied"] == 1
        assert there() == digests
        wrong = run_command(
            "export", out, "--to", address, cwd=tmp_path, env=environment | {"AWS_SECRET_ACCESS_KEY": "another"}
        )
        assert wrong.code == 3
        assert "another" not in wrong.err


# ------------------------------------------------------------------------------------------------------------ tables
HEADER = ["Größe", "id", "Price", "prompt", "List price", "model", "fb_status", "note"]
ROWS = [
    ["XL", "a", "007", "Number 1", "1,50", "flux-2-klein-4b", "old", "=1+1"],
    ["M", "b", "-5", "two\nlines", "2", "flux-2-klein-4b", "", "+49 123"],
    ["S", "c", "", "", "3", "flux-2-klein-4b", "", "no prompt"],
]


def test_a_table_keeps_its_columns_in_their_order(api: Api, tmp_path: Path) -> None:
    with (tmp_path / "shop.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=";").writerows([HEADER, *ROWS])
    assert api.run("shop.csv", "--on-invalid", "skip", cwd=tmp_path).code == 1
    out = tmp_path / "shop-out"
    target = tmp_path / "results.csv"
    assert export(out, "--table", target).out == f"{target}: 3 rows\n"
    assert target.read_bytes().startswith(b"\xef\xbb\xbf")
    rows = read(target)
    assert list(rows[0]) == ["Größe", "id", "Price", "prompt", "List price", "model", "note", *OURS]
    assert [row["Price"] for row in rows] == ["007", "-5", ""]
    assert [row["note"] for row in rows] == ["'=1+1", "'+49 123", "no prompt"]
    assert [row["fb_status"] for row in rows] == ["stored", "stored", "failed"]
    assert rows[0]["fb_file"] == "a.jpg"
    assert float(rows[0]["fb_cost"]) > 0
    assert rows[2]["fb_error"].startswith("invalid_request: ")

    assert export(out, "--table", tmp_path / "results.xlsx").code == 0
    sheet = openpyxl.load_workbook(tmp_path / "results.xlsx").worksheets[0]
    cells = [[cell.value for cell in row] for row in sheet.iter_rows()]
    assert cells[0] == list(rows[0])
    assert cells[1][6] == "=1+1"
    assert sheet.cell(2, 7).data_type != "f"
    assert cells[2][3] == "two\nlines"

    assert export(out, "--table", tmp_path / "results.parquet").code == 0
    table = pq.read_table(tmp_path / "results.parquet")
    assert table.column_names == list(rows[0])
    assert table["fb_cost"].type == "double"
    assert table["note"].to_pylist() == ["=1+1", "+49 123", "no prompt"]


def test_force_does_not_replace_what_is_read(api: Api, tmp_path: Path) -> None:
    manifest = tmp_path / "shop.csv"
    manifest.write_text("id,prompt,model\na,One,flux-2-klein-4b\n")
    assert api.run("shop.csv", cwd=tmp_path).code == 0
    done = export(tmp_path / "shop-out", "--table", manifest, "--force")
    assert done.code == 2
    assert "is what this table is made of" in done.err
    assert manifest.read_text().startswith("id,prompt,model\na,One")


def test_parquet_keeps_its_kinds(api: Api, tmp_path: Path) -> None:
    import pyarrow as pa

    columns = {
        "id": ["a", "b"],
        "prompt": ["One", "Two"],
        "stock": [1, None],
        "weight": [0.5, 2.0],
        "sale": [True, False],
    }
    pq.write_table(pa.table(columns | {"big": pa.array([1 << 63, 1], pa.uint64())}), tmp_path / "shop.parquet")
    assert api.run("shop.parquet", cwd=tmp_path).code == 0
    assert export(tmp_path / "shop-out", "--table", tmp_path / "results.parquet").code == 0
    table = pq.read_table(tmp_path / "results.parquet")
    kinds = {field.name: str(field.type) for field in table.schema}
    assert (kinds["stock"], kinds["weight"], kinds["sale"], kinds["big"]) == ("int64", "double", "bool", "string")
    assert table["stock"].to_pylist() == [1, None]


@pytest.mark.slow
def test_a_catalogue_has_each_row_of_its_table_for_each_job(tmp_path: Path) -> None:
    folder = jobs_into(tmp_path / "jobs") / "catalogue"
    assert run_command("run", "catalogue.yaml", "--simulate", "--limit", "2", "-q", cwd=folder).code == 0
    target = tmp_path / "results.csv"
    assert export(folder / "catalogue-out-simulated", "--table", target).code == 0
    rows = read(target)
    with (folder / "products.csv").open(encoding="utf-8-sig", newline="") as file:
        header = next(csv.reader(file))
    assert list(rows[0]) == [*header, *OURS]
    assert len(rows) == 17 + 2, "two of the products are not in stock"
    assert sum(not row["fb_status"] for row in rows) == 2
    assert [row["fb_status"] for row in rows].count("stored") == 2
    assert rows[0]["fb_file"].startswith("MUG-01-lawn.")


def test_documents_have_the_fields_of_their_jobs(api: Api, out: Path, tmp_path: Path) -> None:
    assert export(out, "--table", tmp_path / "results.csv").code == 0
    rows = read(tmp_path / "results.csv")
    assert list(rows[0])[:4] == ["id", "prompt", "images", "model"]
    assert list(rows[0])[-4:] == OURS
    assert [(row["id"], row["prompt"], row["fb_file"]) for row in rows] == [
        (line["id"], line["prompt"], line["file"]) for line in results(out)
    ]
    done = export(out, "--table", tmp_path / "results.csv", "--to", tmp_path / "to", "--force", "--json")
    assert (facts(done)["rows"], facts(done)["copied"]) == (4, 4)
    with suppress(FileNotFoundError):
        (tmp_path / "jobs.jsonl").unlink()
    assert export(out, "--table", tmp_path / "gone.csv").code == 0, "what the ledger knows is enough"
    assert [row["fb_status"] for row in read(tmp_path / "gone.csv")] == ["stored"] * 4
