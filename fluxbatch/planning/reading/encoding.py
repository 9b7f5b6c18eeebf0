"""The encoding of a table, which no CSV tells: UTF-8, UTF-16, or what Excel writes in China.

Told wrongly, a name becomes nonsense that is paid for. So GB18030 is believed only where nothing else fits; German or
Spanish text from Excel is never taken for Chinese.
"""

from __future__ import annotations

import codecs
import re
from typing import TYPE_CHECKING, BinaryIO, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["LONGEST_LINE", "detected", "known_encoding"]

LONGEST_LINE: Final = 4 << 20
"""Bytes of a line of text, at most."""

_WIDE: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_ENOUGH: Final = 100_000
# A character of GB18030 that is no ASCII: four bytes or two.
_CHARACTER: Final = re.compile(rb"[\x81-\xfe][0-9][\x81-\xfe][0-9]|[\x81-\xfe][\x40-\xfe]")
# Characters of GB2312 side by side. Letters with accents stand alone or in pairs, never in fours.
_WORD: Final = re.compile(rb"[\xa1-\xf7][\xa1-\xfe][\xb0-\xf7][\xa1-\xfe]|[\xb0-\xf7][\xa1-\xfe][\xa1-\xf7][\xa1-\xfe]")
_IN_GB2312: Final = re.compile(rb"[\xa1-\xf7][\xa1-\xfe]")
# Signs, and the 3755 characters that make up nearly all of a text. Small accented letters, in pairs, look like others.
_COMMON: Final = re.compile(rb"[\xa1-\xa9\xb0-\xd7][\xa1-\xfe]")
# Korean text looks like common characters of Chinese, but never like those from here on, which are two fifths of them.
_NOT_KOREAN: Final = 0xC9
_KOREAN_FROM: Final = 24


def detected(path: Path) -> str:
    """The encoding of a text: ``utf-16``, ``gb18030``, or ``utf-8``, also if it is broken."""
    with path.open("rb") as file:
        if file.read(2) in _WIDE:
            return "utf-16"
        file.seek(0)
        if all(_decodes(line, "utf-8") for line in _foreign(file)):
            return "utf-8"
        file.seek(0)
        return "gb18030" if _is_chinese(file) else "utf-8"


def known_encoding(name: str) -> str:
    """The usual name of an encoding of text, empty if there is none of that name."""
    try:
        found = codecs.lookup(name)
        "".encode(found.name)  # refuses codecs that are not for text
    except (LookupError, ValueError):
        return ""
    return "utf-8" if found.name == "utf-8-sig" else found.name


def _foreign(file: BinaryIO) -> Iterator[bytes]:
    """The lines that are not ASCII alone, up to one that is longer than any table's."""
    while line := file.readline(LONGEST_LINE):
        if len(line) == LONGEST_LINE:
            return
        if not line.isascii():
            yield line


def _decodes(line: bytes, encoding: str) -> bool:
    try:
        line.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _is_chinese(file: BinaryIO) -> bool:
    characters: list[bytes] = []
    words = False
    for line in _foreign(file):
        if not _decodes(line, "gb18030"):
            return False
        if len(characters) < _ENOUGH:
            characters += _CHARACTER.findall(line)
            words = words or _WORD.search(line) is not None
    found = [character for character in characters if _IN_GB2312.fullmatch(character)]
    common = [character for character in found if _COMMON.fullmatch(character)]
    nearly_all = len(found) >= 0.95 * len(characters) and len(common) >= 0.7 * len(found)
    return words and nearly_all and not _is_korean(common)


def _is_korean(common: list[bytes]) -> bool:
    distinct = {character for character in common if character[0] >= 0xB0}
    return len(distinct) >= _KOREAN_FROM and all(character[0] < _NOT_KOREAN for character in distinct)
