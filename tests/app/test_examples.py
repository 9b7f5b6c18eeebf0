"""The examples below ``jobs/``: each one runs as it stands, and shows what it says that it shows."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import jsonschema
import pytest

import fluxbatch
from fluxbatch.app.look import validate
from fluxbatch.planning.intake import ManifestFile
from fluxbatch.planning.reading.yaml_document import parse_yaml
from tests.app.stage import KEY, REPO, jobs_into, leftovers, results, serving, sha256

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.app.stage import Api

JOBS = REPO / "jobs"
MOST_BYTES = 1_000_000

# how many reference images the request of each job has
EXAMPLES: dict[str, dict[str, int]] = {
    "demo.yaml": {
        "petting-the-cat": 3,
        "cat-among-stars": 2,
        "brick-suit": 2,
        "picnic-at-the-launch": 4,
        "cup-on-grass": 2,
        "cup-on-bricks": 2,
        "launch-sketch": 1,
        "lighthouse": 0,
    },
    "character-consistency.yaml": {
        "astronaut-on-a-bridge": 8,
        "astronaut-in-a-library": 8,
        "astronaut-in-the-rain": 8,
    },
    "style-transfer.yaml": dict.fromkeys(
        ("cat-poster", "cat-starlight", "person-poster", "person-mosaic", "person-starlight"), 2
    ),
    "object-composition.yaml": {"coffee-break": 3, "cat-at-the-launch-pad": 3, "still-life": 3},
    "outfit-and-product-swap.yaml": {
        "suit-of-bricks": 2,
        "lantern-for-a-helmet": 2,
        "mug-for-a-cup": 2,
        "bowl-for-a-cup": 3,
    },
    "refinement-chain.yaml": {
        "cup-in-winter-step1": 1,
        "cup-in-winter-step2": 2,
        "cup-in-winter": 1,
        "cat-portrait": 1,
        "cat-in-oil": 1,
        "cat-in-bronze": 2,
    },
    "single-image-edit.yaml": {"launch-in-pencil": 1, "cat-by-night": 1, "portrait-in-monochrome": 1},
    "text-to-image.yaml": {
        **{f"lighthouse-{number}": 0 for number in range(1, 5)},
        "night-market": 0,
        "雨中的江南水乡-石桥-乌篷船-水墨画风格-*": 0,
    },
    "catalogue/catalogue.yaml": {
        f"{sku}-{scene}": images
        for sku, images in {"MUG-01": 2, "CUP-03": 2, "BOW-04": 3, "LAN-05": 3, "VAS-06": 2, "BOT-07": 2}.items()
        for scene in ("lawn", "pavement", "studio")
        if (sku, scene) != ("LAN-05", "pavement")
    },
}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serving(tmp_path_factory.mktemp("simulator")) as running:
        yield running


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder, without what runs by hand have left there."""
    return jobs_into(tmp_path_factory.mktemp("examples") / "jobs")


def test_these_are_all_of_them() -> None:
    assert {path.relative_to(JOBS).as_posix() for path in JOBS.rglob("*.yaml")} == set(EXAMPLES)


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_makes_its_images_once(api: Api, jobs: Path, name: str) -> None:
    manifest, before = jobs / name, len(api.sim.calls)

    made = run(api, manifest)

    assert made.ok, made.summary
    images_said, usd_said = said(name)
    assert images_said == made.summary.charged
    assert usd_said == pytest.approx(made.summary.cost_usd, abs=0.0051)
    out = manifest.parent / f"{manifest.stem}-out"
    lines = results(out)
    calls = {call.request_id: call for call in api.sim.calls[before:]}
    assert [re.sub(r"-[0-9a-f]{8}$", "-*", line["id"]) for line in lines] == list(EXAMPLES[name])
    assert len(calls) == len(lines) == made.summary.charged
    for line, images in zip(lines, EXAMPLES[name].values(), strict=True):
        call = calls[line["request_id"]]
        assert len(call.inputs) == images, line["id"]
        assert [image["sha256"] for image in call.inputs] == [
            sha256(input_of(manifest, out, ref)) for ref in line["inputs"]
        ]
        assert (out / line["file"]).read_bytes() == api.served(call.result)
    assert leftovers(out) == []

    again = run(api, manifest)

    assert again.ok
    assert again.summary.requests == 0
    assert len(api.sim.calls) == before + len(lines)


def said(name: str) -> tuple[int, float]:
    """The images and the price that the comment at the top of an example names."""
    text = (JOBS / name).read_text()
    assert f"#   fluxbatch run jobs/{name} --simulate  " in text
    found = re.search(rf"^#   fluxbatch run jobs/{name} +(\d+) images, about \$([\d.]+)", text, re.MULTILINE)
    assert found
    return int(found[1]), float(found[2])


def run(api: Api, manifest: Path) -> fluxbatch.RunResult:
    return fluxbatch.run(manifest, api_key=KEY, base_url=api.sim.base_url)


def input_of(manifest: Path, out: Path, ref: str) -> Path:
    """The file of an input: a photo, or the image of another job."""
    if ref.startswith("job:"):
        return out / next(str(line["file"]) for line in results(out) if f"job:{line['id']}" == ref)
    return manifest.parent / ref


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_has_nothing_to_complain_about(name: str) -> None:
    total, findings = validate([ManifestFile(JOBS / name)])

    assert [str(problem) for problem in findings.first(5)] == []
    assert total == len(EXAMPLES[name])


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_fits_the_schema_that_it_names(name: str) -> None:
    text = (JOBS / name).read_text()
    first, _, _ = text.partition("\n")
    schema = (JOBS / name).parent / first.removeprefix("# yaml-language-server: $schema=")

    jsonschema.validate(parse_yaml(text), json.loads(schema.read_text()))


def test_the_photos_stay_small() -> None:
    files = [path for path in JOBS.rglob("*") if path.is_file() and not any("-out" in part for part in path.parts)]
    assert sum(path.stat().st_size for path in files) < MOST_BYTES
    assert not [path for path in files if path.suffix == ".py"]
