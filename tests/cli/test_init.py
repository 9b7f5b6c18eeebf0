"""``fluxbatch init``: what it writes is a manifest that passes the checks as it stands, whatever names it meets."""

from __future__ import annotations

import csv
import json
import re
import shutil
from typing import TYPE_CHECKING, Any

import jsonschema
import openpyxl
import pyarrow as pa  # type: ignore[import-untyped]
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pyarrow import parquet

from fluxbatch.app.look import validate
from fluxbatch.cli import main
from fluxbatch.planning.findings import Findings
from fluxbatch.planning.guess import guess_columns
from fluxbatch.planning.intake import Intake, ManifestFile
from fluxbatch.planning.reading.yaml_document import parse_yaml
from fluxbatch.planning.schema import manifest_schema
from fluxbatch.planning.sketch import scalar
from tests.app.stage import PHOTOS, photos_into

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fluxbatch.model.job import PlannedJob

HEADER = ["SKU", "Product Name", "Main photo", "Detail: photo", "Stock", "Group"]
ROWS = [
    ["A-1", "Red cup", "cup.png", "", "5", "cups"],
    ["A-2", 'The "blue" {{ cat }}', "cat.webp", "person.jpg", "0", "cats"],
    ["A-3", "Gras, grün", "grass.jpg", "", "", "cups"],
]
CHINESE = ["货号", "品名", "主图", "细节图", "库存", "类别"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*args: str) -> object:
    with pytest.raises(SystemExit) as ended:
        main(["init", *args])
    return ended.value.code


def jobs_of(manifest: Path) -> list[PlannedJob]:
    """The jobs; fails if there is anything to complain about."""
    findings = Findings()
    with Intake([ManifestFile(manifest)], findings=findings) as intake:
        intake.stage()
        intake.check()
        jobs = [job for batch in intake.planned() for job in batch]
    assert [str(problem) for problem in findings.first(5) if problem.level == "error"] == []
    jsonschema.validate(parse_yaml(manifest.read_text()), manifest_schema())
    return jobs


