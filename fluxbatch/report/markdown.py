"""Text of other people in Markdown: it must not pass for more than text."""

from __future__ import annotations

import html
import re
from typing import Final

from fluxbatch.telemetry.redact import printable

__all__ = ["escaped", "harmless"]

_LONGEST: Final = 200
_LINKING: Final = re.compile("([@#])")
_SPECIAL: Final = re.compile(r"([\\`*_{}\[\]()#+\-.!|~@:$])")


def escaped(text: str) -> str:
    """One line of at most 200 characters, for a paragraph or the cell of a table."""
    return _SPECIAL.sub(r"\\\1", harmless(text))


def harmless(text: str) -> str:
    """For the inside of HTML. GitHub looks for mentions and numbers in what was rendered: a backslash stops neither."""
    line = " ".join(printable(text).split())
    line = line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"
    return _LINKING.sub("\\1\u200b", html.escape(line, quote=False))
