"""The JSON Schema of a manifest document, for editors: completion and checks while writing."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from fluxbatch.planning.fields import DefaultFields, EntryFields

__all__ = ["manifest_schema"]


class _Manifest(BaseModel):
    """A document: what jobs have in common, and the jobs."""

    model_config = ConfigDict(title="fluxbatch manifest", extra="forbid")

    version: Literal[1] = 1
    out: str | None = Field(None, description="output folder, relative to the manifest")
    filename: str | None = Field(None, description='template of file names without extension, "{{ id }}"')
    defaults: DefaultFields | None = None
    jobs: list[EntryFields] = Field(min_length=1)


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
    """JSON Schema (draft 2020-12) of the documents ``.yaml``, ``.json`` and ``.toml``."""
    schema = _Manifest.model_json_schema(schema_generator=_Short)
    parts = schema.pop("$defs")
    schema["properties"]["defaults"] = parts["DefaultFields"]
    schema["properties"]["jobs"]["items"] = parts["EntryFields"]
    return {"$schema": _Short.schema_dialect, **schema}
