"""What is known of an image without decoding it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["EXTENSIONS", "ImageFacts", "NotAnImage"]

EXTENSIONS: Final = ("jpg", "png", "webp")
"""of the images that the API takes and makes"""


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """A complete image file.

    Attributes:
        mime: by the bytes; ``image/jpeg``, ``image/png`` or ``image/webp`` unless a ``Decoder`` told them.
        extension: ``jpg``, ``png`` or ``webp``; else the kind as ``kinds.recognise`` has it.
        width, height: pixels as stored, before any EXIF rotation.
        components: channels as stored; four without alpha are CMYK.
        bits: per channel.
        palette: colours come from a table.
        alpha: some of it may be transparent.
        orientation: EXIF orientation, 1 (upright) to 8.
        animated: more than one frame in time (APNG, animated WebP).
        multi_picture: several pictures in one file: MPO, as phones write it with the extension ``.jpg``, or pages.
        arithmetic: a JPEG with arithmetic coding, which most programs can't read.
    """

    mime: str
    extension: str
    width: int
    height: int
    components: int = 3
    bits: int = 8
    palette: bool = False
    alpha: bool = False
    orientation: int = 1
    animated: bool = False
    multi_picture: bool = False
    arithmetic: bool = False

    @property
    def cmyk(self) -> bool:
        """Printing inks instead of light; services tend to show it with false colours."""
        return self.components == 4 and not self.alpha


class NotAnImage(ValueError):
    """The bytes are no complete image of a kind that can be used.

    Attributes:
        message: what they are instead, or what is wrong with them; fits after "the file" or "image 1:".
        kind: what they are in one word as ``kinds.recognise`` has it, ``empty``, ``cut`` or ``damaged``.
        remedy: what to do about it, if that does not follow from the kind.
    """

    def __init__(self, message: str, *, kind: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.kind = kind
        self.remedy = remedy
