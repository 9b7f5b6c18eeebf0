"""What the columns of a table are, guessed from its header and first rows: an id, a name, images."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from fluxbatch.planning.catalog.rows import open_rows
from fluxbatch.planning.flaw import Unreadable
from fluxbatch.planning.ids import clash_key, unsafe_name
from fluxbatch.planning.names import IMAGE_FIELDS
from fluxbatch.planning.reading.cells import as_seen
from fluxbatch.planning.templates import is_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from fluxbatch.planning.catalog.rows import Cells

__all__ = ["Column", "Guess", "guess_columns", "is_picture", "sample_table"]

_SAMPLE: Final = 10_000
_LONGEST_CODE: Final = 64
_MOST_GROUPS: Final = 20
_PICTURE: Final = re.compile(r"\.(?:jpe?g|jpe|jfif|png|webp|hei[cf]|avif|gif|bmp|tiff?)$", re.IGNORECASE)
_ADDRESS: Final = re.compile(r"https?://\S+", re.IGNORECASE)
_OF_IMAGES: Final = re.compile(
    r"image|photo|pict?\b|picture|img|bild|foto|图|圖|照片|画像|写真|사진|이미지", re.IGNORECASE
)
_OF_IDS: Final = re.compile(
    r"(?:product|item|article|artikel|art|style|part|model|handle|商品|产品|產品)?[\s_.-]*"
    r"(?:id|sku|code|no|nr|number|num|nummer|key|ean|gtin|upc|asin|handle|article"
    r"|货号|貨號|编号|編號|款号|款號|型号|编码|編碼|代码|条码|品番|番号|상품번호|품번)[\s.#:]*",
    re.IGNORECASE,
)
_OF_NAMES: Final = re.compile(
    r"(?:product|item|article|display|商品|产品|產品)?[\s_-]*"
    r"(?:name|title|titel|bezeichnung|nom|nombre|titre|nome|título|名称|名稱|名字|品名|名|标题|標題|상품명|이름)[\s.:]*",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Column:
    """A column that a manifest uses.

    Attributes:
        header: as the table has it.
        name: that templates call it by.
        full: no cell is empty.
        several: some cells list several images.
        local: all cells are paths that are not absolute.
        first: a cell that is not empty.
    """

    header: str
    name: str
    full: bool = True
    several: bool = False
    local: bool = False
    first: str = ""


@dataclass(slots=True)
class Guess:
    """What the columns of a table are.

    Attributes:
        id: has another text in each row, which can be the name of a file.
        title: what a row is about.
        images: image 1 first.
        group: a column with few different texts, and the first of them.
    """

    id: Column | None = None
    title: Column | None = None
    images: list[Column] = field(default_factory=list)
    group: tuple[str, str] | None = None

    @property
    def renamed(self) -> dict[str, str]:
        """New names of columns, with their headers."""
        used = [self.id, self.title, *self.images]
        return {one.name: one.header for one in used if one is not None and one.name != one.header}


def is_picture(name: str) -> bool:
    """Whether a file is a picture by its name."""
    return _PICTURE.search(name) is not None


def sample_table(path: Path) -> tuple[list[str], list[list[str]]]:
    """The header of a table, and its first rows as text: a cell that is no text is empty.

    Raises:
        Unreadable: it can't be read, or has no rows.
    """
    opened = open_rows(path.name, path.parent, "", "", [])
    rows = [row[1] for row in islice(opened.rows, _SAMPLE) if not isinstance(row, Unreadable)]
    header = opened.header
    if header is None:
        header = list(dict.fromkeys(key for row in rows if isinstance(row, dict) for key in row))
    sampled = [cells for row in rows if any(cells := _texts(row, header))]
    if not sampled:
        raise Unreadable(0, f"{path.name}: has no rows", "write a header, then a row for each product")
    return list(header), sampled


def guess_columns(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Guess:
    """What the columns are.

    Args:
        header: of the table.
        rows: the first ones, with a text for each column.
    """
    times = Counter(header)
    columns = {name: [row[number] for row in rows] for number, name in enumerate(header) if name and times[name] == 1}
    names = _Names(header)
    guess = Guess()
    images = [name for name, cells in columns.items() if _are_images(name, cells)]
    for name in images[: len(IMAGE_FIELDS)]:
        guess.images.append(_image(name, columns.pop(name), names))
    found = _id_of(columns)
    title = next((name for name, cells in columns.items() if name != found and _OF_NAMES.fullmatch(name)), "")
    if title:
        guess.title = Column(title, names.of(title, "name"), full=all(columns[title]))
    if not found and title and _are_ids(columns[title]):
        guess.id = guess.title
    elif found:
        guess.id = Column(found, names.of(found, "sku"))
    guess.group = next(
        ((name, cells[0]) for name, cells in columns.items() if name not in {found, title} and _is_group(cells)), None
    )
    return guess


class _Names:
    """Names for templates: the header where it is a plain word, else one that the table does not have."""

    def __init__(self, header: Iterable[str]) -> None:
        self._taken = set(header)

    def of(self, header: str, word: str) -> str:
        """The name of a column whose header says ``word`` in other words."""
        if header.isascii() and is_name(header):
            return header
        name, number = word, 1
        while name in self._taken:
            number += 1
            name = f"{word}{number}"
        self._taken.add(name)
        return name


def _texts(row: Cells, header: Sequence[str]) -> list[str]:
    cells = [row.get(name) for name in header] if isinstance(row, dict) else [*row]
    seen = [_text(cell) for cell in cells[: len(header)]]
    return seen + [""] * (len(header) - len(seen))


def _text(cell: Any) -> str:
    seen = as_seen(cell)
    return seen if isinstance(seen, str) else ""


def _parts(cell: str) -> list[str]:
    """The images of a cell, which may list several; or the cell, if what stands between bars are no images."""
    parts = [part.strip() for part in re.split(r"[|\n]", cell) if part.strip()]
    return parts if all(is_picture(part) or _ADDRESS.match(part) for part in parts) else [cell]


def _are_images(name: str, cells: Sequence[str]) -> bool:
    """Whether all that a column has are files of pictures, or addresses below a header that says so."""
    of_images = _OF_IMAGES.search(name) is not None
    written = [cell for cell in cells if cell]
    return bool(written) and all(
        is_picture(part.partition("?")[0]) or (of_images and _ADDRESS.fullmatch(part) is not None)
        for cell in written
        for part in _parts(cell)
    )


def _image(header: str, cells: Sequence[str], names: _Names) -> Column:
    parts = [part for cell in cells for part in _parts(cell)]
    return Column(
        header,
        names.of(header, "photo"),
        full=all(cells),
        several=any(len(_parts(cell)) > 1 for cell in cells),
        local=not any(_ADDRESS.match(part) or part.startswith("/") for part in parts),
        first=parts[0],
    )


def _id_of(columns: dict[str, list[str]]) -> str:
    """The column that is the id: called so, or else the first whose texts look like codes; empty if there is none."""
    usable = [name for name, cells in columns.items() if _are_ids(cells)]
    called = [name for name in usable if _OF_IDS.fullmatch(name)]
    return next(iter([*called, *(name for name in usable if _are_codes(columns[name]))]), "")


def _are_ids(cells: Sequence[str]) -> bool:
    return (
        all(cells)
        and len({clash_key(cell) for cell in cells}) == len(cells)
        and not any(unsafe_name(cell) for cell in cells)
    )


def _are_codes(cells: Sequence[str]) -> bool:
    return all(len(cell) <= _LONGEST_CODE and not re.search(r"\s", cell) and re.search(r"\d", cell) for cell in cells)


def _is_group(cells: Sequence[str]) -> bool:
    return all(cells) and 1 < len(set(cells)) <= min(_MOST_GROUPS, len(cells) - 1)
