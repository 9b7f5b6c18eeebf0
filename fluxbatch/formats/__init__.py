"""What the bytes of an image file say: format, size in pixels, mode, and whether the file is complete.

Pure parsing of headers and frames: nothing is decoded, nothing is held in memory beyond one piece.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fluxbatch.formats.facts import EXTENSIONS, ImageFacts, NotAnImage
from fluxbatch.formats.jpeg import inspect_jpeg
from fluxbatch.formats.kinds import describe, recognise
from fluxbatch.formats.png import inspect_png
from fluxbatch.formats.webp import inspect_webp
from fluxbatch.formats.window import Window

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

__all__ = ["EXTENSIONS", "ImageFacts", "NotAnImage", "describe", "inspect_image", "recognise"]

_INSPECTORS: Final[dict[str, Callable[[Window], ImageFacts]]] = {
    "jpeg": inspect_jpeg,
    "png": inspect_png,
    "webp": inspect_webp,
}


def inspect_image(file: BinaryIO, *, along: Callable[[memoryview], object] | None = None) -> ImageFacts:
    """The facts of a complete JPEG, PNG or WebP file.

    JPEG: its end marker is there (bytes behind it, as phones append them, are allowed). PNG: every chunk up to the
    last one is there and its CRC is right. WebP: the file is as long as its header says.

    Args:
        file: open for reading in binary, seekable; it is left at an arbitrary position.
        along: is handed all bytes of the file, in order, each once, so that a digest needs no reading of its own. Not
            all of them, if it is no image.

    Raises:
        NotAnImage: it is another kind of file, damaged, or cut short.
    """
    window = Window(file, along)
    if not window.size:
        raise NotAnImage("the file is empty", kind="empty")
    kind = recognise(window.head())
    inspector = _INSPECTORS.get(kind)
    if inspector is None:
        raise NotAnImage(f"it is {describe(kind)}, not a JPEG, PNG or WebP image", kind=kind)
    facts = inspector(window)
    window.finish()
    return facts
