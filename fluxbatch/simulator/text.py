"""Text on pictures: fonts, wrapping, and what to do about characters that no font here can draw."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import ImageFont

if TYPE_CHECKING:
    from collections.abc import Iterator

    from PIL import ImageDraw

_WIDE_FONTS = (
    "/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc",
    "/usr/share/fonts/opentype/noto/NotoSansCJK-Bold.ttc",
    "/usr/share/fonts/noto-cjk/NotoSansCJK-Regular.ttc",
    "/usr/share/fonts/google-noto-cjk/NotoSansCJK-Regular.ttc",
    "/usr/share/fonts/truetype/wqy/wqy-microhei.ttc",
    "/usr/share/fonts/truetype/wqy/wqy-zenhei.ttc",
    "/usr/share/fonts/truetype/droid/DroidSansFallbackFull.ttf",
    "/System/Library/Fonts/PingFang.ttc",
    "/System/Library/Fonts/Hiragino Sans GB.ttc",
    "/System/Library/Fonts/STHeiti Medium.ttc",
    "/mnt/c/Windows/Fonts/msyh.ttc",
)

_ALIKE = {"–": "-", "—": "-", "‘": "'", "’": "'", "“": '"', "”": '"', "•": "-", "×": "x"}
_CJK = ("CJK", "IDEOGRAPHIC", "FULLWIDTH", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO")

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@lru_cache(maxsize=64)
def _latin(size: int) -> Font:
    return ImageFont.load_default(size)


@lru_cache(maxsize=64)
def _wide(size: int) -> Font | None:
    for path in _WIDE_FONTS:
        if Path(path).exists():
            return ImageFont.truetype(path, size)
    return None


@lru_cache(maxsize=8192)
def _drawable(character: str, *, wide: bool) -> bool:
    """Whether the font has a glyph of its own; a missing one draws the same box as U+FFFF."""
    font = _wide(24) if wide else _latin(24)
    if font is None:
        return False
    if character.isspace():
        return True
    return bytes(font.getmask(character)) != bytes(font.getmask("\uffff"))


@dataclass(frozen=True, slots=True)
class Typesetter:
    """Measures and draws text in one size (pixels)."""

    size: int

    @property
    def line_height(self) -> int:
        """Distance of two base lines in pixels."""
        return round(self.size * 1.35)

    def width(self, text: str) -> float:
        """Width of one line in pixels."""
        return sum(font.getlength(run) for font, run in self._runs(text))

    def draw(self, draw: ImageDraw.ImageDraw, at: tuple[float, float], text: str, fill: tuple[int, ...]) -> None:
        """Draw one line with its base line at `at[1]`."""
        x, y = at
        for font, run in self._runs(text):
            draw.text((x, y), run, font=font, fill=fill, anchor="ls")
            x += font.getlength(run)

    def wrap(self, text: str, width: float, max_lines: int) -> list[str]:
        """Break into lines; what does not fit is replaced by a count of the characters left out."""
        pieces = _pieces(drawable_text(text))
        lines, rest = self._fill(pieces, width, max_lines)
        if rest:
            left_out = sum(map(len, rest))
            note = f" … +{left_out:,} characters"
            last = lines[-1]
            while last and self.width(last + note) > width:
                last = last[:-1]
                left_out += 1
                note = f" … +{left_out:,} characters"
            lines[-1] = last.rstrip() + note
        return lines

    def _fill(self, pieces: list[str], width: float, max_lines: int) -> tuple[list[str], list[str]]:
        lines, line, line_width = [], "", 0.0
        for index, piece in enumerate(pieces):
            piece_width = self.width(piece)
            if line and line_width + self.width(piece.rstrip()) > width:
                lines.append(line.rstrip())
                if len(lines) == max_lines:
                    return lines, pieces[index:]
                line, line_width = "", 0.0
            line += piece
            line_width += piece_width
        return ([*lines, line.rstrip()] if line else lines), []

    def _runs(self, text: str) -> Iterator[tuple[Font, str]]:
        latin, wide = _latin(self.size), _wide(self.size)
        for is_latin, run in groupby(text, lambda character: wide is None or _drawable(character, wide=False)):
            font = latin if is_latin or wide is None else wide
            yield font, "".join(run)


def drawable_text(text: str) -> str:
    """Printable text; a run of characters without a glyph becomes a count, e.g. `[12 CJK characters: no font]`."""
    printable = " ".join("".join(_printable(character) for character in text).split())
    parts = []
    for can_draw, run in groupby("".join(map(_nearest, printable)), _can_draw):
        characters = "".join(run)
        parts.append(characters if can_draw else _counted(characters))
    return "".join(parts)


def _nearest(character: str) -> str:
    """The character itself, or letters without accents and plain quotes where no font has it."""
    if _can_draw(character):
        return character
    plain = _ALIKE.get(character) or "".join(
        part for part in unicodedata.normalize("NFKD", character) if not unicodedata.combining(part)
    )
    return plain if plain and all(map(_can_draw, plain)) else character


def _can_draw(character: str) -> bool:
    return _drawable(character, wide=False) or _drawable(character, wide=True)


def _printable(character: str) -> str:
    """Controls and format marks (also those that turn the writing direction) become blanks."""
    return " " if unicodedata.category(character) in {"Cc", "Cf", "Zl", "Zp", "Cs"} else character


def _counted(run: str) -> str:
    name = "CJK" if all(unicodedata.name(character, "").startswith(_CJK) for character in run) else "other"
    return f"[{len(run)} {name} character{'' if len(run) == 1 else 's'}: no font]"


def _pieces(text: str) -> list[str]:
    """Where a line may break: after blanks, and at any wide character; very long words are cut."""
    pieces, word = [], ""
    for character in text:
        word += character
        if character == " " or len(word) >= 24 or unicodedata.east_asian_width(character) in "WF":
            pieces.append(word)
            word = ""
    return [*pieces, word] if word else pieces
