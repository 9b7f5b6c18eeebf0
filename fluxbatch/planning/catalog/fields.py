"""The keys of a catalogue beside the fields of its jobs, said once for checks and JSON Schema alike."""

from typing import Annotated, Any, Final, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["CATALOG_KEYS", "CatalogFields", "CatalogImages"]

_Scalar: TypeAlias = str | float | bool


class OptionalImage(BaseModel):
    """An image that may be missing."""

    model_config = ConfigDict(extra="forbid")

    optional: str = Field(description="path, left out where it is empty or its column is")


class OutputImage(BaseModel):
    """The image of another job."""

    model_config = ConfigDict(extra="forbid")

    job: str | int = Field(description="id of the job whose image this is; it is made first")


CatalogImage: TypeAlias = (
    Annotated[str, Field(description="path relative to the manifest, or public URL; a template")]
    | OptionalImage
    | OutputImage
)


class CatalogImages(BaseModel):
    """What the images of a catalogue may be, in place of those of a job."""

    images: list[CatalogImage] | str | None = Field(
        None, description="the reference images, image 1 first; a text is split at '|' as a cell of a table is"
    )
    input_image: CatalogImage | None = None


class CatalogFields(BaseModel):
    """Where the jobs of a catalogue come from."""

    rows: str | list[dict[str, Any]] | None = Field(
        None,
        description="a table (.csv .tsv .jsonl .ndjson .xlsx .parquet) or a folder of photos, relative to the manifest,"
        " or a list of rows",
    )
    sheet: str | None = Field(None, description="the sheet of an .xlsx, by default the first")
    encoding: str | None = Field(None, description="of a .csv or .tsv, as cp1252, where it is not found out rightly")
    columns: dict[str, str] | None = Field(None, description="new names of columns, by which templates reach them")
    matrix: dict[str, list[_Scalar | dict[str, Any]]] | None = Field(
        None, description="lists of values; each row makes a job for every combination"
    )
    where: str | dict[str, _Scalar | list[_Scalar] | None] | None = Field(
        None,
        description="which jobs to make: an expression as \"stock | int > 0 and scene != 'beach'\", or columns with"
        " the values that they may have",
    )


CATALOG_KEYS: Final = tuple(CatalogFields.model_fields)
"""What a catalogue may say beside the fields of its jobs."""
