"""Cells of tables as people see them, whatever kind of file they come from."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final

__all__ = ["as_seen", "number_text", "plain"]

_MOST_WHOLE: Final = 1 << 53


def number_text(number: float) -> str:
    """A number as people write it: 12345 not 12345.0, and no more digits than a spreadsheet shows."""
    if isinstance(number, int):
        return getattr(number, "written", None) or str(number)  # 007 stays 007
    if number.is_integer() and abs(number) < _MOST_WHOLE:
        return str(int(number))
    return f"{number:.15g}"


def plain(value: Any) -> Any:
    """A value of a typed table as JSON knows it: whole numbers as such, dates as ISO text, None for what is no number.

    Lists and mappings keep their form.
    """
    match value:
        case float():
            return _number(value)
        case datetime() | date() | time():
            return value.isoformat()
        case timedelta():
            return str(value)
        case Decimal():
            return format(value, "f")
        case list() | tuple():
            return [plain(entry) for entry in value]
        case dict():
            return {name: plain(entry) for name, entry in value.items()}
        case _:
            return value


def as_seen(value: Any) -> Any:
    """A cell as templates see it: text without the space around it, or true or false; lists and mappings as they are.

    An empty cell is empty text.
    """
    if isinstance(value, str):
        return value.strip()
    if value is None:
        return ""
    if isinstance(value, bool):
        return value
    return number_text(value) if isinstance(value, int | float) else plain(value)


def _number(value: float) -> float | int | None:
    if value != value:  # noqa: PLR0124 - how a float says that it is none
        return None
    return int(value) if value.is_integer() and abs(value) < _MOST_WHOLE else value
