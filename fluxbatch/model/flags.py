"""Hints that an image may not be what was asked for. They are no failures: what to make of them is up to people."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from fluxbatch.model.job import Json

__all__ = ["Flag", "Flags"]


class Flag(StrEnum):
    """What is odd about an image. Users' scripts depend on these words."""

    SIZE = "size"
    """other dimensions than were asked for"""
    BLANK = "blank"
    """one colour, or nearly so"""
    SAME_AS_INPUT = "same_as_input"
    """byte for byte a reference image of its own job"""
    SAME_AS_OUTPUT = "same_as_output"
    """byte for byte the image of another job"""


Flags: TypeAlias = Mapping[Flag, Mapping[str, "Json"]]
"""The flags of one image, in the order above, each with what a person needs to look into it:
``size`` {asked, got}, ``blank`` {colour}, ``same_as_input`` {image, input}, ``same_as_output`` {job}"""
