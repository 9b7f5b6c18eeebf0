"""The JSON Schema of documents: what editors complete and check."""

from __future__ import annotations

import json
from typing import Any

from fluxbatch.model.flux import known_models
from fluxbatch.planning.fields import JOB_KEYS
from fluxbatch.planning.reading.document import DOCUMENT_KEYS
from fluxbatch.planning.schema import manifest_schema


def job() -> dict[str, Any]:
    properties: dict[str, Any] = manifest_schema()["properties"]["jobs"]["items"]["properties"]
    return properties


def test_the_schema_names_all_fields() -> None:
    schema = manifest_schema()

    assert {"id", "prompt", "images", "input_image_8", "meta", "extra", "guidance"} <= job().keys()
    assert job()["output_format"]["enum"] == ["jpeg", "png"]
    assert "id" not in schema["properties"]["defaults"]["properties"]


def test_the_keys_are_those_that_documents_may_have_and_no_others() -> None:
    schema = manifest_schema()

    assert schema["properties"].keys() == set(DOCUMENT_KEYS)
    assert job().keys() == JOB_KEYS
    assert schema["properties"]["defaults"]["properties"].keys() == JOB_KEYS - {"id"}
    parts = (schema, schema["properties"]["defaults"], schema["properties"]["jobs"]["items"])
    assert [part["additionalProperties"] for part in parts] == [False, False, False]
    assert schema["required"] == ["jobs"]
    assert "$ref" not in json.dumps(schema)


def test_types_limits_choices_and_words() -> None:
    properties = job()

    assert properties["model"]["enum"] == list(known_models())
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
    assert properties["images"]["maxItems"] == 8
    assert all("description" in facts for facts in properties.values())
