"""Files of text: what can be wrong with them before anyone looks at their meaning."""

from __future__ import annotations

import difflib
from itertools import islice
from pathlib import Path
from typing import Final

from fluxbatch.planning.flaw import Unreadable

__all__ = ["decoded", "is_within_reach", "not_utf8", "read_document", "require_file", "similar_name", "wide_encoding"]

_LARGEST_DOCUMENT: Final = 128 << 20
_MOST_NAMES: Final = 20_000
_BOM: Final = b"\xef\xbb\xbf"


def require_file(path: Path) -> None:
    """Make sure that there is a file to read.

    Raises:
        Unreadable: it is missing, a folder, not a regular file, or empty.
    """
    try:
        if path.is_dir():
            raise Unreadable(0, "is a folder, not a manifest", f"for its photos: fluxbatch run {path} -p PROMPT")
        if not path.exists():
            similar = similar_name(path)
            raise Unreadable(0, "there is no such file", f"did you mean {similar!r}?" if similar else "check the path")
        if not path.is_file():
            raise Unreadable(0, "is not a regular file", "write the manifest to a file")
        if not path.stat().st_size:
            raise Unreadable(0, "the file is empty", "write at least one job")
    except OSError as error:
        raise Unreadable(0, f"can't be read: {error.strerror}", "check its permissions") from None


def is_within_reach(path: Path, base: Path) -> bool:
    """Whether a manifest in ``base`` may have the text of a file sent away: one below it, or below where we are.

    It may come from someone else, and all other text of this disk is none of their business.
    """
    return any(path.resolve().is_relative_to(folder.resolve()) for folder in (base, Path.cwd()))


def read_document(path: Path) -> str:
    """The text of a whole document.

    Raises:
        Unreadable: it can't be read, is no UTF-8, or is too large to be held in memory.
    """
    require_file(path)
    try:
        size = path.stat().st_size
        if size > _LARGEST_DOCUMENT:
            limit = _LARGEST_DOCUMENT >> 20
            raise Unreadable(0, f"is {size >> 20} MB large, a document may have {limit}", "write JSONL or CSV instead")
        data = path.read_bytes()
    except OSError as error:
        raise Unreadable(0, f"can't be read: {error.strerror}", "check its permissions") from None
    if encoding := wide_encoding(data):
        raise Unreadable(0, f"is {encoding} text", "save it as UTF-8")
    data = data.removeprefix(_BOM)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise not_utf8(1 + data.count(b"\n", 0, error.start), data[error.start]) from None
    if not text.strip():
        raise Unreadable(0, "the file is empty", "write at least one job")
    return text


def decoded(line: bytes, number: int) -> str:
    """One line of a table.

    Raises:
        Unreadable: it is no UTF-8.
    """
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise not_utf8(number, line[error.start]) from None


def not_utf8(line: int, byte: int) -> Unreadable:
    """The complaint about bytes that are no UTF-8."""
    return Unreadable(line, f"is not UTF-8 text: byte 0x{byte:02x}", "save the file as UTF-8")


def wide_encoding(start: bytes) -> str:
    """The encoding that the first bytes tell of, if it is another than UTF-8."""
    return "UTF-16" if start[:2] in {b"\xff\xfe", b"\xfe\xff"} else ""


def similar_name(path: Path) -> str:
    """The name in the folder of ``path`` that is most like its own, empty if there is none."""
    try:
        names = {entry.name.casefold(): entry.name for entry in islice(path.parent.iterdir(), _MOST_NAMES)}
    except OSError:
        return ""
    found = difflib.get_close_matches(path.name.casefold(), names, n=1, cutoff=0.6)
    return names[found[0]] if found else ""
