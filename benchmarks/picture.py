"""The ratios as an SVG: for each workload a bar for each contestant, with its spread; two panels, one scale each."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias
from xml.sax.saxutils import escape

from benchmarks.contestants import FLOORS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.figures import Ratio, Spread

_COLOURS: Final = {
    "sample": "#c8553d",
    "openai": "#d99a2b",
    "cookbook": "#7a5c99",
    "floor": "#5b8e7d",
    "curl": "#8fa3ad",
    "aria2c": "#6b7f8a",
}
_FONTS: Final = "system-ui, -apple-system, Segoe UI, Roboto, DejaVu Sans, sans-serif"
_OTHER: Final = "#999999"
_INK, _FAINT, _RULE = "#22272e", "#6a737d", "#e3e7eb"
_WIDTH: Final = 1000
_NAMES: Final = 128
"""where the names of contestants end"""
_PANELS: Final = ((140, 410), (585, 390))
"""left edge and width"""
_TOP, _BAR, _GAP, _HEAD = 112, 15, 14, 24
_TICKS: Final = tuple(digit * 10.0**power for power in range(-3, 5) for digit in (1, 2, 5))
_ROOM: Final = 1.7
"""beside the longest bars, for their numbers"""

Measure: TypeAlias = Callable[["Ratio"], "Spread"]
_MEASURES: Final[tuple[tuple[str, Measure], ...]] = (
    ("CPU", lambda ratio: ratio.cpu),
    ("peak memory", lambda ratio: ratio.peak),
)


@dataclass(frozen=True, slots=True)
class Scale:
    """Logarithmic: twice as much is as wide everywhere."""

    left: float
    width: float
    low: float
    high: float

    @classmethod
    def over(cls, spreads: Sequence[Spread], left: float, width: float) -> Scale:
        low = min([1.0, *(spread.low for spread in spreads)])
        high = max([1.0, *(spread.high for spread in spreads)])
        return cls(left, width, low / (_ROOM if low < 1 else 1.05), high * _ROOM)

    def at(self, value: float) -> float:
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return self.left + self.width * share

    def ticks(self) -> list[float]:
        return [tick for tick in _TICKS if self.low <= tick <= self.high / 1.1]


def picture(ratios: Sequence[Ratio], about: str) -> str:
    """``ratios`` are of everyone ÷ fluxbatch."""
    groups: dict[str, list[Ratio]] = {}
    for ratio in ratios:
        groups.setdefault(ratio.workload, []).append(ratio)
    height = _TOP + sum(_HEAD + _BAR * len(group) + _GAP for group in groups.values()) + 52
    scales = [
        Scale.over([measure(ratio) for ratio in ratios], *panel)
        for (_, measure), panel in zip(_MEASURES, _PANELS, strict=True)
    ]
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" font-family="{_FONTS}">',
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
        _text(24, 36, "What the same images cost", size=20, weight=600),
        _text(24, 58, "Each client ÷ fluxbatch: right of the line takes more than fluxbatch, left of it less.", _FAINT),
        *_legend(ratios),
        *_axes(scales, height),
        *_groups(groups, scales),
        _text(24, height - 14, about, _FAINT, size=11),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _legend(ratios: Sequence[Ratio]) -> Iterator[str]:
    x = 24.0
    for name in dict.fromkeys(ratio.above for ratio in ratios):
        yield f'<rect x="{x:g}" y="72" width="11" height="11" rx="2" fill="{_COLOURS.get(name, _OTHER)}"/>'
        yield _text(x + 16, 82, name, size=12)
        x += 16 + 7.2 * len(name) + 18


def _axes(scales: Sequence[Scale], height: int) -> Iterator[str]:
    bottom = height - 48
    for scale, (title, _) in zip(scales, _MEASURES, strict=True):
        yield _text(scale.at(1), _TOP - 8, title, size=13, weight=600)
        for tick in scale.ticks():
            x, is_one = scale.at(tick), tick == 1
            colour = _FAINT if is_one else _RULE
            yield f'<line x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{bottom}" stroke="{colour}"/>'
            yield _text(x, bottom + 14, f"{tick:g}×", _FAINT, size=11, anchor="middle")


def _groups(groups: dict[str, list[Ratio]], scales: Sequence[Scale]) -> Iterator[str]:
    y = float(_TOP)
    for workload, group in groups.items():
        yield _text(24, y + 16, workload, size=13, weight=600, halo=True)
        y += _HEAD
        for ratio in group:
            yield _text(_NAMES, y + 10.5, ratio.above, _FAINT, size=11, anchor="end")
            for scale, (_, measure) in zip(scales, _MEASURES, strict=True):
                yield from _bar(scale, measure(ratio), y, ratio.above)
            y += _BAR
        y += _GAP


def _bar(scale: Scale, spread: Spread, y: float, name: str) -> Iterator[str]:
    start, end = sorted((scale.at(1), scale.at(spread.median)))
    low, high, middle = scale.at(spread.low), scale.at(spread.high), y + 6.5
    opacity = ' fill-opacity="0.75"' if name in FLOORS else ""
    yield (
        f'<rect x="{start:.1f}" y="{y + 1:g}" width="{max(end - start, 1):.1f}" height="11" rx="1.5"'
        f' fill="{_COLOURS.get(name, _OTHER)}"{opacity}/>'
    )
    if high > low:
        yield (
            f'<path d="M{low:.1f} {middle:g}H{high:.1f}M{low:.1f} {middle - 3:g}v6M{high:.1f} {middle - 3:g}v6"'
            f' stroke="{_INK}" fill="none"/>'
        )
    is_less = spread.median < 1
    x = min(low, start) - 5 if is_less else max(high, end) + 5
    yield _text(x, y + 10.5, _number(spread.median), size=11, anchor="end" if is_less else "start", halo=True)


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 20 else f"{value:.1f}" if value >= 3 else f"{value:.2f}"


def _text(
    x: float,
    y: float,
    text: str,
    colour: str = _INK,
    *,
    size: int = 12,
    weight: int = 400,
    anchor: str = "start",
    halo: bool = False,
) -> str:
    under = ' stroke="#ffffff" stroke-width="3" paint-order="stroke"' if halo else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" font-weight="{weight}" fill="{colour}"'
        f' text-anchor="{anchor}"{under}>{escape(text)}</text>'
    )
