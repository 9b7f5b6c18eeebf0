"""Whether a picture shows anything: decoded as coarsely as its kind allows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fluxbatch.adapters.fitting.plugins import decoding, open_image
from fluxbatch.formats import NotAnImage, recognise

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["colour_if_blank"]

_MOST_PIXELS: Final = 32 << 20
"""of what can't be decoded coarsely; the API makes 4 MP at most"""
_LOOKED_AT: Final = 64
"""pixels of each side that are looked at, means of what they stand for"""
_DEVIATION: Final = 2.0
"""of 255: what has less in all its channels shows nothing that a person would see"""


def colour_if_blank(path: Path) -> str | None:
    """``#RRGGBB`` if the image is of one colour or nearly so, empty if it isn't; None if that can't be told. Blocks."""
    from PIL.Image import Resampling
    from PIL.ImageStat import Stat
    from PIL.JpegImagePlugin import JpegImageFile

    try:
        with path.open("rb") as file:
            kind = recognise(file.read(64))
            with open_image(file, kind) as image, decoding(kind):
                if isinstance(image, JpegImageFile):
                    image.draft(None, (_LOOKED_AT, _LOOKED_AT))
                if image.width * image.height > _MOST_PIXELS:
                    return None
                image.load()
                plain = image.convert("RGBA" if image.has_transparency_data else "RGB")
                side = min(_LOOKED_AT, plain.width), min(_LOOKED_AT, plain.height)
                seen = Stat(plain.resize(side, Resampling.BOX))
                if max(seen.stddev) > _DEVIATION:
                    return ""
                return "#{:02X}{:02X}{:02X}".format(*(round(channel) for channel in seen.mean[:3]))
    except (NotAnImage, OSError):
        return None
