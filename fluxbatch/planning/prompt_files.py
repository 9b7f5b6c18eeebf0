"""Prompts that stand in files of their own, each read once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fluxbatch.planning.flaw import Flaw, Unreadable, shown
from fluxbatch.planning.reading.text import is_within_reach, read_document

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["PromptFiles"]

_LARGEST: Final = 1 << 20
_MOST_KEPT: Final = 256


class PromptFiles:
    """The prompt files of one manifest.

    Args:
        base: the folder that their paths are relative to.
    """

    def __init__(self, base: Path) -> None:
        self._base = base
        self._kept: dict[str, str | Flaw] = {}

    def read(self, name: Any) -> str | Flaw:
        """The text without the line break at its end, or what is wrong with the file."""
        if not isinstance(name, str) or not name.strip():
            return Flaw("prompt_file", f"{shown(name)} is not a path", "write a file name")
        name = name.strip()
        if name not in self._kept:
            if len(self._kept) >= _MOST_KEPT:
                self._kept.clear()
            self._kept[name] = self._read(name)
        return self._kept[name]

    def _read(self, name: str) -> str | Flaw:
        try:
            path = self._base / name
            if not is_within_reach(path, self._base):
                remedy = "keep prompts beside the manifest, or run from a folder above both"
                return Flaw("prompt_file", f"{name} is outside of the manifest's folder", remedy)
            if path.is_file() and path.stat().st_size > _LARGEST:
                return Flaw("prompt_file", f"{name}: is larger than {_LARGEST >> 20} MB", "is this a prompt?")
            return read_document(path).rstrip("\r\n")
        except Unreadable as problem:
            return Flaw("prompt_file", f"{name}: {problem.message}", problem.remedy)
        except (OSError, ValueError) as error:
            return Flaw("prompt_file", f"{name}: can't be read: {error}", "check the path")
