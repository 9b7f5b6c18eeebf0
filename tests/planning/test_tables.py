"""Rows: CSV, TSV, Excel, Parquet, JSONL, OpenAI Batch files."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from tests.planning.helpers import Desk


def test_a_csv_with_columns_of_its_own(desk: Desk) -> None:
    desk.photo("p/a.jpg")
    desk.photo("p/b.jpg", "grass.jpg")

    taken = desk.take(
        "shop.csv",
        "id,prompt,images,seed,prompt_upsampling,sku,weight,meta.fit,meta\r\n"
        'one,"first\r\nsecond line",p/a.jpg | p/b.jpg,7,yes,A-1,3 kg,slim,"{""shelf"": 2}"\r\n'
        ",,,,,,,,\r\n"
        "two,plain,,,,,,,\r\n",
    )

    assert taken.lines == []
    one, two = taken.jobs
    assert one.fields["prompt"] == "first\r\nsecond line"
    assert (one.fields["seed"], one.fields["prompt_upsampling"]) == (7, True)
    assert [image.ref for image in one.images] == ["p/a.jpg", "p/b.jpg"]
    assert one.meta == {"sku": "A-1", "weight": "3 kg", "fit": "slim", "shelf": 2}
    assert (two.meta, two.images, two.fields["prompt"]) == ({}, (), "plain")
    assert taken.outs == [(str(desk.folder / "shop.csv"), None, desk.folder / "shop-out")]


def test_images_in_a_cell_may_stand_on_lines(desk: Desk) -> None:
    desk.photo("a.jpg")
    desk.photo("b.jpg")

    job = desk.take("a.tsv", 'prompt\timages\nx\t"a.jpg\nb.jpg\n"\n').job

    assert [image.ref for image in job.images] == ["a.jpg", "b.jpg"]


def test_spreadsheets_of_half_of_europe_write_semicolons(desk: Desk) -> None:
    job = desk.take("a.csv", "\ufeffid;prompt\na;one, two\n").job

    assert job.fields["prompt"] == "one, two"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "prompt,seed\nx,7,8\n",
            "2: error: the row has 3 cells, the header 2 (a cell that contains the",
        ),
        ('id,prompt\na,"multi\nline"\nb,x,y\n', "4: error: the row has 3 cells, the header 2"),
        ('id,prompt\na,"never\nclosed\n', "2: error: a quote that opens here is never closed"),
        ('id,prompt\na,"x"y\n', '2: error: text follows a closing quote (write " within a cell as "")'),
        (
            "Prompt\nx\n",
            "1: error: Prompt: 'Prompt' is not a field (did you mean 'prompt'? A column of your own: 'meta.P",
        ),
        ("id,promt\na,x\n", "1: error: promt: 'promt' is not a field (did you mean 'prompt'?"),
        (
            "prompt,input-image\nx,a.jpg\n",
            "1: error: input-image: 'input-image' is not a field (did you mean 'input_image",
        ),
        ("prompt,image\nx,a.jpg\n", "1: error: image: 'image' is not a field (did you mean 'images'?"),
        ("prompt,prompt\nx,y\n", "1: error: prompt: the column 'prompt' stands twice (rename one)"),
        ("prompt,\nx,y\n", "1: error: column 2: column 2 has no name (name it, or remove it)"),
        ("prompt,api_key\nx,sk-123\n", "1: error: api_key: a manifest can't set this"),
        (
            "red fox,snow\nblue bird,sky\n",
            "1: error: no column is a field of a job: 'red fox', 'snow' (the first row",
        ),
        ("id,prompt\n", "error: has no rows (write a header, then a row for each job)"),
        ("id,prompt,seed\na,x,12.5\n", "2: error: [a] seed: '12.5' is not a whole number"),
        (
            "id,prompt,prompt_upsampling\na,x,maybe\n",
            "2: error: [a] prompt_upsampling: 'maybe' is neither true nor",
        ),
        ("id,prompt,extra\na,x,new=1\n", "2: error: [a] extra: is not a mapping of names to values"),
        (
            "id,prompt,input_image,input_image_3\na,x,a.jpg,b.jpg\n",
            "2: error: [a] input_image_3: input_image_3 is given",
        ),
    ],
)
def test_what_is_wrong_with_a_csv(desk: Desk, text: str, expected: str) -> None:
    lines = desk.take("a.csv", text).lines

    assert lines[0].startswith("a.csv:" + expected if expected[0].isdigit() else f"a.csv: {expected}")
    assert "sk-123" not in "".join(lines)


def test_a_column_that_is_wrong_is_one_finding_and_fatal(desk: Desk) -> None:
    taken = desk.take("a.csv", "id,prompt,Seed\na,x,1\nb,y,2\n")

    assert (taken.errors, taken.fatal) == (1, 1)


def test_the_line_of_a_byte_that_is_no_utf8(desk: Desk) -> None:
    taken = desk.take("a.csv", b"id,prompt\na,fine\nb,caf\xe9\nc,x\n")

    assert taken.line == (
        "a.csv:3: error: is not UTF-8 text: byte 0xe9 (save it as 'CSV UTF-8'; a catalog may say 'encoding: cp1252')"
    )
    assert [job.id for job in taken.jobs] == ["a"]


def test_jsonl_is_utf8(desk: Desk) -> None:
    assert "is UTF-16 text (save it as UTF-8" in desk.take("a.jsonl", '{"prompt": "x"}'.encode("utf-16")).line


def test_jsonl_rows_and_api_bodies(desk: Desk) -> None:
    desk.photo("a.jpg")
    rows = [
        {
            "id": "row",
            "prompt": "x",
            "images": "a.jpg|https://example.com/b.png",
            "sku": [1, 2],
            "seed": None,
            "size": "",
        },
        {"model": "flux-2-max", "prompt": "x", "input_image": "a.jpg", "input_image_2": "https://example.com/b.png"},
    ]

    taken = desk.take("a.jsonl", "\ufeff" + "\n\n".join(json.dumps(row) for row in rows))

    assert taken.lines == []
    row, body = taken.jobs
    assert row.meta == {"sku": [1, 2]}
    assert [image.ref for image in row.images] == [image.ref for image in body.images]
    assert (body.model, body.id[:2]) == ("flux-2-max", "a-")


def test_a_row_of_an_openai_batch_file_is_a_job(desk: Desk) -> None:
    body = {"model": "flux-kontext-pro", "prompt": "x", "n": 1, "response_format": "url"}
    row = {"custom_id": "request-1", "method": "POST", "url": "/v1/images/generations", "body": body}

    job = desk.take("batch.jsonl", json.dumps(row)).job

    assert (job.id, job.model, job.fields["prompt"]) == ("request-1", "flux-kontext-pro", "x")
    assert "n" not in job.fields
    assert "response_format" not in job.fields


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("[1]", 'is not a JSON object (write {"prompt": "…"})'),
        ('{"prompt": ', "is not valid JSON: "),
        ('{"prompt": "x", "prompt": "y"}', "the key 'prompt' stands twice (keep one)"),
        ('{"prompt": "x", "\\u0070rompt" : "y"}', "the key 'prompt' stands twice (keep one)"),
        ('{"prompt": "a: b", "extra": {"new": [{"a": 1, "a"\t: 2}]}}', "the key 'a' stands twice (keep one)"),
        ('{"custom_id": "a", "body": {"prompt": "x", "seed": 1, "seed": 2}}', "the key 'seed' stands twice (keep one)"),
        ('{"meta": {"a": ' + "[" * 1000 + '{"a": 1}' + "]" * 1000 + "}}", "is nested too deeply"),
        ('{"promt": "x", "id": "a"}', "[a] promt: 'promt' is not a field (did you mean 'prompt'?"),
        ('{"custom_id": "a", "body": 1}', "body: is not a JSON object"),
        ('{"custom_id": "a", "url": "/v1/chat/completions", "body": {}}', "url: the row is for another service"),
        ('{"custom_id": "a", "method": "GET", "body": {}}', "method 'GET' makes no images (write POST)"),
        ('{"custom_id": "a", "bod": 1, "body": {}}', "'bod' is not a key of an OpenAI Batch row"),
        ('{"custom_id": "a", "body": {"prompt": "x", "n": 2}}', "[a] n: 'n' is not a field of a job"),
        (
            '{"id": "a", "prompt": "x", "input_image": "data:image/png;base64,AAAA"}',
            "[a] input_image: is a data: URL of",
        ),
        (
            '{"id": "a", "prompt": "x", "images": [{"job": "b"}]}',
            "[a] images[1]: there is no job 'b'",
        ),
        ('{"id": "a", "prompt": "x", "images": [3]}', "[a] images[1]: 3 is not a path or URL"),
        ('{"id": "a", "prompt": "x", "images": {"a": 1}}', "[a] images: a mapping is not a list of images"),
        (
            '{"id": "a", "prompt": "x", "images": "a.jpg", "input_image": "b.jpg"}',
            "[a] images: both 'images' and",
        ),
        ('{"id": 1.5, "prompt": "x"}', 'id: 1.5 is not text (write it in quotes: "1.5")'),
    ],
)
def test_what_is_wrong_with_a_jsonl_row(desk: Desk, row: str, expected: str) -> None:
    lines = desk.take("a.jsonl", '{"id": "fine", "prompt": "x"}\n\n' + row + "\n").lines

    assert lines[0].startswith("a.jsonl:3: error: ")
    assert expected in lines[0]


def test_a_json_document_named_jsonl(desk: Desk) -> None:
    assert "a JSON document, not JSON Lines (name the file .json" in desk.take("a.jsonl", '{\n"jobs": []\n}').lines[0]


def test_rows_that_can_not_be_used_are_counted_apart(desk: Desk) -> None:
    taken = desk.take("a.jsonl", '{"id": "a", "prompt": "x"}\nbroken\n{"id": "../b", "prompt": "x"}\n{"id": "c"}\n')

    assert (taken.total, taken.unusable, taken.errors, taken.fatal) == (4, 2, 3, 0)
    assert [(job.id, job.position, job.defect is None) for job in taken.jobs] == [("a", 0, True), ("c", 3, False)]


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), min_size=1, max_size=40).filter(str.strip)
CELLS = st.fixed_dictionaries({"prompt": TEXT, "sku": TEXT, "own column": TEXT})


@given(rows=st.lists(CELLS, min_size=1, max_size=6), tabs=st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_a_csv_writer_wrote_is_read_back(desk: Desk, rows: list[dict[str, str]], *, tabs: bool) -> None:
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, ["id", *rows[0]], delimiter="\t" if tabs else ",")
    writer.writeheader()
    writer.writerows({"id": str(number), **row} for number, row in enumerate(rows))

    taken = desk.take("a.tsv" if tabs else "a.csv", file.getvalue())

    assert taken.errors == 0
    assert [{"prompt": job.fields["prompt"], **job.meta} for job in taken.jobs] == rows


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(codec="utf-8"), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(
    values=st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=5), JSON | st.just('":'), max_size=4),
    key=st.text(st.characters(codec="utf-8"), max_size=5),
    depth=st.integers(0, 3),
    space=st.sampled_from(["", " ", "\t "]),
    as_ascii=st.booleans(),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_key_that_stands_twice_is_always_found(
    desk: Desk, *, values: dict[str, Any], key: str, depth: int, space: str, as_ascii: bool
) -> None:
    def written(value: Any) -> str:
        return json.dumps(value, ensure_ascii=as_ascii, separators=(",", f"{space}:"))

    once = {**values, key: 1}
    row = written(once)[:-1] + f",{json.dumps(key)}{space}:2}}"
    fine = written(once)
    for _ in range(depth):
        row, fine = (f'{{"a":{inner},"b":[":"]}}' for inner in (row, fine))

    taken = desk.take("a.jsonl", f'{{"id":"a","meta":{row}}}\n{{"id":"b","meta":{fine}}}\n')

    assert "stands twice (keep one)" in taken.lines[0]
    assert [job.id for job in taken.jobs] == ["b"]


@given(
    metas=st.lists(
        st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=5), JSON, max_size=3), min_size=1, max_size=4
    )
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_meta_comes_back_as_it_was_from_jsonl_and_json(desk: Desk, metas: list[dict[str, Any]]) -> None:
    jobs = [{"id": str(number), "prompt": "x", "meta": meta} for number, meta in enumerate(metas)]

    rows = desk.take(
        "a.jsonl", "\n".join(json.dumps(job, ensure_ascii=number % 2 == 0) for number, job in enumerate(jobs))
    )
    document = desk.take("a.json", json.dumps({"jobs": jobs}, indent=1))

    assert rows.errors == document.errors == 0
    assert [job.meta for job in rows.jobs] == [job.meta for job in document.jobs] == metas
