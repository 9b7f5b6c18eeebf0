"""Text in cells of CSV that spreadsheets take for text: what would be a formula gets an apostrophe, and loses it again.

A spreadsheet runs what begins with ``=``, also if it came from a prompt or a file name.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["as_written", "safe_cell"]

_FORMULA: Final = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")
_NUMBER: Final = re.compile(r"[+-]?[0-9]+(?:[.,][0-9]+)*(?:[eE][+-]?[0-9]+)?%?")


def safe_cell(text: str) -> str:
    """Text as it goes into a cell; ``as_written`` gets it back, whatever it is."""
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def as_written(cell: str) -> str:
    """The text that a cell stands for."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell
