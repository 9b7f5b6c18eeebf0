"""The JSON Schema of a manifest document, for editors: completion and checks while writing.

What cells of tables may be beside, as numbers given as text, is left out: in a document it is a slip.
"""

import copy
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from fluxbatch.planning.catalog.fields import CatalogFields, CatalogImages
from fluxbatch.planning.fields import DefaultFields, EntryFields
from fluxbatch.planning.names import IMAGE_FIELDS

__all__ = ["manifest_schema"]

# The newest that the YAML extensions of editors know in all their versions, and only by this very address.
_DIALECT: Final = "http://json-schema.org/draft-07/schema#"


class _Manifest(BaseModel):
    """A document: what jobs have in common, and the jobs."""

    model_config = ConfigDict(title="fluxbatch manifest", extra="forbid")

    version: Literal[1] = Field(1, description="of the form of the manifest")
    out: str | None = Field(None, description="output folder, relative to the manifest")
    filename: str | None = Field(None, description='template of file names without extension, "{{ id }}"')
    lock: bool = Field(False, description="keep fluxbatch.lock beside the manifest, for images in a repository")
    inputs: Literal["inline", "presign"] | None = Field(
        None, description="presign: photos in object stores are sent as URLs that die, not as their bytes"
    )
    defaults: DefaultFields | None = Field(None, description="what jobs have in common, unless they say otherwise")
    jobs: list[EntryFields] = Field(min_length=1, description="the jobs, each with its own fields")
    catalog: CatalogFields | list[CatalogFields] = Field(
        description="a table times a matrix makes jobs; one, or a list of them"
    )


class _Short(GenerateJsonSchema):
    """Without titles that repeat names; null, the same as absent, is a second type and no default."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - pydantic's own signature
        return False

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        inner = self.generate_inner(schema["schema"])
        return {**inner, "type": [inner["type"], "null"]} if "type" in inner else super().nullable_schema(schema)

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        return (
            self.generate_inner(schema["schema"]) if schema.get("default") is None else super().default_schema(schema)
        )


def manifest_schema() -> dict[str, Any]:
    """JSON Schema (draft 7) of the documents ``.yaml``, ``.json`` and ``.toml``."""
    schema = _Manifest.model_json_schema(schema_generator=_Short)
    images = CatalogImages.model_json_schema(schema_generator=_Short)
    parts = {**images.pop("$defs"), **schema.pop("$defs")}
    for part in parts.values():
        if "model" in part["properties"]:
            part["properties"]["model"] = _completed(part["properties"]["model"])
    schema = _written_out(schema, parts)
    defaults = {**_written_out(parts["DefaultFields"], parts), **_described(schema["properties"]["defaults"])}
    schema["properties"]["defaults"] = {**defaults, "type": ["object", "null"]}
    del schema["properties"]["defaults"]["title"]
    jobs = schema["properties"]["jobs"]["items"]
    for part in (jobs, defaults):
        part["properties"].update({name: _lifted(facts) for name, facts in part["properties"].items()})
    catalog = _catalog(parts["CatalogFields"], jobs, _written_out(images, parts)["properties"])
    schema["properties"]["catalog"] = {
        "description": schema["properties"]["catalog"]["description"],
        "anyOf": [catalog, {"type": "array", "items": catalog, "minItems": 1}],
    }
    schema["anyOf"] = [{"required": ["jobs"]}, {"required": ["catalog"]}]
    del schema["required"]
    return {"$schema": _DIALECT, **schema}


def _catalog(keys: dict[str, Any], job: dict[str, Any], images: dict[str, Any]) -> dict[str, Any]:
    """What a catalogue may say: its own keys, and those of a job as templates."""
    properties = _templates(job["properties"], images["images"])
    one = images["input_image"]
    properties.update({name: {**one, **_described(job["properties"][name])} for name in IMAGE_FIELDS})
    return {
        "type": "object",
        "description": keys["description"],
        "additionalProperties": False,
        "properties": {**keys["properties"], **properties},
        "anyOf": [{"required": ["rows"]}, {"required": ["matrix"]}],
    }


def _templates(properties: dict[str, Any], images: dict[str, Any]) -> dict[str, Any]:
    """The same fields, each of which may be a template too."""
    return {
        name: {**images, **_described(facts)} if name == "images" else _templated(facts, images)
        for name, facts in properties.items()
    }


def _templated(facts: dict[str, Any], images: dict[str, Any]) -> dict[str, Any]:
    """A field that may be a template too: text where it is a number, or one of few words."""
    if "string" in facts.get("type", []) and "enum" not in facts:
        return facts
    described = _described(facts)
    rest = _inside({key: value for key, value in facts.items() if key not in described}, images)
    kinds = rest["anyOf"] if rest.keys() == {"anyOf"} else [rest]
    return {**described, "anyOf": [*kinds, {"type": "string", "pattern": r"\{\{"}]}


def _inside(kind: dict[str, Any], images: dict[str, Any]) -> dict[str, Any]:
    """What a field is made of: steps of a chain, wishes of a fit."""
    made = dict(kind)
    if "properties" in kind:
        made["properties"] = _templates(kind["properties"], images)
    if "items" in kind:
        made["items"] = _inside(kind["items"], images)
    if "anyOf" in kind:
        made["anyOf"] = [_inside(one, images) for one in kind["anyOf"]]
    return made


def _completed(facts: dict[str, Any]) -> dict[str, Any]:
    """A field that takes any text, with its examples as words that every editor completes."""
    rest = {key: value for key, value in facts.items() if key != "examples"}
    return {**rest, "anyOf": [{"enum": facts["examples"]}, {"type": "string"}]}


def _lifted(facts: dict[str, Any]) -> dict[str, Any]:
    """A field of several kinds with the words that stand at the first of them."""
    kinds = facts.get("anyOf")
    return facts if "description" in facts or not kinds else {**_described(kinds[0]), **facts}


def _described(facts: dict[str, Any]) -> dict[str, Any]:
    return {key: facts[key] for key in ("description", "default") if key in facts}


def _written_out(value: Any, parts: dict[str, Any]) -> Any:
    """A schema with its parts in their places: the parts are few, and editors show them better so."""
    if isinstance(value, list):
        return [_written_out(entry, parts) for entry in value]
    if not isinstance(value, dict):
        return value
    if "$ref" in value:
        part = copy.deepcopy(parts[value["$ref"].rpartition("/")[2]])
        part.pop("title", None)  # a name of ours
        return _written_out({**part, **{key: entry for key, entry in value.items() if key != "$ref"}}, parts)
    return {key: _written_out(entry, parts) for key, entry in value.items()}
