"""The JSON Schema of documents: what editors complete and check."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxbatch.model.flux import known_models
from fluxbatch.model.problem import Level
from fluxbatch.planning.catalog.fields import CATALOG_KEYS
from fluxbatch.planning.fields import EntryFields, FitFields, JobFields
from fluxbatch.planning.flaw import Unreadable
from fluxbatch.planning.names import FIELDS, FIT_WISHES, IMAGE_FIELDS, JOB_KEYS
from fluxbatch.planning.reading.document import DOCUMENT_KEYS
from fluxbatch.planning.schema import manifest_schema
from fluxbatch.planning.sources import ManifestFile
from fluxbatch.planning.spec import read_spec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def job() -> dict[str, Any]:
    properties: dict[str, Any] = manifest_schema()["properties"]["jobs"]["items"]["properties"]
    return properties


def catalog() -> dict[str, Any]:
    properties: dict[str, Any] = manifest_schema()["properties"]["catalog"]["anyOf"][0]["properties"]
    return properties


def test_the_schema_names_all_fields() -> None:
    schema = manifest_schema()

    assert {"id", "prompt", "images", "input_image_8", "meta", "extra", "guidance"} <= job().keys()
    assert job()["output_format"]["enum"] == ["jpeg", "png"]
    assert "id" not in schema["properties"]["defaults"]["properties"]


def test_the_names_are_those_of_the_types() -> None:
    assert tuple(JobFields.model_fields) == FIELDS
    assert EntryFields.model_fields.keys() == JOB_KEYS
    assert FitFields.model_fields.keys() == FIT_WISHES
    assert [name for name in EntryFields.model_fields if name.startswith("input_image")] == [*IMAGE_FIELDS]


def test_the_keys_are_those_that_documents_may_have_and_no_others() -> None:
    schema = manifest_schema()

    assert schema["properties"].keys() == set(DOCUMENT_KEYS)
    assert job().keys() == JOB_KEYS
    assert schema["properties"]["defaults"]["properties"].keys() == JOB_KEYS - {"id"}
    assert catalog().keys() == {*CATALOG_KEYS, *JOB_KEYS}
    parts = (schema, schema["properties"]["defaults"], schema["properties"]["jobs"]["items"])
    assert [part["additionalProperties"] for part in parts] == [False, False, False]
    assert "$ref" not in json.dumps(schema)


def test_types_limits_choices_and_words() -> None:
    properties = job()

    assert properties["model"]["anyOf"] == [{"enum": list(known_models())}, {"type": "string"}]
    assert properties["model"]["default"] == "flux-2-pro"
    assert properties["width"] == {
        "description": "pixels, a multiple of 16, together with height",
        "type": ["integer", "null"],
        "minimum": 64,
        "maximum": 2048,
        "multipleOf": 16,
    }
    assert properties["guidance"]["type"] == ["number", "null"]
    assert (properties["guidance"]["minimum"], properties["guidance"]["maximum"]) == (1.5, 10)
    assert properties["prompt_upsampling"]["type"] == ["boolean", "null"]
    assert properties["images"]["anyOf"][0]["maxItems"] == 8
    assert {"1:1", "16:9", "9:16"} <= {*properties["aspect_ratio"]["examples"]}


def test_every_key_is_described_wherever_it_stands() -> None:
    schema = manifest_schema()

    assert [name for name, facts in keys_of(schema) if not facts.get("description")] == []
    assert {name for name, _ in keys_of(schema)} >= {"version", "lock", "matrix", "optional", "long_edge", "chain"}


def keys_of(schema: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    for part in parts_of(schema):
        yield from part.get("properties", {}).items()


def test_editors_know_its_dialect_and_show_no_names_of_ours() -> None:
    schema = manifest_schema()

    jsonschema.Draft7Validator.check_schema(schema)
    assert schema["$schema"] == "http://json-schema.org/draft-07/schema#"
    assert [part["title"] for part in parts_of(schema) if "title" in part] == ["fluxbatch manifest"]


def parts_of(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, list):
        for entry in schema:
            yield from parts_of(entry)
    elif isinstance(schema, dict):
        yield schema
        for entry in schema.values():
            yield from parts_of(entry)


CATALOG: dict[str, Any] = {
    "rows": "a.csv",
    "columns": {"photo": "Main photo"},
    "matrix": {"scene": ["beach", {"name": "x"}, 5]},
    "where": {"name": ["b", "c"], "stock": 5, "photo2": None},
    "id": "{{ sku }}",
    "prompt": "x {{ name }}",
    "images": ["{{ photo }}", {"optional": "{{ photo2 }}"}, {"job": "{{ sku }}-base"}],
    "width": "{{ width }}",
    "height": 512,
    "output_format": "{{ format }}",
    "fit": "{{ fit }}",
    "prompt_upsampling": "{{ more }}",
    "variants": "{{ n }}",
    "meta": {"sku": "{{ sku }}"},
}


TABLE = "sku,name,Main photo,photo2,width,format,fit,more,n,e,stock\na,b,c.jpg,,512,png,auto,true,2,2048,5\n"
STEP: dict[str, Any] = {"prompt": "x {{ name }}", "width": "{{ width }}", "images": [{"optional": "{{ photo }}"}]}
JOB: dict[str, Any] = {
    "id": 7,
    "model": "a-model-with-a-price-of-my-own",
    "images": ["a.jpg", "https://example.com/b.jpg", {"job": "c"}, {"job": 5}],
    "aspect_ratio": "21:9",
    "seed": 0,
    "guidance": 2,
    "steps": None,
    "prompt_upsampling": False,
    "variants": 2,
    "fit": {"long_edge": 2048, "background": "#FFFFFF"},
    "meta": {"a": [1, {"b": None}]},
    "extra": {"new": True},
}

RIGHT: dict[str, dict[str, Any]] = {
    "a job": {"jobs": [{"prompt": "x"}]},
    "all of a job": {"jobs": [{**JOB, "prompt": "x"}, {**JOB, "id": "b", "chain": ["x", {"prompt": "y", "seed": 1}]}]},
    "one image": {"jobs": [{"prompt": "x", "images": "a.jpg", "fit": "off"}]},
    "the API's names": {"jobs": [{"prompt": "x", "input_image": "a.jpg", "input_image_2": {"job": "b"}}]},
    "a prompt in a file": {"jobs": [{"prompt_file": "a.txt"}]},
    "around the jobs": {
        "version": 1,
        "out": "a",
        "filename": "{{ id }}",
        "lock": True,
        "defaults": {"images": ["a.jpg"], "fit": "auto"},
        "jobs": [{"prompt": "x"}],
    },
    "defaults that are not filled in yet": {"defaults": None, "jobs": [{"prompt": "x"}]},
    "a job and a catalogue": {"jobs": [{"prompt": "x", "seed": 5}], "catalog": CATALOG, "defaults": {"steps": 5}},
    "a catalogue": {"catalog": CATALOG},
    "a catalogue of chains": {
        "catalog": {**CATALOG, "prompt": None, "chain": ["x", STEP], "fit": {"long_edge": "{{ e }}"}}
    },
    "several catalogues": {
        "catalog": [
            CATALOG,
            {"rows": [{"sku": "a", "n": 5}], "id": "{{ sku }}", "prompt": "x", "where": "n | int > 3"},
            {"matrix": {"n": [1]}, "prompt": "x", "images": "{{ n }}.jpg"},
        ]
    },
}
WRONG: dict[str, dict[str, Any]] = {
    "nothing": {"version": 1},
    "another version": {"version": 2, "jobs": [{"prompt": "x"}]},
    "a key at the top": {"job": [{"prompt": "x"}], "jobs": [{"prompt": "x"}]},
    "no list": {"jobs": {"prompt": "x"}},
    "no jobs": {"jobs": []},
    "a lock that is text": {"lock": "yes please", "jobs": [{"prompt": "x"}]},
    "a misspelt field": {"jobs": [{"prompt": "x", "stpes": 5}]},
    "a field of the wrong type": {"jobs": [{"prompt": ["x"]}]},
    "an aspect ratio that YAML 1.1 made a number": {"jobs": [{"prompt": "x", "aspect_ratio": 969}]},
    "a side that is no multiple of 16": {"jobs": [{"prompt": "x", "width": 500, "height": 512}]},
    "a seed that is a word": {"jobs": [{"prompt": "x", "seed": "lucky"}]},
    "a template outside of a catalogue": {"jobs": [{"prompt": "x", "seed": "{{ seed }}"}]},
    "an image that is a number": {"jobs": [{"prompt": "x", "images": [5]}]},
    "an image of a misspelt kind": {"jobs": [{"prompt": "x", "images": [{"jop": "a"}]}]},
    "an optional image outside of a catalogue": {"jobs": [{"prompt": "x", "images": [{"optional": "a.jpg"}]}]},
    "an id below defaults": {"defaults": {"id": "a"}, "jobs": [{"prompt": "x"}]},
    "a chain of nothing": {"jobs": [{"chain": []}]},
    "a wish that there is not": {"jobs": [{"prompt": "x", "fit": {"longest_edge": 5}}]},
    "no catalogue": {"catalog": []},
    "neither rows nor matrix": {"catalog": {"prompt": "x"}},
    "a misspelt key of a catalogue": {"catalog": {**CATALOG, "whre": "x"}},
    "a constant that is wrong": {"catalog": {**CATALOG, "width": 100}},
    "a format that there is not": {"catalog": {**CATALOG, "output_format": "gif"}},
    "an axis that is no list": {"catalog": {**CATALOG, "matrix": {"scene": "beach"}}},
    "an image of two kinds": {"catalog": {**CATALOG, "images": [{"optional": "a.jpg", "job": "b"}]}},
    "a filter that is a number": {"catalog": {**CATALOG, "where": 5}},
}

WRONG_FOR_ANY_MODEL: dict[str, dict[str, Any]] = {
    "nine images": {"jobs": [{"prompt": "x", "images": ["a.jpg"] * 9}]},
    "a step without a prompt": {"jobs": [{"chain": [{"seed": 1}]}]},
}


@pytest.mark.parametrize("case", RIGHT)
def test_documents_that_fit_the_schema_and_pass_the_checks(case: str, tmp_path: Path) -> None:
    jsonschema.validate(RIGHT[case], manifest_schema())
    assert faults_of(RIGHT[case], tmp_path) == []


@pytest.mark.parametrize("case", WRONG)
def test_documents_that_do_neither(case: str, tmp_path: Path) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(WRONG[case], manifest_schema())
    assert faults_of(WRONG[case], tmp_path)


@pytest.mark.parametrize("case", WRONG_FOR_ANY_MODEL)
def test_documents_that_only_the_rules_of_models_refuse_later(case: str) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(WRONG_FOR_ANY_MODEL[case], manifest_schema())


WORDS = st.sampled_from(["x", "a.jpg", "16:9", "1024x768", "{{ sku }}", "auto", "png", "jpeg", "flux-2-pro"])
NUMBERS = st.sampled_from([0, 1, 2, 1.5, 16, 64, 500, 512, 2048, 2049, 2**32, -1])
IMAGES = WORDS | st.fixed_dictionaries({"job": WORDS | st.integers(0, 9)}) | st.just({"optional": "a.jpg"})
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "id": WORDS | st.integers(0, 9) | st.none() | st.just(1.5),
    **dict.fromkeys(("model", "output_format"), WORDS),
    **dict.fromkeys(("prompt", "aspect_ratio", "size"), WORDS | st.none() | st.just(5)),
    "prompt_file": WORDS | st.none(),  # what it names is looked at with the photos
    **dict.fromkeys(("width", "height", "seed", "safety_tolerance", "steps", "guidance"), NUMBERS | st.none()),
    "prompt_upsampling": st.booleans() | st.none(),
    "variants": NUMBERS,
    "images": WORDS | st.none() | st.lists(IMAGES, max_size=9),
    **dict.fromkeys(IMAGE_FIELDS, IMAGES | st.none()),
    **dict.fromkeys(("meta", "extra"), st.none() | st.dictionaries(st.just("new"), NUMBERS | WORDS)),
    "fit": WORDS | st.none() | st.fixed_dictionaries({}, optional={"long_edge": NUMBERS, "max_megapixels": NUMBERS}),
    "chain": st.none() | st.lists(WORDS | st.fixed_dictionaries({"prompt": WORDS}, optional={"seed": NUMBERS})),
}
# few keys at a time, so that many documents pass
ENTRIES = st.sets(st.sampled_from([*VALUES, "unknown"]), max_size=4).flatmap(
    lambda keys: st.fixed_dictionaries({key: VALUES.get(key, WORDS) for key in sorted(keys)})
)
TOP = {"lock": st.booleans(), "out": WORDS | st.none(), "version": st.sampled_from([1, 2]), "defaults": ENTRIES}


def test_what_is_tried_names_all_keys_of_a_job() -> None:
    assert VALUES.keys() == JOB_KEYS


@given(document=st.fixed_dictionaries({"jobs": st.lists(ENTRIES, max_size=2)}, optional=TOP))
def test_what_passes_the_checks_fits_the_schema(
    document: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    if not faults_of(document, tmp_path_factory.getbasetemp()):
        jsonschema.validate(document, manifest_schema())


def faults_of(document: dict[str, Any], folder: Path) -> list[str]:
    """What the checks of a document say, short of looking at its photos."""
    (folder / "a.csv").write_text(TABLE)
    manifest = folder / "m.json"
    manifest.write_text(json.dumps(document))
    try:
        opened = ManifestFile(manifest).open()
        found: list[str] = []
        for draft in opened.drafts:
            if isinstance(draft, Unreadable):
                found.append(draft.message)
            else:
                found += [flaw.message for flaw in read_spec(draft.values).flaws if flaw.level is Level.ERROR]
    except Unreadable as problem:
        return [problem.message]
    return found + [fault.message for fault in opened.faults if not fault.warning]
