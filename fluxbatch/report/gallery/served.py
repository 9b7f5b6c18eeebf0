"""The same page for a server: its data comes on request, and goes on coming."""

from __future__ import annotations

import re
from importlib import resources
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["served_page"]

_SCRIPTS: Final = ("words.js", "plots.js", "detail.js", "app.js", "served.js")
_STYLES: Final = ("style.css",)
_POLICY: Final = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>\n')
"""for files; a server sends its own, and both would hold"""


def served_page(*more: str) -> dict[str, bytes]:
    """The page as ``index.html``, and all that it loads, by name. ``more``: scripts and styles of its own kind."""
    folder = resources.files("fluxbatch.report.gallery") / "page"
    scripts = [*_SCRIPTS, *(name for name in more if name.endswith(".js"))]
    styles = [*_STYLES, *(name for name in more if name.endswith(".css"))]
    html = _POLICY.sub("", (folder / "index.html").read_text(encoding="utf-8"))
    html = html.replace("<!-- scripts -->", _tags('<script src="{}" defer></script>', scripts))
    html = html.replace('<link rel="stylesheet" href="style.css">', _tags('<link rel="stylesheet" href="{}">', styles))
    return {"index.html": html.encode(), **{name: (folder / name).read_bytes() for name in (*scripts, *styles)}}


def _tags(tag: str, names: Sequence[str]) -> str:
    return "\n".join(tag.format(name) for name in names)
