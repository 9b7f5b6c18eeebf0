"""Ids and file names: derived, safe, unique."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxbatch.planning.ids import clash_key, derived_seed, unsafe_name

if TYPE_CHECKING:
    from tests.planning.helpers import Desk


REFUSED = [
    *("../x", "a/../../x", "/etc/x", "a//b", "a/", ".hidden", "a/.b", "", " ", ".", "..", "a\\b"),
    *("a\nb", "a\x00b", "a\x85b", chr(0xD800), ".fluxbatch/ledger", "report/index", "Report/x"),
    *("results.jsonl", "RESULTS.jsonl", "a.jpg/b", "x" * 224, "é" * 112, "y" * 256 + "/a", "/".join(["z" * 100] * 11)),
]
FINE = [
    *("a", "a b", "a/b/c", "report", "results", "a.b", "Ünï", "图片/一", "a.jpg", "#FF0000", "~", "-x"),
    *("x" * 223, "é" * 111),
]


@pytest.mark.parametrize("name", REFUSED, ids=ascii)
def test_names_that_are_refused(name: str) -> None:
    assert unsafe_name(name)


@pytest.mark.parametrize("name", FINE, ids=ascii)
def test_names_that_are_fine(name: str) -> None:
    assert unsafe_name(name) == ""


@given(st.text(max_size=40) | st.lists(st.sampled_from(["..", ".", "", "a", "B", "/", "\\", "é"])).map("/".join))
def test_no_accepted_name_leaves_the_folder(name: str) -> None:
    if unsafe_name(name):
        return
    path = os.path.normpath(f"/out/{name}.jpg")
    assert path.startswith("/out/")
    assert path == f"/out/{name}.jpg"
    assert not any(part.startswith(".") for part in Path(name).parts)
    assert max(len(part.encode()) for part in path.split("/")) <= 255


@given(st.text(max_size=20))
def test_names_that_are_one_file_on_some_disk_have_one_key(name: str) -> None:
    assert clash_key(name) == clash_key(unicodedata.normalize("NFD", name))
    assert clash_key(name) == clash_key(clash_key(name))
    if name.isascii():
        assert clash_key(name.upper()) == clash_key(name.lower())


@given(st.text(st.characters(codec="utf-8")))
def test_seeds_are_stable_and_31_bits(job_id: str) -> None:
    assert 0 <= derived_seed(job_id) < 2**31
    assert derived_seed(job_id) == derived_seed(job_id)


def test_derived_ids(desk: Desk) -> None:
    desk.photo("shoes/Red Shoe (1).jpg")
    taken = desk.take_jobs(
        {"prompt": "A cat, sitting on the red mat in the sun"},
        {"prompt": "自然融合这两个图片"},
        {"prompt": "../../etc/passwd"},
        {"prompt": "…"},
        {"prompt": "x", "images": ["shoes/Red Shoe (1).jpg"]},
        {"prompt": "x", "images": ["https://example.com/a%20b/Blue%20Bird.png?sig=1"]},
    )

    assert taken.lines == []
    assert [job.id for job in taken.jobs] == [
        "a-cat-sitting-on-the-red-13aa8f4b",
        "自然融合这两个图片-9dc28679",
        "etc-passwd-7f87c7ca",
        "job-481f31db",
        "Red-Shoe-1-7c7fbbc7",
        "Blue-Bird-f599ffe6",
    ]


def test_clashes_name_the_first_place(desk: Desk) -> None:
    taken = desk.take(
        "jobs.yaml",
        "jobs:\n"
        "  - {id: cat, prompt: x}\n"
        "  - prompt: y\n"
        "    id: cat\n"
        "  - {id: Cat, prompt: z}\n"
        '  - {id: "caf\\u00e9", prompt: z}\n'
        '  - {id: "CAFE\\u0301", prompt: z}\n'
        "  - {prompt: same}\n"
        "  - {prompt: same, meta: {a: 1}}\n",
    )

    assert [line.partition(" (")[0] for line in taken.lines] == [
        "jobs.yaml:4: error: [cat] id: the id 'cat' is taken by jobs.yaml:2",
        "jobs.yaml:5: error: [Cat] filename: the file name 'Cat' is also that of 'cat' at jobs.yaml:2",
        "jobs.yaml:7: error: [CAFE\u0301] filename: the file name 'CAFE\u0301' is also that of 'café' at jobs.yaml:6",
        "jobs.yaml:9: error: [same-b0d97f83] the job is the same as the one at jobs.yaml:8",
    ]
    assert [job.id for job in taken.jobs] == ["cat", "café", "same-b0d97f83"]
    assert (taken.total, taken.unusable) == (7, 4)


def test_ids_are_unique_even_if_file_names_differ(desk: Desk) -> None:
    taken = desk.take(
        "jobs.yaml", "filename: '{{ seed }}'\njobs: [{id: a, prompt: x, seed: 1}, {id: a, prompt: x, seed: 2}]"
    )

    assert "the id 'a' is taken by jobs.yaml:2" in taken.line


@pytest.mark.parametrize("job_id", ["007", "1", "0x1F"])
def test_ids_that_look_like_numbers_stay_as_written(desk: Desk, job_id: str) -> None:
    assert desk.take("jobs.yaml", f"jobs: [{{id: {job_id}, prompt: x}}]").job.id == job_id


def test_an_unsafe_id_is_reported_and_counted(desk: Desk) -> None:
    taken = desk.take("a.csv", "id,prompt\n../../root,x\n")

    assert taken.line == (
        "a.csv:2: error: [../../root] id: the id '../../root' leaves the output folder or goes in circles "
        "(use letters, digits, '-', '_' and '.')"
    )
    assert (taken.jobs, taken.unusable) == ([], 1)
