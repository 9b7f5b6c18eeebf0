"""fluxbatch review: counts, and tables that people fill in."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import openpyxl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxbatch.planning.formulas import as_written, safe_cell
from fluxbatch.planning.reading.table import table_records
from tests.app.stage import Ran, run_command
from tests.review.folder import digest, make_folder

if TYPE_CHECKING:
    from collections.abc import Callable

COLUMNS = ["id", "file", "prompt", "model", "seed", "verdict", "note", "by", "at", "sha256"]
HOSTILE = [
    '=HYPERLINK("http://evil","x")',
    "+1", "-1", "-1+1", "@SUM(A1)", "'=1", "''=1", "'quoted'", "\tx", "＝1",
    "two\nlines", "two\r\nlines", "old\rmac", 'a "quoted", word; and\tmore', "<script>alert(1)</script>", "[/bold]",
    "\x1b[31mred\x07", "_x0041_ stays", "\u202egnp.exe", "😀 中文", " spaced ", "#N/A", "TRUE", "0012", "x" * 30_000,
]  # fmt: skip


def review(out: Path, *args: object, by: str = "Ann") -> Ran:
    return run_command("review", out, *(["--by", by] if "--import" in args else []), *args, cwd=out.parent)


def say(out: Path, **verdicts: str) -> None:
    """Through a table, as everything here."""
    path = out.parent / "said.csv"
    rows = [[job_id, digest(job_id), word] for job_id, word in verdicts.items()]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["id", "sha256", "verdict"], *rows])
    assert review(out, "--import", path).code == 0


def counts(out: Path) -> dict[str, int]:
    facts = json.loads(review(out, "--json").out)
    return {name: facts[name] for name in ("approved", "rejected", "unreviewed", "outdated")}


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def edit(path: Path, change: Callable[[dict[str, dict[str, Any]]], None]) -> None:
    """Change cells of a table as a spreadsheet would: ``change`` is given the rows by id."""
    if path.suffix == ".csv":
        rows = read(path)
        change({row["id"]: row for row in rows})
        with path.open("w", encoding="utf-8-sig", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, delimiter=";")
            writer.writeheader()
            writer.writerows(rows)
        return
    book = openpyxl.load_workbook(path)
    sheet = book.worksheets[0]
    table: list[dict[str, Any]] = [
        dict(zip(COLUMNS, [cell.value for cell in row], strict=True)) for row in sheet.iter_rows(min_row=2)
    ]
    change({str(row["id"]): row for row in table})
    for number, row in enumerate(table, 2):
        for column, name in enumerate(COLUMNS, 1):
            sheet.cell(number, column).value = row[name]
    book.save(path)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "jobs.yaml").touch()
    return make_folder(tmp_path / "out", {str(tmp_path / "jobs.yaml"): ["a", "b", "c", "d"]}).out


def test_counts(out: Path) -> None:
    say(out, a="approved", b="Rejected ", c="rejected")
    assert counts(out) == {"approved": 1, "rejected": 2, "unreviewed": 1, "outdated": 0}
    said = review(out).out
    assert "4 images: 1 approved, 2 rejected, 1 unreviewed, 0 outdated" in said
    assert str(out.parent / "reviews.jsonl") in said


@pytest.mark.parametrize("name", ["todo.csv", "todo.xlsx"])
def test_a_table_goes_out_is_filled_in_and_comes_back(out: Path, name: str) -> None:
    table = out.parent / name
    say(out, a="approved", b="rejected")
    assert review(out, "--export", table, "--verdict", "all").out == f"{table}: 4 images\n"
    again = review(out, "--import", table, "--json", by="Ben")
    nothing = dict.fromkeys(("approved", "rejected", "withdrawn", "notes", "prompts"), 0)
    assert json.loads(again.out) == nothing | {"unchanged": 4, "refused": [], "ignored": []}

    def fill_in(rows: dict[str, dict[str, Any]]) -> None:
        rows["a"]["verdict"] = ""
        rows["b"]["note"] = "too dark"
        rows["b"]["prompt"] = "the same, lighter\nand wider"
        rows["c"]["verdict"] = "APPROVED"
        rows["d"] |= {"verdict": "rejected", "note": "'=1+1", "seed": 7}

    edit(table, fill_in)
    facts = json.loads(review(out, "--import", table, "--json", by="Ben").out)
    assert {name: facts.pop(name) for name in nothing} == dict.fromkeys(nothing, 1)
    line = 6 if name == "todo.csv" else 5  # the prompt of b has two lines
    assert facts == {"unchanged": 0, "refused": [], "ignored": [{"line": line, "column": "seed"}]}
    assert counts(out) == {"approved": 1, "rejected": 2, "unreviewed": 1, "outdated": 0}
    wishes = [json.loads(line) for line in (out.parent / "remakes.jsonl").read_text().splitlines()]
    assert [(w["id"], w["round"], w["prompt"], w["by"]) for w in wishes] == [
        ("b", 0, "the same, lighter\nand wider", "Ben")
    ]

    then = out.parent / "then.csv"
    assert review(out, "--export", then).code == 0
    found = {row["id"]: row for row in read(then)}
    assert set(found) == {"b", "d"}
    assert (found["b"]["prompt"], found["b"]["note"]) == ("the same, lighter\nand wider", "too dark")
    assert (found["d"]["note"], found["d"]["by"]) == ("'=1+1", "Ben")
    edit(then, lambda rows: rows["b"].update(prompt="a picture of b"))
    assert json.loads(review(out, "--import", then, "--json").out)["prompts"] == 1
    assert review(out, "--export", then, "--force").code == 0
    assert {row["prompt"] for row in read(then)} == {"a picture of b", "a picture of d"}, "the wish is taken back"


@pytest.mark.parametrize("name", ["all.csv", "all.xlsx"])
def test_hostile_text_comes_back_as_it_was_and_is_no_formula(tmp_path: Path, name: str) -> None:
    ids = [f"job {n}" for n in range(len(HOSTILE))]
    (tmp_path / "jobs.yaml").touch()
    fields = {job_id: {"prompt": text} for job_id, text in zip(ids, HOSTILE, strict=True)}
    out = make_folder(tmp_path / "out", {str(tmp_path / "jobs.yaml"): ids}, fields=fields).out
    table = tmp_path / name
    assert review(out, "--export", table, "--verdict", "all").code == 0
    facts = json.loads(review(out, "--import", table, "--json").out)
    assert (facts["prompts"], facts["unchanged"], facts["ignored"]) == (0, len(ids), [])
    prompts = [str(cells[2]) for _, cells in table_records(table)][1:]
    for prompt in prompts:
        assert prompt[0] not in "=@\t＝"
        assert prompt[0] not in "+-" or float(prompt)
    if name == "all.csv":
        assert table.read_bytes().startswith(b"\xef\xbb\xbfid,file,prompt,")
        return
    sheet = openpyxl.load_workbook(table).worksheets[0]
    assert {cell.data_type for row in sheet.iter_rows() for cell in row} <= {"s", "n", "inlineStr"}
    rule = sheet.data_validations.dataValidation[0]
    assert (str(rule.sqref), rule.formula1) == (f"F2:F{len(ids) + 1}", '"approved,rejected"')


@given(st.text(max_size=12) | st.text("='+-@1 ", max_size=5))
def test_what_is_marked_against_formulas_is_got_back(text: str) -> None:
    cell = safe_cell(text)
    assert as_written(cell) == text
    assert not cell.startswith(("=", "@", "\t", "\r"))


def test_wrong_cells_are_named_all_at_once_and_nothing_is_taken_over(out: Path) -> None:
    table = out.parent / "todo.csv"
    review(out, "--export", table, "--verdict", "all")

    def fill_in(rows: dict[str, dict[str, Any]]) -> None:
        rows["a"]["verdict"] = "approved"
        rows["b"]["verdict"] = "aproved"
        rows["c"]["note"] = "x" * 10_001
        rows["d"]["prompt"] = "new, though nobody rejected it"

    edit(table, fill_in)
    table.write_text(table.read_text(encoding="utf-8-sig") + f"a;;;;;rejected;;;;{digest('a')}\n")
    done = review(out, "--import", table)
    assert done.code == 2
    for words in (
        "todo.csv:3: error: [b] verdict: 'aproved' is no verdict (did you mean 'approved'?)",
        "todo.csv:4: error: [c] note: has 10,001 characters",
        "todo.csv:5: error: [d] prompt: is a new one, for an image that is not rejected",
        "todo.csv:6: error: [a] id: stands in line 2 already",
        "nothing was taken over",
    ):
        assert words in done.err
    assert counts(out)["unreviewed"] == 4
    assert not (out.parent / "remakes.jsonl").exists()


def test_what_has_changed_since_is_refused_and_the_rest_goes_in(out: Path) -> None:
    table = out.parent / "todo.csv"
    say(out, c="approved")
    review(out, "--export", table, "--verdict", "all")

    def fill_in(rows: dict[str, dict[str, Any]]) -> None:
        for job_id, word in {"a": "approved", "b": "rejected", "c": "rejected"}.items():
            rows[job_id]["verdict"] = word
        rows["d"]["id"] = "0001"

    edit(table, fill_in)
    manifest = str(out.parent / "jobs.yaml")
    make_folder(out, {manifest: ["a", "b", "c", "d"]}, fields={"b": {"prompt": "as before"}})
    say(out, c="")
    make_folder(out, {manifest: ["a"]}, version=2)
    done = review(out, "--import", table, "--json", by="Ben")
    facts = json.loads(done.out)
    assert done.code == 1
    assert [(one["line"], one["id"]) for one in facts["refused"]] == [(2, "a"), (4, "c"), (5, "0001")]
    assert "the image has changed" in facts["refused"][0]["why"]
    assert "somebody else was at it since: withdrawn by Ann" in facts["refused"][1]["why"]
    assert facts["rejected"] == 1


def test_a_table_from_before_takes_back_nothing_that_others_asked_for(out: Path) -> None:
    mine, theirs = out.parent / "mine.csv", out.parent / "theirs.csv"
    say(out, a="rejected", b="rejected")
    review(out, "--export", mine)
    review(out, "--export", theirs)

    def ask(rows: dict[str, dict[str, Any]]) -> None:
        rows["a"]["prompt"] = "theirs"
        rows["b"]["note"] = "theirs"

    edit(theirs, ask)
    assert review(out, "--import", theirs, by="Ben").code == 0
    edit(mine, lambda rows: rows["b"].update(note="mine"))
    done = review(out, "--import", mine, "--json")
    facts = json.loads(done.out)
    assert (facts["prompts"], facts["unchanged"]) == (0, 1)
    assert [one["id"] for one in facts["refused"]] == ["b"]

    review(out, "--export", mine, "--force")
    assert {row["id"]: row["prompt"] for row in read(mine)} == {"a": "theirs", "b": "a picture of b"}
    edit(mine, lambda rows: rows["a"].update(prompt="a picture of a", note="better as it was"))
    facts = json.loads(review(out, "--import", mine, "--json").out)
    assert (facts["prompts"], facts["notes"], facts["refused"]) == (1, 1, [])
    review(out, "--export", mine, "--force")
    assert {row["prompt"] for row in read(mine)} == {"a picture of a", "a picture of b"}


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--export", "there.csv"], "there.csv is there already"),
        (["--export", "new.txt"], "'.txt' is no kind of table"),
        (["--export", "new.parquet"], "name it .csv or .xlsx"),
        (["--export", "no/such/folder.csv"], "can't be written: No such file"),
        (["--import", "none.csv"], "none.csv can't be read: No such file"),
        (["--import", "there.csv"], "there.csv:1: there is no column id, verdict, sha256"),
        (["--import", "there.csv", "--export", "new.csv"], "give one of them"),
        (["--import", "new.txt"], "'.txt' is no kind of table"),
    ],
)
def test_wrong_use(out: Path, args: list[str], said: str) -> None:
    (out.parent / "there.csv").write_text("one,two\n1,2\n")
    done = review(out, *args)
    assert done.code in {2, 3}
    assert said in done.err
    assert "Traceback" not in done.err
    assert not [path for path in out.parent.iterdir() if path.name.endswith(".new")]


def test_a_cell_that_excel_could_not_hold(tmp_path: Path) -> None:
    (tmp_path / "jobs.yaml").touch()
    long = {"a": {"prompt": "x" * 40_000}}
    out = make_folder(tmp_path / "out", {str(tmp_path / "jobs.yaml"): ["a"]}, fields=long).out
    done = review(out, "--export", tmp_path / "all.xlsx", "--verdict", "all")
    assert done.code == 2
    assert "40,000 characters" in done.err
    assert review(out, "--export", tmp_path / "all.csv", "--verdict", "all").code == 0
    assert json.loads(review(out, "--import", tmp_path / "all.csv", "--json").out)["unchanged"] == 1


@pytest.mark.slow
def test_ten_thousand_rows(tmp_path: Path) -> None:
    (tmp_path / "jobs.yaml").touch()
    ids = [f"job-{n:05}" for n in range(10_000)]
    out = make_folder(tmp_path / "out", {str(tmp_path / "jobs.yaml"): ids}).out
    table = tmp_path / "all.csv"
    assert review(out, "--export", table, "--verdict", "unreviewed").code == 0

    def reject(rows: dict[str, dict[str, Any]]) -> None:
        for row in rows.values():
            row["verdict"] = "rejected"

    edit(table, reject)
    assert json.loads(review(out, "--import", table, "--json").out)["rejected"] == 10_000
    assert Path(tmp_path / "reviews.jsonl").read_bytes().count(b"\n") == 10_000
