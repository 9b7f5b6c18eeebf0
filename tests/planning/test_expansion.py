"""What becomes of an entry that asks for several jobs, and of jobs that take each other's images: ids, seeds, order,
circles, and whoever can't be made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxbatch.model.job import JobOutput
from fluxbatch.model.state import Reason
from fluxbatch.planning.fingerprint import fingerprint
from fluxbatch.planning.ids import derived_seed
from fluxbatch.planning.intake import JobList
from tests.app.stage import run_command
from tests.planning.helpers import take

if TYPE_CHECKING:
    from fluxbatch.model.job import Json, PlannedJob
    from tests.planning.helpers import Desk, Taken

LINKS = 1000
REMOTE = "https://example.com/a.png"


def job(job_id: str, *needs: str, **fields: Json) -> dict[str, Json]:
    """An entry that takes the images of these jobs."""
    return {"id": job_id, "prompt": job_id, "images": [{"job": name} for name in needs], **fields}


def seeds(taken: Taken) -> dict[str, Json]:
    return {one.id: one.fields["seed"] for one in taken.jobs}


def prompts(taken: Taken) -> dict[str, Json]:
    return {one.id: one.fields["prompt"] for one in taken.jobs}


def sources(one: PlannedJob) -> list[str]:
    """Where its images come from."""
    return [image.job if isinstance(image, JobOutput) else image.ref for image in one.images]


def by_id(taken: Taken) -> dict[str, PlannedJob]:
    return {one.id: one for one in taken.jobs}


def defects(taken: Taken) -> dict[str, tuple[Reason, str]]:
    return {one.id: (one.defect.reason, one.defect.message) for one in taken.jobs if one.defect is not None}


# --------------------------------------------------------------------------------------------------------- variants
def test_a_seed_that_is_written_is_counted_on(desk: Desk) -> None:
    taken = desk.take_jobs(job("a", seed=41, variants=3))

    assert seeds(taken) == {"a-1": 41, "a-2": 42, "a-3": 43}
    assert len({one.fingerprint for one in taken.jobs}) == 3
    assert (taken.total, taken.lines) == (3, [])


def test_the_seed_of_a_step_is_counted_on_as_well(desk: Desk) -> None:
    taken = desk.take_jobs({"id": "a", "seed": 7, "variants": 2, "chain": ["One", {"prompt": "Two", "seed": 9}]})

    assert seeds(taken) == {"a-1-step1": 7, "a-1": 9, "a-2-step1": 8, "a-2": 10}


def test_seeds_begin_again_at_the_top(desk: Desk) -> None:
    assert seeds(desk.take_jobs(job("a", seed=(1 << 32) - 2, variants=4))) == {
        "a-1": (1 << 32) - 2,
        "a-2": (1 << 32) - 1,
        "a-3": 0,
        "a-4": 1,
    }


def test_without_a_seed_each_variant_has_that_of_its_id(desk: Desk) -> None:
    taken = desk.take_jobs(job("a", variants=100))

    assert seeds(taken) == {f"a-{number}": derived_seed(f"a-{number}") for number in range(1, 101)}
    assert len(set(seeds(taken).values())) == 100
    assert seeds(desk.take_jobs(job("a", variants=3))).items() <= seeds(taken).items(), "more of them change no other"


def test_one_variant_is_the_job_itself(desk: Desk) -> None:
    assert desk.take_jobs(job("a", seed=7, variants=1)).jobs == desk.take_jobs(job("a", seed=7)).jobs


def test_a_derived_id_is_numbered_too(desk: Desk) -> None:
    found = [one.id for one in desk.take_jobs({"prompt": "A lake", "variants": 2}).jobs]

    assert [name.rpartition("-")[0] for name in found] == [found[0][:-2]] * 2
    assert [name.rpartition("-")[2] for name in found] == ["1", "2"]
    assert found[0].startswith("a-lake-")


def test_a_variant_whose_id_is_taken_is_told_at_the_later_job(desk: Desk) -> None:
    taken = desk.take_jobs(job("a", variants=3), job("a-2"))

    assert taken.line == (
        "python:2: error: [a-2] id: the id 'a-2' is taken by python:1 (give each job an id of its own)"
    )
    assert (taken.total, taken.unusable) == (4, 1)
    assert list(prompts(taken)) == ["a-1", "a-2", "a-3"]


@pytest.mark.parametrize("number", [0, 1001])
def test_no_variant_or_too_many_are_an_error(desk: Desk, number: int) -> None:
    assert desk.take_jobs(job("a", variants=number)).line.startswith(
        f"python:1: error: [a] variants: {number} is out of range (1 to 1000)"
    )


# ----------------------------------------------------------------------------------------------------------- chains
def test_the_steps_of_a_chain_are_numbered_and_the_last_has_the_id(desk: Desk) -> None:
    desk.photo("cup.jpg")
    chain: list[Json] = ["Make it red", {"prompt": "Add image 2", "images": [REMOTE], "seed": 9}, "In oil"]

    taken = desk.take_jobs({"id": "cup", "images": ["cup.jpg"], "seed": 5, "chain": chain})

    assert prompts(taken) == {"cup-step1": "Make it red", "cup-step2": "Add image 2", "cup": "In oil"}
    assert {one.id: sources(one) for one in taken.jobs} == {
        "cup-step1": ["cup.jpg"],
        "cup-step2": ["cup-step1", REMOTE],
        "cup": ["cup-step2"],
    }
    assert seeds(taken) == {"cup-step1": 5, "cup-step2": 9, "cup": 5}
    assert taken.total == 3


def test_a_chain_of_one_step_is_a_plain_job(desk: Desk) -> None:
    (chained,) = desk.take_jobs({"id": "a", "chain": ["x"]}).jobs
    (plain,) = desk.take_jobs({"id": "a", "prompt": "x"}).jobs

    assert chained == plain


def test_each_variant_has_a_chain_of_its_own(desk: Desk) -> None:
    taken = desk.take_jobs({"id": "a", "seed": 5, "variants": 2, "chain": ["one", "two", "three"]})

    found = by_id(taken)
    assert {name: sources(one) for name, one in found.items()} == {
        "a-1-step1": [],
        "a-1-step2": ["a-1-step1"],
        "a-1": ["a-1-step2"],
        "a-2-step1": [],
        "a-2-step2": ["a-2-step1"],
        "a-2": ["a-2-step2"],
    }
    assert {name: one.fields["seed"] for name, one in found.items()} == {
        name: 5 if name.startswith("a-1") else 6 for name in found
    }
    assert (taken.total, taken.lines) == (6, [])


def test_variants_of_a_chain_without_a_seed_differ_from_the_first_step_on(desk: Desk) -> None:
    taken = desk.take_jobs({"id": "a", "variants": 3, "chain": ["one", "two"]})

    assert len(set(seeds(taken).values())) == 6
    assert len({one.fingerprint for one in taken.jobs if "step" not in one.id}) == 3


def test_what_is_wrong_with_a_step_is_told_there_and_takes_the_later_ones_along(desk: Desk) -> None:
    taken = desk.take_jobs({"id": "a", "chain": ["one", {"prompt": "two", "images": ["gone.jpg"]}, "three"]})

    assert "there is no such file" in taken.line
    assert defects(taken).keys() == {"a-step2", "a"}
    assert defects(taken)["a-step2"][0] is Reason.BAD_IMAGE
    assert defects(taken)["a"] == (Reason.DEPENDENCY_FAILED, "needs 'a-step2', which can't be made: bad_image")


def test_the_image_of_a_variant_and_of_a_step_can_be_taken(desk: Desk) -> None:
    taken = desk.take_jobs(
        job("after", "a-2", "b-step1"), job("a", variants=2), {"id": "b", "chain": ["one", "two"], "images": []}
    )

    assert taken.lines == []
    assert sources(by_id(taken)["after"]) == ["a-2", "b-step1"]
    assert [one.id for one in taken.jobs].index("after") > [one.id for one in taken.jobs].index("a-2")


# ------------------------------------------------------------------------------------------------------ who needs whom
def test_who_needs_others_comes_after_them_and_keeps_its_place(desk: Desk) -> None:
    taken = desk.take_jobs(job("c", "b", "a"), job("b", "a"), job("a"), job("d"))

    order = [one.id for one in taken.jobs]
    assert order.index("a") < order.index("b") < order.index("c")
    assert {one.id: one.position for one in taken.jobs} == {"c": 0, "b": 1, "a": 2, "d": 3}
    assert taken.lines == []


@pytest.mark.parametrize("backwards", [False, True], ids=["in order", "the last one first"])
def test_a_chain_of_a_thousand_links_is_planned(desk: Desk, *, backwards: bool) -> None:
    """Fingerprints follow from link to link, so that a change of the first is one of all."""
    entries = [job("0"), *(job(str(number), str(number - 1)) for number in range(1, LINKS))]

    taken = desk.take_jobs(*(reversed(entries) if backwards else entries))

    assert taken.lines == []
    assert [one.id for one in taken.jobs] == [str(number) for number in range(LINKS)]
    mark: list[str] = []
    for one in taken.jobs:
        assert one.fingerprint == fingerprint({"prompt": one.id}, mark, {})
        mark = [f"job:{one.fingerprint}"]


def test_a_thousand_jobs_may_need_one(desk: Desk) -> None:
    taken = desk.take_jobs(*(job(str(number), "all") for number in range(LINKS)), job("all"))

    assert taken.lines == []
    assert [one.id for one in taken.jobs] == ["all", *map(str, range(LINKS))]


# ---------------------------------------------------------------------------------------------------------- circles
@pytest.mark.parametrize(
    ("entries", "line"),
    [
        ([job("a", "a")], "python:1: error: [a] images[1]: needs itself: a → a"),
        ([job("a", "b"), job("b", "a")], "python:1: error: [a] images[1]: needs itself: a → b → a"),
        (
            [job("e", "d"), job("d", "a"), job("a", "b"), job("b", "c"), job("c", "a")],
            "python:3: error: [a] images[1]: needs itself: a → b → c → a",
        ),
        (
            [job("begin"), job("a", "begin", "b"), job("b", "a")],
            "python:2: error: [a] images[2]: needs itself: a → b → a",
        ),
    ],
    ids=["of one", "of two", "with rows before it that stand behind it", "with a way out"],
)
def test_a_circle_is_told_once_with_the_way_around(desk: Desk, entries: list[dict[str, Json]], line: str) -> None:
    taken = desk.take_jobs(*entries)

    assert taken.line == f"{line} (one of these jobs has to begin with a photo, or with none)"
    assert (taken.errors, taken.total, len(taken.jobs)) == (1, len(entries), len(entries))
    assert defects(taken).keys() == {str(entry["id"]) for entry in entries} - {"begin"}
    assert sorted(reason for reason, _ in defects(taken).values()) == sorted(
        [Reason.INVALID_REQUEST, *[Reason.DEPENDENCY_FAILED] * (len(defects(taken)) - 1)]
    )


def test_each_circle_is_told(desk: Desk) -> None:
    taken = desk.take_jobs(job("a", "b"), job("b", "a"), job("c", "d"), job("d", "c"), job("e", "a", "c"), job("f"))

    assert [line.partition(" (")[0] for line in taken.lines] == [
        "python:1: error: [a] images[1]: needs itself: a → b → a",
        "python:3: error: [c] images[1]: needs itself: c → d → c",
    ]
    assert defects(taken).keys() == set("abcde")


def test_of_a_long_circle_the_beginning_is_shown(desk: Desk) -> None:
    entries = [job(str(number), str((number + 1) % LINKS)) for number in range(LINKS)]

    taken = desk.take_jobs(*entries)

    assert "needs itself: 0 → 1 → 2 → 3 → 4 → 5 → 6 → 7 → … → 0 (" in taken.line
    assert len(defects(taken)) == LINKS


@given(st.lists(st.sets(st.integers(0, 7), max_size=3), min_size=8, max_size=8))
def test_however_jobs_need_each_other_only_circles_are_in_the_way(needs: list[set[int]]) -> None:
    """Of those that stand in a circle or behind one, none can be made; all others come after what they need."""
    taken = take(JobList([job(str(n), *map(str, sorted(needed))) for n, needed in enumerate(needs)], Path()))

    ready: set[str] = set()
    while more := {str(n) for n, needed in enumerate(needs) if set(map(str, needed)) <= ready} - ready:
        ready |= more
    order = [one.id for one in taken.jobs]
    assert sorted(order) == [str(n) for n in range(8)]
    assert defects(taken).keys() == set(order) - ready
    assert bool(taken.errors) == (len(ready) < 8)
    for one in taken.jobs:
        if one.id in ready:
            assert set(one.needs) <= set(order[: order.index(one.id)])


# --------------------------------------------------------------------------------------------- what can't be made
@pytest.mark.parametrize(
    ("needed", "remedy"),
    [
        ("portait", "did you mean 'portrait'?"),
        ("Portrait", "did you mean 'portrait'?"),
        ("elsewhere", "name its manifest too, or mend the id"),
    ],
)
def test_an_id_that_no_job_has_is_an_error_with_a_suggestion(desk: Desk, needed: str, remedy: str) -> None:
    taken = desk.take_jobs(job("portrait"), job("oil", "portrait", needed))

    assert taken.line == f"python:2: error: [oil] images[2]: there is no job {needed!r} ({remedy})"
    assert defects(taken) == {"oil": (Reason.INVALID_REQUEST, f"images[2]: there is no job {needed!r}")}


def test_a_job_of_another_manifest_can_be_needed(desk: Desk) -> None:
    first = desk.write("one.jsonl", json.dumps(job("b", "a")))
    second = desk.write("two.jsonl", json.dumps(job("a")))

    alone, both = (take(*files, root=desk.folder) for files in ((first,), (first, second)))

    assert "there is no job 'a' (name its manifest too, or mend the id)" in alone.line
    assert both.lines == []
    assert [one.id for one in both.jobs] == ["a", "b"]


def test_who_needs_an_invalid_job_is_no_error_of_its_own(desk: Desk) -> None:
    taken = desk.take_jobs(job("c", "b"), job("b", "a"), job("a", width=100, height=64), job("d"))

    assert taken.line == "python:3: error: [a] width: 100 is not a multiple of 16 (write 96)"
    assert defects(taken) == {
        "a": (Reason.INVALID_REQUEST, "width: 100 is not a multiple of 16"),
        "b": (Reason.DEPENDENCY_FAILED, "needs 'a', which can't be made: invalid_request"),
        "c": (Reason.DEPENDENCY_FAILED, "needs 'b', which can't be made: dependency_failed"),
    }


def test_what_is_wrong_with_a_job_itself_is_said_before_what_it_needs(desk: Desk) -> None:
    taken = desk.take_jobs(job("a", width=100, height=64), job("b", "a", width=100, height=64))

    assert len(taken.lines) == 2
    assert {reason for reason, _ in defects(taken).values()} == {Reason.INVALID_REQUEST}


def test_invalid_jobs_are_left_out_together_with_what_needs_them(desk: Desk) -> None:
    source = desk.write(
        "jobs.jsonl", "\n".join(map(json.dumps, [job("a", seed=-1), job("b", "a"), job("c"), job("d", "c")]))
    )
    command = ("plan", source.path, "--simulate", "--json")

    refused = run_command(*command, cwd=desk.folder)
    skipped = run_command(*command, "--on-invalid", "skip", cwd=desk.folder)

    assert refused.code == 2
    assert refused.err.count("error: ") == 1
    assert skipped.code == 0, skipped.err
    assert {one["id"]: (one["action"], one["why"]) for one in skipped.summary["jobs"]} == {
        "a": ("refuse", "invalid_request: seed: -1 is out of range"),
        "b": ("refuse", "dependency_failed: needs 'a', which can't be made: invalid_request"),
        "c": ("make", "new"),
        "d": ("make", "new"),
    }
