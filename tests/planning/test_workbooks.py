"""Workbooks that would fill the memory: the library that reads them would end the process, so they never reach it."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING, Final

import openpyxl
import pytest

from tests.planning.helpers import take

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tests.planning.helpers import Desk

MAIN: Final = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
OFFICE: Final = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE: Final = "http://schemas.openxmlformats.org/package/2006/relationships"
SHEET: Final = "xl/worksheets/sheet1.xml"
RELATED: Final = (
    f'<Relationships xmlns="{PACKAGE}"><Relationship Id="r" Type="{OFFICE}/{{}}" Target="{{}}"/></Relationships>'
)
PARTS: Final = {
    "_rels/.rels": RELATED.format("officeDocument", "xl/workbook.xml"),
    "xl/workbook.xml": (
        f'<workbook xmlns="{MAIN}" xmlns:r="{OFFICE}"><sheets><sheet name="S" r:id="r"/></sheets></workbook>'
    ),
    "xl/_rels/workbook.xml.rels": RELATED.format("worksheet", "worksheets/sheet1.xml"),
}
MEGABYTE: Final = b" " * (1 << 20)
HEADER: Final = '<row r="1"><c r="A1" t="inlineStr"><is><t>id</t></is></c><c r="B1" t="str"><v>prompt</v></c></row>'


def write_book(path: Path, sheet: Iterable[str | bytes], *, claim: int = 0) -> None:
    """A workbook of one sheet.

    Args:
        path: of the file.
        sheet: pieces of what is in ``sheetData``.
        claim: what the directory says of the sheet's bytes; by default the truth.
    """
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as book:
        for name, text in PARTS.items():
            book.writestr(name, text)
        with book.open(SHEET, "w") as file:
            for piece in (f'<worksheet xmlns="{MAIN}"><sheetData>', *sheet, "</sheetData></worksheet>"):
                file.write(piece if isinstance(piece, bytes) else piece.encode())
        if claim:
            book.getinfo(SHEET).file_size = claim


def taken_line(desk: Desk) -> str:
    """What is said about ``a.xlsx`` as a manifest, which is the same as of the table of a catalogue."""
    from fluxbatch.planning.sources import ManifestFile

    line = take(ManifestFile(desk.folder / "a.xlsx"), root=desk.folder).line
    catalog = desk.take("a.yaml", 'catalog: {rows: a.xlsx, id: "{{ id }}", prompt: x}').line
    assert catalog == line.replace("a.xlsx: error: ", "a.yaml:1: error: catalog.rows: a.xlsx: ")
    return line


def value(place: str) -> str:
    return f'<c r="{place}" t="str"><v>x</v></c>'


@pytest.mark.slow
@pytest.mark.parametrize("claim", [3 << 30, 0, 500], ids=["gigabytes", "the truth", "a lie"])
def test_a_bomb_is_refused_by_its_size(desk: Desk, claim: int) -> None:
    write_book(desk.folder / "a.xlsx", [HEADER, *[MEGABYTE] * 150], claim=claim)

    line = taken_line(desk)

    assert line.startswith("a.xlsx: error: unpacks to ")
    assert line.endswith(" (save the table as 'CSV UTF-8')")
    assert line.startswith("a.xlsx: error: unpacks to 3.0 GB from 14") or claim != 3 << 30
    assert (desk.folder / "a.xlsx").stat().st_size < 200_000


def test_many_members_are_a_bomb_together(desk: Desk) -> None:
    write_book(desk.folder / "a.xlsx", [HEADER])
    with zipfile.ZipFile(desk.folder / "a.xlsx", "a", zipfile.ZIP_DEFLATED) as book:
        for number in range(4):
            name = f"xl/worksheets/more{number}.xml"
            book.writestr(name, "<worksheet/>")
            book.getinfo(name).file_size = 700 << 20

    assert taken_line(desk).startswith("a.xlsx: error: unpacks to 2.7 GB")


@pytest.mark.parametrize(
    ("cells", "area"),
    [
        (f'<row r="1048576">{value("XFD1048576")}</row>', "A1 to XFD1048576 are 17,179,869,184 cells"),
        (f'<row r="9">{value("A400000000")}</row>', "A1 to B400000000 are 800,000,000 cells"),
        ('<row r="100000"><c t="str" r="XFD100000"><is><t>x</t></is></c></row>', "A1 to XFD100000 are 1,638,400,000"),
        (f"<row r='90000000'>{'<c><v>1</v></c>' * 3}</row>", "A1 to C90000000 are 270,000,000 cells"),
        (f'<x:row xmlns:x="{MAIN}"><x:c r="zz3000000"><x:v>1</x:v></x:c></x:row>', "A1 to ZZ3000000 are 2,106,000,000"),
    ],
)
def test_a_cell_far_from_the_table_is_no_reason_to_die(desk: Desk, cells: str, area: str) -> None:
    write_book(desk.folder / "a.xlsx", [HEADER, cells])

    line = taken_line(desk)

    assert line.startswith(f"a.xlsx: error: {area}")
    assert line.endswith("(clear what stands far from the table, or save the table as 'CSV UTF-8')")


@pytest.mark.parametrize("place", ["A6999999999999", "A4294967296", "A0", "9A", "ABCDEFGHI1"])
def test_a_cell_that_is_nowhere_is_told(desk: Desk, place: str) -> None:
    write_book(desk.folder / "a.xlsx", [HEADER, f'<row r="2">{value(place)}</row>'])

    assert taken_line(desk).startswith(f"a.xlsx: error: is not a workbook of Excel: {place!r} is no place in a sheet")


@pytest.mark.slow
def test_a_long_sheet_is_looked_at_across_its_pieces(desk: Desk) -> None:
    rows = (f'<row r="{row}">{value(f"A{row}")}</row>' for row in range(2, 100_000))
    write_book(desk.folder / "a.xlsx", [HEADER, *rows, f'<row r="999999">{value("XFD999999")}</row>'])

    assert taken_line(desk).startswith("a.xlsx: error: A1 to XFD999999 are ")


@pytest.mark.parametrize(
    "extra",
    [
        pytest.param('<row r="1048576"><c r="XFD1048576" s="1"/></row>', id="formatted to the last cell"),
        pytest.param('<row r="1048576" ht="15"/>', id="a row without cells at the end"),
        pytest.param(f'<row r="2000">{value("AZ2000")}</row>', id="wide"),
    ],
)
def test_what_only_looks_large_is_read(desk: Desk, extra: str) -> None:
    rows = f'<row r="2">{value("A2")}{value("B2")}</row>'
    write_book(desk.folder / "a.xlsx", [HEADER, rows, extra])

    taken = desk.take("a.xlsx", (desk.folder / "a.xlsx").read_bytes())

    assert taken.jobs[0].id == "x"


def test_a_dimension_is_not_taken_at_its_word(desk: Desk) -> None:
    write_book(desk.folder / "a.xlsx", [HEADER, f'<row r="2">{value("A2")}{value("B2")}</row>'])
    with zipfile.ZipFile(desk.folder / "a.xlsx") as book:
        parts = {name: book.read(name) for name in book.namelist()}
    with zipfile.ZipFile(desk.folder / "a.xlsx", "w") as book:
        for name, data in parts.items():
            book.writestr(name, data.replace(b"<sheetData>", b'<dimension ref="A1:ZZZZZ99999999"/><sheetData>', 1))

    assert desk.take("a.xlsx", (desk.folder / "a.xlsx").read_bytes()).job.id == "x"


def test_photos_in_a_workbook_are_no_bomb(desk: Desk) -> None:
    book = openpyxl.Workbook()
    assert book.active is not None
    book.active.append(["id", "prompt"])
    book.active.append(["x", "y"])
    book.save(desk.folder / "a.xlsx")
    photo = desk.photo("person.jpg").read_bytes()
    with zipfile.ZipFile(desk.folder / "a.xlsx", "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/media/image1.jpg", photo)

    assert desk.take("a.xlsx", (desk.folder / "a.xlsx").read_bytes()).job.id == "x"


def test_damaged_workbooks_are_told(desk: Desk) -> None:
    write_book(desk.folder / "a.xlsx", [HEADER, f'<row r="2">{value("A2")}{value("B2")}</row>'])
    whole = (desk.folder / "a.xlsx").read_bytes()
    at = whole.index(SHEET.encode()) + len(SHEET) + 20
    damaged = [
        whole[: len(whole) // 2],
        whole[:-30],
        b"PK\x03\x04" + bytes(500),
        whole[:at] + b"\xff" * 30 + whole[at + 30 :],
        b"",
        b"no zip at all",
    ]
    for data in damaged:
        line = desk.take("a.xlsx", data).line
        assert line.startswith(("a.xlsx: error: is not a workbook of Excel: ", "a.xlsx: error: the file is empty"))
