"""Records of an Excel workbook: numbers and dates as text, as people see them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fluxbatch.planning.flaw import Unreadable, shown
from fluxbatch.planning.keys import nearest
from fluxbatch.planning.reading.cells import number_text, plain
from fluxbatch.planning.reading.workbook import check_workbook

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from python_calamine import CalamineSheet, CalamineWorkbook

__all__ = ["sheet_records"]


def sheet_records(path: Path, sheet: str = "") -> Iterator[tuple[int, list[Any]]]:
    """The rows that are not empty, the header first, each with its number. The sheet is held in memory.

    Args:
        path: of the workbook.
        sheet: its name; empty for the first that is not hidden.

    Raises:
        Unreadable: there is no such sheet, it can't be read or is too large, or the library for it is missing.
    """
    for number, cells in enumerate(_sheet(path, sheet).iter_rows(), 1):
        seen = [_seen(cell) for cell in cells]
        if any(cell != "" for cell in seen):
            yield number, seen


def _sheet(path: Path, name: str) -> CalamineSheet:
    try:
        from python_calamine import CalamineError, PasswordError, load_workbook
    except ImportError:
        message = "reading .xlsx needs the library python-calamine, which is not installed"
        raise Unreadable(0, message, "pip install 'fluxbatch[xlsx]'") from None
    check_workbook(path)
    try:
        with load_workbook(path) as book:
            return book.get_sheet_by_name(_name(book, name))
    except PasswordError:
        raise Unreadable(0, "is protected by a password", "save it without one") from None
    except CalamineError as error:
        raise Unreadable(0, f"is not a workbook of Excel: {error}", "save it as .xlsx, or as 'CSV UTF-8'") from None


def _name(book: CalamineWorkbook, name: str) -> str:
    if name:
        if name not in book.sheet_names:
            meant = nearest(name, book.sheet_names)
            remedy = f"did you mean {meant!r}?" if meant else f"it has {', '.join(map(shown, book.sheet_names[:10]))}"
            raise Unreadable(0, f"has no sheet {name!r}", remedy)
        return name
    from python_calamine import SheetTypeEnum, SheetVisibleEnum

    for sheet in book.sheets_metadata:
        if sheet.visible == SheetVisibleEnum.Visible and sheet.typ == SheetTypeEnum.WorkSheet:
            return sheet.name
    raise Unreadable(0, "has no sheet that is not hidden", "show one, or name it")


def _seen(cell: Any) -> Any:
    if isinstance(cell, str | bool):
        return cell
    return number_text(cell) if isinstance(cell, int | float) else plain(cell)
