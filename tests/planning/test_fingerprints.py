"""Fingerprints are pinned: a change of these values buys every image of every user again."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from fluxbatch.planning.fingerprint import fingerprint, short_digest
from fluxbatch.planning.ids import derived_seed

if TYPE_CHECKING:
    from fluxbatch.model.job import Json
    from tests.planning.helpers import Desk


@pytest.mark.parametrize(
    ("fields", "images", "extra", "golden"),
    [
        ({"prompt": "x"}, [], {}, "5c59d6fabcf7d28189578cb1b97a6a726d41f018d1d4e5ead158490ae41d6553"),
        (
            {"prompt": "自然融合这两个图片", "model": "flux-2-pro", "seed": 42},
            ["ab" * 32, "https://e.com/a.png"],
            {},
            "8a40be0509ff4db56ba8ddaa4146ca35d6a38b8c21a2d03ebec95333c87018fb",
        ),
        (
            {"prompt": "x", "guidance": 4.0, "prompt_upsampling": False},
            [],
            {"new": [1, None, {"b": 2, "a": 1}]},
            "b3e80f206f77b14036f41fb5e1d89877300c37b8f5b58a481b592e6d517638d6",
        ),
    ],
)
def test_golden_values(fields: dict[str, Json], images: list[str], extra: dict[str, Json], golden: str) -> None:
    assert fingerprint(fields, images, extra) == golden
    assert short_digest(fields, images, extra) == golden[:8]


@pytest.mark.parametrize(
    ("images", "fit", "golden"),
    [
        (["job:" + "ab" * 32], {}, "db069f3a2d038ad2b09b94f9794bd1e6634bf9c12492358e6e542777a0e89af6"),
        (["job:" + "ab" * 32 + "#2"], {}, "e571b483225400d152f88c2d45f48cadde4b315b153df18ecc222784813e136a"),
        (["ab" * 32], {"long_edge": 1024}, "3f6f8f3f116208ff6fbd91bdda21952b281688f582977e6a28a2db588ae1c0ce"),
        (["ab" * 32], {"off": True}, "7d9e3f4c19f5b4af5d4ee160537167b86bf92ed9d7764e8c541050846c20c760"),
    ],
    ids=["output", "output of a variant", "fit", "no fit"],
)
def test_golden_values_of_outputs_and_fits(images: list[str], fit: dict[str, Json], golden: str) -> None:
    assert fingerprint({"prompt": "x"}, images, {}, fit) == golden


def test_golden_values_of_a_chain(desk: Desk) -> None:
    jobs = desk.take_jobs(
        {"id": "a", "chain": ["one", "two"], "variants": 2},
        {"id": "b", "prompt": "three", "images": [{"job": "a-2"}], "fit": "auto"},
    ).jobs
    found = {job.id: job.fingerprint for job in jobs}
    first = fingerprint({"prompt": "one"}, [], {})
    last = [fingerprint({"prompt": "two"}, [f"job:{first}{variant}"], {}) for variant in ("", "#2")]
    assert found == {
        "a-1-step1": first,
        "a-2-step1": first,
        "a-1": last[0],
        "a-2": last[1],
        "b": fingerprint({"prompt": "three"}, [f"job:{last[1]}#2"], {}),
    }


def test_golden_seeds() -> None:
    assert [derived_seed(job_id) for job_id in ("a", "petting", "图")] == [393621469, 1526431404, 1202051755]


def test_golden_value_of_a_real_job(desk: Desk) -> None:
    desk.photo("a.jpg", "person.jpg")

    assert (
        desk.take_jobs({"id": "a", "prompt": "x", "images": ["a.jpg"]}).job.fingerprint
        == "10e079247292383f3af4866453549675a33f589fa2421bfab416cced6a9a405e"
    )


def test_what_does_not_matter(desk: Desk) -> None:
    desk.photo("a.jpg")
    desk.photo("moved/b.jpg")
    job: dict[str, Json] = {"id": "a", "prompt": "x", "seed": 7, "images": ["a.jpg"]}
    same: list[dict[str, Json]] = [
        job,
        {"images": ["moved/b.jpg"], "seed": "7", "prompt": "x", "id": "b"},
        {"id": "c", "prompt": "x", "seed": 7.0, "input_image": "a.jpg"},
        {**job, "id": "d", "meta": {"a": 1}, "steps": None},
    ]

    assert len({each.fingerprint for each in desk.take_jobs(*same).jobs}) == 1
    named = desk.take("n.json", json.dumps({"filename": "x-{{ id }}", "jobs": [job]}))
    defaults = desk.take(
        "d.json", json.dumps({"defaults": {"seed": 7, "prompt": "y"}, "jobs": [{**job, "seed": None}]})
    )
    table = desk.take("t.csv", "id,prompt,seed,images,sku\na,x,7,a.jpg,K\n")
    assert named.job.fingerprint == table.job.fingerprint == desk.take_jobs(job).job.fingerprint
    assert defaults.job.fingerprint != named.job.fingerprint


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "y"},
        {"model": "flux-2-pro"},
        {"seed": 8},
        {"output_format": "jpeg"},
        {"prompt_upsampling": False},
        {"extra": {"new": 1}},
        {"images": ["b.jpg"]},
        {"images": ["a.jpg", "a.jpg"]},
        {"images": ["https://example.com/a.jpg"]},
    ],
)
def test_what_matters(desk: Desk, change: dict[str, Json]) -> None:
    desk.photo("a.jpg")
    desk.photo("b.jpg", "grass.jpg")
    job: dict[str, Json] = {"id": "a", "prompt": "x", "seed": 7, "images": ["a.jpg"]}

    before, after = (desk.take_jobs(each).job.fingerprint for each in (job, {**job, **change}))

    assert before != after