def images_of(job: PlannedJob) -> list[str]:
    return [image.ref for image in job.images]


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[str]], encoding: str = "utf-8") -> Path:
    with path.open("w", encoding=encoding, newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def write_chinese(path: Path, header: Sequence[str], rows: Sequence[Sequence[str]]) -> Path:
    return write_csv(path, header, rows, encoding="gb18030")


def write_tsv(path: Path, header: Sequence[str], rows: Sequence[Sequence[str]]) -> Path:
    path.write_text("\n".join("\t".join(row) for row in [header, *rows]))
    return path


def write_xlsx(path: Path, header: Sequence[str], rows: Sequence[Sequence[str]]) -> Path:
    book = openpyxl.Workbook()
    for row in [header, *rows]:
        book.worksheets[0].append([int(cell) if cell.isdigit() else cell for cell in row])
    book.save(path)
    return path


def write_parquet(path: Path, header: Sequence[str], rows: Sequence[Sequence[str]]) -> Path:
    parquet.write_table(pa.table({name: [row[n] for row in rows] for n, name in enumerate(header)}), path)
    return path


def write_jsonl(path: Path, header: Sequence[str], rows: Sequence[Sequence[str]]) -> Path:
    lines = [{name: cell for name, cell in zip(header, row, strict=True) if cell} for row in rows]
    path.write_text("\n".join(json.dumps(line, ensure_ascii=False) for line in lines))
    return path


WRITERS: dict[str, Any] = {
    "products.csv": write_csv,
    "products.tsv": write_tsv,
    "产品.csv": write_chinese,
    "products.xlsx": write_xlsx,
    "products.parquet": write_parquet,
    "products.jsonl": write_jsonl,
}


@pytest.mark.parametrize("header", [HEADER, CHINESE], ids=["latin", "chinese"])
@pytest.mark.parametrize("name", WRITERS)
def test_a_table(here: Path, name: str, header: list[str]) -> None:
    photos_into(here)
    rows = [[cell.replace('"', "") if name.endswith(".tsv") else cell for cell in row] for row in ROWS]
    rows[0][1] = "青花瓷茶杯"
    WRITERS[name](here / name, header, rows)

    assert call(name) == 0

    jobs = jobs_of(here / "jobs.yaml")
    assert [job.id for job in jobs] == ["A-1", "A-2", "A-3"]
    assert [images_of(job) for job in jobs] == [["cup.png"], ["cat.webp", "person.jpg"], ["grass.jpg"]]
    prompts = [str(job.fields["prompt"]).partition(" of image 1")[0] for job in jobs]
    assert prompts == [f"Place the {row[1]}" for row in rows]


@pytest.mark.slow
def test_each_option_can_be_taken_into_use(here: Path) -> None:
    photos_into(here, "cup.png", "cat.webp", "person.jpg", "grass.jpg")
    write_csv(here / "products.csv", HEADER, ROWS)
    for what in (["products.csv"], ["."], ["cup.png", "cat.webp"]):
        assert call(*what, "--force") == 0
        lines = (here / "jobs.yaml").read_text().splitlines()
        options = [n for n, line in enumerate(lines) if re.match(r" *# \w+: ", line) and "fluxbatch schema" not in line]
        assert len(options) > 8
        for number in options:
            taken = [line.replace("# ", "", 1) if n == number else line for n, line in enumerate(lines)]
            if "matrix:" in taken[number]:
                taken = [line.replace('id: "', 'id: "{{ scene }}-') for line in taken]
            (here / "taken.yaml").write_text("\n".join(taken))
            assert jobs_of(here / "taken.yaml"), taken[number]


def test_a_job_of_ones_own_can_be_taken_into_use(here: Path) -> None:
    photos_into(here)
    assert call("cup.png", "cat.webp", "-p", "A {{ plain }} prompt: 'so'") == 0
    text = (here / "jobs.yaml").read_text()

    head, _, jobs = text.partition("jobs:\n")
    (here / "jobs.yaml").write_text(f"{head}jobs:\n{re.sub('^  # ', '  ', jobs, flags=re.MULTILINE)}")

    made = jobs_of(here / "jobs.yaml")
    assert made[0].fields["prompt"] == "A {{ plain }} prompt: 'so'"
    assert len(made) == 5
    assert images_of(made[-1]) == ["cup.png", "cat.webp"]


def test_a_folder_of_photos(here: Path) -> None:
    photos_into(here / "My: photos")

    assert call("My: photos", "-p", "White background behind {{ name }}") == 0

    jobs = jobs_of(here / "jobs.yaml")
    assert {job.id for job in jobs} == {path.stem for path in PHOTOS.iterdir() if path.suffix != ".md"}
    assert all(job.fields["prompt"] == f"White background behind {job.id}" for job in jobs)
    assert all(images_of(job)[0].startswith("My: photos/") for job in jobs)


def test_photos_whose_names_are_no_ids(here: Path) -> None:
    photos_into(here / "photos", "cup.png", "cat.webp")
    shutil.copy(PHOTOS / "person.jpg", here / "photos" / "CUP.jpg")
    photos = ["photos/cup.png", "photos/CUP.jpg", "photos/cat.webp", "photos/cat.webp"]

    assert call("photos") == 0
    assert len({job.id for job in jobs_of(here / "jobs.yaml")}) == 3
    assert call(*photos, "--force") == 0
    ids = [job.id for job in jobs_of(here / "jobs.yaml")]
    assert (ids[0], ids[2]) == ("cup", "cat")
    assert re.fullmatch(r"CUP-[0-9a-f]{8}", ids[1])


SIGNS = r"""
a"b   a'b   a: b   a #b   # a   - a   -a   {{ a }}   {{   %}   {a}   [a]   a, b   &a   *a   !a   |   >   @a   `a`   ~
no   null   0o17   1e5   16:9   a\nb   青花瓷   é   😀
"""
HOSTILE = [*re.split(r" {3}|\n", SIGNS.strip()), "a\nb", "a\tb", "\u2028"]


@given(text=st.text(st.characters(codec="utf-8")))
@example(text="0o17")
def test_any_text_is_itself_as_a_scalar(text: str) -> None:
    if all(sign.isprintable() or sign in "\n\t" for sign in text):
        document = parse_yaml(f"a: {scalar(text)}\nb: [x, {scalar(text)}]\nc: {{{scalar(text)}: 1}}\n")
        assert document == {"a": text, "b": ["x", text], "c": {text: 1}}


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_of_photos_folders_and_columns(here: Path, name: str) -> None:
    folder = here / f"of {name}"
    photos_into(folder, "cup.png")
    photo = (folder / "cup.png").rename(folder / f"{name}.png")
    write_csv(here / "products.csv", ["id", f"photo {name}", name], [["a", f"of {name}/{name}.png", "x"]])

    assert call(f"of {name}") == 0
    assert len(jobs_of(here / "jobs.yaml")) == 1
    assert call("--force", "--", f"of {name}/{name}.png") == 0
    assert images_of(jobs_of(here / "jobs.yaml")[0]) == [str(photo.relative_to(here))]
    assert call("products.csv", "--force") == 0
    assert images_of(jobs_of(here / "jobs.yaml")[0]) == [f"of {name}/{name}.png"]


def test_photos_that_lie_elsewhere_are_named_from_the_manifest(here: Path) -> None:
    photos_into(here / "data" / "pictures", "cup.png", "cat.webp")
    write_csv(here / "data" / "products.csv", ["id", "photo"], [["a", "cup.png"], ["b", "cat.webp"]])
    (here / "manifests").mkdir()

    assert call("data/products.csv", "-o", "manifests/beach.yaml") == 0

    jobs = jobs_of(here / "manifests" / "beach.yaml")
    assert [images_of(job) for job in jobs] == [["../data/pictures/cup.png"], ["../data/pictures/cat.webp"]]


def test_rows_without_a_photo_are_left_out_and_cells_may_list_photos(here: Path) -> None:
    photos_into(here)
    write_csv(here / "products.csv", ["id", "photo"], [["a", "cup.png"], ["b", ""]])
    assert call("products.csv") == 0
    assert [job.id for job in jobs_of(here / "jobs.yaml")] == ["a"]

    write_jsonl(here / "products.jsonl", ["id", "photo"], [["a", "cup.png | cat.webp"], ["b", ""]])
    assert call("products.jsonl", "--force") == 0
    assert [images_of(job) for job in jobs_of(here / "jobs.yaml")] == [["cup.png", "cat.webp"]]


def test_a_photo_that_is_missing_is_all_there_is_to_complain_about(here: Path) -> None:
    write_csv(here / "products.csv", HEADER, ROWS)
    assert call("products.csv") == 0

    _, findings = validate([ManifestFile(here / "jobs.yaml")])

    assert len(findings.first(9)) == 4
    assert all("there is no such file" in str(problem) for problem in findings.first(9))


@pytest.mark.parametrize(
    ("header", "rows", "expected"),
    [
        (["No.", "Titel"], [["1", "Cup"], ["2", "Bowl"]], ("No.", "Titel", [])),
        (["编号", "商品名称", "图片"], [["7", "杯", "https://example.com/7?x=1"]], ("编号", "商品名称", ["图片"])),
        (["name", "file"], [["Cup", "a.JPG"], ["Bowl", "b.heic"]], ("name", "name", ["file"])),
        (["id", "sku", "x"], [["1", "a1", "b"], ["1", "a2", "b"]], ("sku", None, [])),
        (["id"], [["../a"], ["b"]], (None, None, [])),
        (["code", "link"], [["a", "https://example.com/a"], ["b", "https://example.com/b"]], ("code", None, [])),
        (["ref", "text"], [["x-1", "one thing"], ["x-2", "another"]], ("ref", None, [])),
        (["id", "photo", "photo"], [["a", "a.jpg", "b.jpg"]], ("id", None, [])),
        (["Foto", "SKU"], [["a.jpg", "A"], ["", "a"]], (None, None, ["Foto"])),
    ],
)
def test_guesses(header: list[str], rows: list[list[str]], expected: tuple[str | None, str | None, list[str]]) -> None:
    guess = guess_columns(header, rows)

    found = (guess.id and guess.id.header, guess.title and guess.title.header, [one.header for one in guess.images])
    assert found == expected


def test_new_names_are_not_those_of_other_columns() -> None:
    guess = guess_columns(["photo", "主图", "Main photo", "sku", "货号"], [["x", "a.jpg", "b.jpg", "y", "1"]])

    assert guess.renamed == {"photo2": "主图", "photo3": "Main photo"}
    assert guess.id is not None


def test_nothing_is_overwritten_unasked(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos_into(here, "cup.png")
    (here / "jobs.yaml").write_text("mine")

    assert call("cup.png") == 2
    assert "--force" in capsys.readouterr().err
    assert (here / "jobs.yaml").read_text() == "mine"
    assert call("cup.png", "--stdout") == 0
    assert capsys.readouterr().out.startswith("# A manifest to start from")
    assert (here / "jobs.yaml").read_text() == "mine"
    assert call("cup.png", "--force") == 0
    assert jobs_of(here / "jobs.yaml")


def test_it_says_where_and_what_next(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos_into(here, "cup.png")

    assert call("cup.png", "-o", "my jobs.yaml") == 0

    assert capsys.readouterr().out.splitlines() == [
        "my jobs.yaml is written. See what it would make, and try it without a key:",
        "  fluxbatch plan 'my jobs.yaml'",
        "  fluxbatch run 'my jobs.yaml' --simulate",
    ]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["cap.png"], "did you mean 'cup.png'"),
        (["x" * 300 + ".jpg"], "there is no such file"),
        (["notes.txt"], "neither a photo nor a table"),
        (["jobs.toml"], "fluxbatch plan jobs.toml"),
        (["empty"], "there are no photos"),
        (["cup.png", "empty"], "one folder, or one table"),
        (["empty.csv"], "the file is empty"),
        (["header.csv"], "has no rows"),
        (["cup.png", "-o", "jobs.txt"], "name it .yaml"),
        (["cup.png", "-o", "nowhere/jobs.yaml"], "can't be written"),
    ],
)
def test_what_it_can_not_begin_with(
    here: Path, args: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    photos_into(here, "cup.png")
    (here / "empty").mkdir()
    for name, text in {"notes.txt": "x", "jobs.toml": "x", "empty.csv": "", "header.csv": "id,photo\n"}.items():
        (here / name).write_text(text)

    assert call(*args) == 2
    assert words in capsys.readouterr().err
    assert not (here / "jobs.yaml").exists()
