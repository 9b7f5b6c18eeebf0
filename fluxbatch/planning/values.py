"""The values of a request, typed by their model; what is wrong with them is said in our words, not in pydantic's."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from fluxbatch.planning.flaw import Flaw, shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import BaseModel
    from pydantic_core import ErrorDetails

    from fluxbatch.model.job import Json

__all__ = ["typed"]

Kind: TypeAlias = Literal["job", "fit", "variants"]

_MISTYPED: Final = {
    "string": "is not text",
    "integer": "is not a whole number",
    "number": "is not a number",
    "boolean": "is neither true nor false",
}
_TEXTS: Final = frozenset({"model", "prompt", "aspect_ratio", "size"})
"""fields that may be any text"""
_OUTPUT_FORMATS: Final = ("jpeg", "png")
_UNITS: Final = {"width": " pixels", "height": " pixels"}
_FORMATS: Final = {"jpg": "jpeg", "jpeg": "jpeg", "png": "png"}


def typed(written: Mapping[str, Any], kind: Kind = "job") -> tuple[dict[str, Json], list[Flaw]]:
    """The fields with their types, in the order as written; and all that is wrong with others, which are left out.

    Args:
        written: what the user wrote, by names that there are.
        kind: what it is about: a job, its ``fit``, or its number of ``variants``.
    """
    if kind == "job" and all(map(_is_plain, written, written.values())):
        return dict(written), []  # as most of them are: nothing to check
    return _checked(written, _model(kind))


def _is_plain(name: str, value: object) -> bool:
    if name in _TEXTS:
        return type(value) is str
    return name == "output_format" and value in _OUTPUT_FORMATS


def _model(kind: Kind) -> type[BaseModel]:
    from fluxbatch.planning import fields  # with pydantic: late

    models: dict[Kind, type[BaseModel]] = {
        "job": fields.JobFields,
        "fit": fields.FitFields,
        "variants": fields.VariantFields,
    }
    return models[kind]


def _checked(written: Mapping[str, Any], model: type[BaseModel]) -> tuple[dict[str, Json], list[Flaw]]:
    from pydantic import ValidationError

    try:
        values = vars(model.model_validate(written))
    except ValidationError as error:
        flaws = [_flaw(details, model) for details in error.errors(include_url=False)]
        wrong = {flaw.field for flaw in flaws}
        return _checked({name: value for name, value in written.items() if name not in wrong}, model)[0], flaws
    return {name: values[name] for name in written}, []


def _flaw(error: ErrorDetails, model: type[BaseModel]) -> Flaw:
    name, value = str(error["loc"][0]), error["input"]
    match error["type"]:
        case "greater_than_equal" | "less_than_equal" | "multiple_of":
            return _off_limits(name, value, _facts(name, model))
        case "literal_error":
            meant = _FORMATS.get(str(value).lower().strip(". "))
            return Flaw(name, f"{shown(value)} is not an output format", f"write {meant or 'jpeg or png'}")
        case "string_pattern_mismatch":
            return Flaw(name, f"{shown(value)} is not a colour", 'write it in quotes, as "#FFFFFF"')
        case _:
            kind = _facts(name, model)["type"]
            return Flaw(name, f"{shown(value)} {_MISTYPED[kind]}", _remedy(name, value, kind))


def _off_limits(name: str, value: Any, facts: Mapping[str, Any]) -> Flaw:
    """Pydantic names one limit that is broken; people want to know the range."""
    number = float(value)
    low, high = facts["minimum"], facts["maximum"]
    written = shown(int(number) if number.is_integer() else number)
    if not low <= number <= high:
        return Flaw(name, f"{written} is out of range", f"{low} to {high}{_UNITS.get(name, '')}")
    multiple = facts["multipleOf"]
    return Flaw(name, f"{written} is not a multiple of {multiple}", f"write {round(number / multiple) * multiple}")


def _remedy(name: str, value: Any, kind: str) -> str:
    if kind == "boolean":
        return "write true or false"
    if kind != "string" or not isinstance(value, int | float):
        return ""
    return "write it in quotes: " + ('"16:9"' if name == "aspect_ratio" else f'"{value}"')


@cache
def _facts(name: str, model: type[BaseModel]) -> dict[str, Any]:
    """Type and limits of a field."""
    schema: dict[str, Any] = model.model_json_schema()["properties"][name]
    return dict(schema["anyOf"][0]) if "anyOf" in schema else schema  # the other one is null
