"""The fields of a request: names, types, limits and what they mean, said once for checks and JSON Schema alike.

Loads pydantic: modules that commands need just to start import this one late.
"""

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, InstanceOf

from fluxbatch.model.flux import DEFAULT_MODEL, known_models

__all__ = ["DefaultFields", "EntryFields", "FitFields", "JobFields", "VariantFields"]


def _numeral(value: Any) -> Any:
    """Refuse what pydantic would take for a number: true and false, bytes, more digits than JSON keeps."""
    if isinstance(value, str | float):
        return value
    if isinstance(value, bool) or not isinstance(value, int) or value.bit_length() > 53:
        raise ValueError
    return value


def _trimmed(value: Any) -> Any:
    return value.strip() if isinstance(value, str) else value


# Text is never made of numbers: an aspect ratio 969 was 16:9 once, and ids and prompts keep their zeros.
_Text: TypeAlias = InstanceOf[str]
# Documented by Black Forest Labs; the 4 MP limit follows from 2048×2048.
_Side: TypeAlias = Annotated[int, Field(ge=64, le=2048, multiple_of=16), BeforeValidator(_numeral)]
# The API reference gives no range; 32 bits is what the models behind it take.
_Seed: TypeAlias = Annotated[int, Field(ge=0, le=2**32 - 1), BeforeValidator(_numeral)]
_Tolerance: TypeAlias = Annotated[int, Field(ge=0, le=6), BeforeValidator(_numeral)]
_Steps: TypeAlias = Annotated[int, Field(ge=1, le=50), BeforeValidator(_numeral)]
_Guidance: TypeAlias = Annotated[float, Field(ge=1.5, le=10.0, allow_inf_nan=False), BeforeValidator(_numeral)]
_Truth: TypeAlias = Annotated[bool, BeforeValidator(_trimmed)]
_Megapixels: TypeAlias = Annotated[float, Field(ge=0.01, le=20, allow_inf_nan=False), BeforeValidator(_numeral)]
_Multiple: TypeAlias = Annotated[int, Field(ge=1, le=256), BeforeValidator(_numeral)]
_Edge: TypeAlias = Annotated[int, Field(ge=64, le=16384), BeforeValidator(_numeral)]
_Count: TypeAlias = Annotated[int, Field(ge=1, le=1000), BeforeValidator(_numeral)]
_Path: TypeAlias = Annotated[str, Field(description="path relative to the manifest, or public URL")]


class JobFields(BaseModel):
    """What a request may say beside its images.

    Limits hold for every model; those of one model are rules. Numbers and truth values may be given as text, as cells
    of a table are. A field that is not set is not sent as its default: only what the user wrote counts.
    """

    model_config = ConfigDict(extra="forbid")

    # Any text: a model that is not listed is known once its price is given.
    model: _Text = Field(
        DEFAULT_MODEL,
        description="the model to use; `fluxbatch models` lists limits and prices",
        examples=[*known_models()],
    )
    prompt: _Text | None = Field(
        None, description="what to make; 'image 1', 'image 2' … mean the reference images in their order"
    )
    aspect_ratio: _Text | None = Field(
        None,
        description="shape of the result, width:height, as 16:9; by default that of image 1",
        examples=["1:1", "16:9", "9:16", "4:3", "3:4", "3:2", "2:3"],
    )
    width: _Side | None = Field(None, description="pixels, a multiple of 16, together with height")
    height: _Side | None = Field(None, description="pixels, a multiple of 16, together with width")
    size: _Text | None = Field(
        None, description="width and height in one, as 1024x768", examples=["1024x1024", "1024x768", "768x1024"]
    )
    seed: _Seed | None = Field(None, description="the same seed and settings give a consistent result")
    safety_tolerance: _Tolerance | None = Field(None, description="0 strictest to 6")
    output_format: Literal["jpeg", "png"] = Field("jpeg", description="format of the result")
    prompt_upsampling: _Truth | None = Field(None, description="let the service expand the prompt")
    steps: _Steps | None = Field(None, description="quality against time, for flux-2-flex")
    guidance: _Guidance | None = Field(
        None, description="how closely the prompt is followed, 1.5 to 10, for flux-2-flex"
    )


class FitFields(BaseModel):
    """What is done to photos before they are sent, beside what has to be."""

    model_config = ConfigDict(extra="forbid")

    max_megapixels: _Megapixels | None = Field(None, description="make larger photos smaller; 1 is 1024×1024 pixels")
    multiple_of: _Multiple | None = Field(None, description="crop sides to multiples of so many pixels, as 16")
    long_edge: _Edge | None = Field(None, description="make photos smaller whose longer side has more pixels")
    background: _Text | None = Field(
        None, description="colour behind what is transparent, as #FFFFFF", pattern="^#[0-9A-Fa-f]{6}$"
    )


class VariantFields(BaseModel):
    """How many images of one job."""

    variants: _Count | None = Field(None, description="make so many, with different seeds: ID-1, ID-2, …")


class OutputReference(BaseModel):
    """The image of another job."""

    model_config = ConfigDict(extra="forbid")

    job: str | int = Field(description="id of the job whose image this is; it is made first")


_Reference: TypeAlias = _Path | OutputReference
_Images: TypeAlias = Annotated[list[_Reference], Field(max_length=8)]
_Prompt: TypeAlias = Annotated[str, Field(description="what to make of image 1, the result so far")]


class ChainStep(JobFields):
    """A step of a chain with fields of its own."""

    prompt: _Text = Field(description="what to make of image 1, the result so far")
    images: list[_Reference] | None = Field(None, max_length=7, description="image 2 and on of this step")


class DefaultFields(JobFields, VariantFields):
    """What jobs may have in common."""

    images: _Images | str | None = Field(None, description="the reference images, image 1 first; or a single one")
    input_image: _Reference | None = None
    input_image_2: _Reference | None = None
    input_image_3: _Reference | None = None
    input_image_4: _Reference | None = None
    input_image_5: _Reference | None = None
    input_image_6: _Reference | None = None
    input_image_7: _Reference | None = None
    input_image_8: _Reference | None = None
    meta: dict[str, Any] | None = Field(None, description="echoed into the results")
    extra: dict[str, Any] | None = Field(None, description="request fields that this version does not know")
    prompt_file: _Text | None = Field(None, description="a text file with the prompt, relative to the manifest")
    fit: Literal["auto", "off"] | FitFields | None = Field(
        None,
        description="how photos are made fit for the API: auto mends what it would refuse or see wrongly, off sends"
        " every photo as it is",
    )
    chain: list[_Prompt | ChainStep] | None = Field(
        None,
        min_length=1,
        max_length=100,
        description="prompts, one after the other, each for the result of the one before: ID-step1, ID-step2, … ID",
    )


class EntryFields(DefaultFields):
    """A job of a document."""

    id: str | int | None = Field(None, description="unique; names the file")
