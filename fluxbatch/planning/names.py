"""The names of all that a job may say. Apart from their types, which take a library that is slow to load."""

from __future__ import annotations

from typing import Final

__all__ = ["FIELDS", "FIT_WISHES", "IMAGE_FIELDS", "JOB_KEYS"]

FIELDS: Final = (
    *("model", "prompt", "aspect_ratio", "width", "height", "size", "seed", "safety_tolerance", "output_format"),
    *("prompt_upsampling", "steps", "guidance"),
)
"""Of the API's request, but for images."""

IMAGE_FIELDS: Final = ("input_image", *(f"input_image_{number}" for number in range(2, 9)))
"""The API's own names of reference images 1 to 8."""

JOB_KEYS: Final = frozenset(
    {*FIELDS, *IMAGE_FIELDS, "chain", "extra", "fit", "id", "images", "meta", "prompt_file", "variants"}
)
"""All that a job may say."""

FIT_WISHES: Final = frozenset({"background", "long_edge", "max_megapixels", "multiple_of"})
"""What may be asked for under ``fit``."""
