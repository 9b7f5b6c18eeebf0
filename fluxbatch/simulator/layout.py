"""Where the tiles of a montage go: rows or columns, in order, with as little cropping as possible."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in pixels."""

    left: int
    top: int
    width: int
    height: int


def arrange(ratios: Sequence[float], area: Box, gap: int) -> list[Box]:
    """A box for each picture (width / height), first to last as people read.

    Pictures keep about their shape: all of them are stretched by the same factor, the one nearest to 1 of all ways to
    cut the sequence into rows (or columns).
    """
    rows = _cut(tuple(ratios), area.width, area.height, gap)
    columns = _cut(tuple(1 / ratio for ratio in ratios), area.height, area.width, gap)
    # rows read more naturally, so columns must be clearly better, the more so the more there are
    if columns.cost * (1.15 if len(ratios) <= 3 else 1.3) < rows.cost:
        boxes = _place(columns.groups, area.height, area.width, gap)
        return [Box(area.left + box.top, area.top + box.left, box.height, box.width) for box in boxes]
    boxes = _place(rows.groups, area.width, area.height, gap)
    return [Box(area.left + box.left, area.top + box.top, box.width, box.height) for box in boxes]


@dataclass(frozen=True, slots=True)
class _Cut:
    cost: float
    groups: tuple[tuple[float, ...], ...]


@lru_cache(maxsize=256)
def _cut(ratios: tuple[float, ...], width: int, height: int, gap: int) -> _Cut:
    return min((_Cut(_cost(groups, width, height, gap), groups) for groups in _ways(ratios)), key=lambda cut: cut.cost)


def _ways(ratios: tuple[float, ...]) -> Iterator[tuple[tuple[float, ...], ...]]:
    count = len(ratios)
    for bits in range(2 ** (count - 1)):
        cuts = [0, *(index for index in range(1, count) if bits >> (index - 1) & 1), count]
        yield tuple(ratios[start:stop] for start, stop in pairwise(cuts))


def _cost(groups: tuple[tuple[float, ...], ...], width: int, height: int, gap: int) -> float:
    """How much is cropped, plus how unlike the sizes of the rows are."""
    heights = _heights(groups, width, gap)
    room = height - gap * (len(groups) - 1)
    if room <= 0 or min(heights) <= 0:
        return float("inf")
    stretch = room / sum(heights)
    uneven = max(heights) / min(heights)
    return max(stretch, 1 / stretch) * (1 + 0.3 * (uneven - 1))


def _heights(groups: tuple[tuple[float, ...], ...], width: int, gap: int) -> list[float]:
    return [(width - gap * (len(group) - 1)) / sum(group) for group in groups]


def _place(groups: tuple[tuple[float, ...], ...], width: int, height: int, gap: int) -> list[Box]:
    heights = _heights(groups, width, gap)
    stretch = (height - gap * (len(groups) - 1)) / sum(heights)
    boxes, top = [], 0.0
    for group, natural in zip(groups, heights, strict=True):
        left, row_height = 0.0, natural * stretch
        for ratio in group:
            box_width = ratio * natural
            right, bottom = round(left + box_width), round(top + row_height)
            boxes.append(Box(round(left), round(top), max(right - round(left), 1), max(bottom - round(top), 1)))
            left += box_width + gap
        top += row_height + gap
    return boxes
