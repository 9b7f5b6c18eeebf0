"""The files of the page: scripts that hold data, and the hand-written rest. Nothing is replaced before all is there."""

from __future__ import annotations

import re
import secrets
from html import escape
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

import orjson

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["PageFiles", "as_script"]

_ASSETS: Final = ("style.css", "words.js", "plots.js", "detail.js", "app.js")
_OLD: Final = re.compile(
    r"(data|about|style|words|plots|detail|app)-[0-9a-f]{12}(-\d+)?\.(js|css)|\.index\.[0-9a-f]{12}\.new"
)
_SCRIPTS: Final = "<!-- scripts -->"


def as_script(call: str, facts: Any) -> bytes:
    """A line of JavaScript that hands facts to a function; nothing in them can end the script or the line."""
    text = orjson.dumps(facts).replace(b"<", b"\\u003c").replace(b">", b"\\u003e")
    text = text.replace("\u2028".encode(), b"\\u2028").replace("\u2029".encode(), b"\\u2029")
    return call.encode() + b"(" + text + b");\n"


class PageFiles:
    """One writing of a report. Its files have names of their own until ``index.html`` names them, all at once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._token = secrets.token_hex(6)
        self._scripts: list[str] = []
        self._files: set[str] = set()

    def add(self, entries: Sequence[dict[str, Any]]) -> None:
        """Write some jobs. Blocks.

        Raises:
            OSError: the folder can't be written.
        """
        name = f"data-{self._token}-{len(self._scripts)}.js"
        self._scripts.append(name)
        self._write(name, as_script("FLUXBATCH.add", entries))

    def finish(self, about: dict[str, Any]) -> Path:
        """Write what holds for all jobs and the page itself, and remove what the last report leaves. Blocks.

        Raises:
            OSError: the folder can't be written.
        """
        page = resources.files("fluxbatch.report.gallery") / "page"
        self._write(f"about-{self._token}.js", as_script("FLUXBATCH.begin", about))
        named = {}
        for asset in _ASSETS:
            stem, _, ending = asset.rpartition(".")
            named[asset] = f"{stem}-{self._token}.{ending}"
            self._write(named[asset], (page / asset).read_bytes())
        order = [named["words.js"], *self._scripts, named["plots.js"], named["detail.js"], named["app.js"]]
        tags = "\n".join(
            f'<script src="{escape(name)}" defer></script>' for name in [*order, f"about-{self._token}.js"]
        )
        html = (page / "index.html").read_text(encoding="utf-8").replace(_SCRIPTS, tags)
        html = html.replace("style.css", named["style.css"])
        temporary = self._folder / f".index.{self._token}.new"
        temporary.write_text(html, encoding="utf-8")
        index = temporary.replace(self._folder / "index.html")
        for old in self._folder.iterdir():
            if _OLD.fullmatch(old.name) and old.name not in self._files:
                old.unlink(missing_ok=True)
        return index

    def give_up(self) -> None:
        """Leave the last report as it was. Blocks."""
        for name in self._files:
            (self._folder / name).unlink(missing_ok=True)

    def _write(self, name: str, data: bytes) -> None:
        self._files.add(name)
        (self._folder / name).write_bytes(data)
