"""Draws bar and line charts as SVG. The page's style sheet defines the colours."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

WIDTH = 345  # chart width in SVG units: about a phone's width, so that text is not scaled there
ROW, TOP = 38, 4


class Bar(NamedTuple):
    """One bar, with a whisker from `low` to `high`. kind: "first", "other", "faint" or "plain"."""

    label: str
    value: float
    text: str
    low: float | None = None
    high: float | None = None
    kind: str = "other"


def bars(title: str, rows: Sequence[Bar], most: float | None = None) -> str:
    """Draws horizontal bars, with label and text above each. most: the value of a full bar."""
    most = most or max([*(r.high or 0 for r in rows), *(r.value for r in rows)], default=1) or 1
    height = TOP + ROW * len(rows)
    parts = [_open(title, height)]
    for i, row in enumerate(rows):
        y = TOP + ROW * i
        kind = row.kind
        length = WIDTH * min(row.value / most, 1)
        parts.append(f'<g><title>{escape(f"{row.label}: {row.text}")}</title>')
        parts.append(f'<text x="0" y="{y + 13}" class="label {kind}">{escape(row.label)}</text>')
        parts.append(f'<text x="{WIDTH}" y="{y + 13}" class="value" text-anchor="end">{escape(row.text)}</text>')
        parts.append(f'<rect x="0" y="{y + 19}" width="{WIDTH}" height="10" rx="2" class="track"/>')
        parts.append(f'<rect x="0" y="{y + 19}" width="{max(length, 1.5):.1f}" height="10" rx="2" class="bar {kind}"/>')
        if row.low is not None and row.high is not None:
            a, b = (WIDTH * min(v / most, 1) for v in (row.low, row.high))
            parts.append(f'<path d="M{a:.1f} {y + 24}H{b:.1f}M{a:.1f} {y + 21}v6M{b:.1f} {y + 21}v6" class="whisker"/>')
        parts.append("</g>")
    return "".join([*parts, "</svg>"])


def lines(title: str, series: Mapping[str, Sequence[float]], across: str) -> str:
    """Draws at most four series over x = 1, 2, 3, ... across: label of x. NaNs are not drawn."""
    left, right, top, bottom = 44, WIDTH - 8, 12, 190
    values = [v for row in series.values() for v in row if math.isfinite(v)] or [0.0]
    low, high = min(values), max(values)
    margin = 0.06 * (high - low) or abs(high) * 0.05 or 1.0
    low, high = low - margin, high + margin
    count = max(map(len, series.values()))

    def xy(place: int, value: float) -> tuple[float, float]:
        return (left + (right - left) * (place / (count - 1) if count > 1 else 0.5),
                bottom - (bottom - top) * (value - low) / (high - low))

    parts = [_open(title, bottom + 54)]
    for value in _ticks(low, high):
        y = xy(0, value)[1]
        parts.append(f'<path d="M{left} {y:.1f}H{right}" class="grid"/>'
                     f'<text x="{left - 5}" y="{y + 4:.1f}" class="tick" text-anchor="end">{value:.6g}</text>')
    for place in range(0, count, -(-count // 8)):
        x = xy(place, low)[0]
        parts.append(f'<text x="{x:.1f}" y="{bottom + 15}" class="tick" text-anchor="middle">{place + 1}</text>')
    parts.append(f'<text x="{(left + right) / 2}" y="{bottom + 31}" class="tick" text-anchor="middle">'
                 f"{escape(across)}</text>")
    for i, (name, row) in enumerate(series.items()):
        points = [(*xy(place, v), v, place) for place, v in enumerate(row) if math.isfinite(v)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y, _, _ in points)
        parts.append(f'<polyline points="{path}" class="series s{i % 4}"/>')
        for x, y, v, place in points if count <= 60 else ():
            text = escape(f"{name}, {across} {place + 1}: {v:.6g}")
            parts.append(f'<g><title>{text}</title><circle cx="{x:.1f}" cy="{y:.1f}" r="3" class="dot s{i % 4}"/></g>')
        x = left + 100 * i
        parts.append(f'<path d="M{x} {bottom + 45}h18" class="series s{i % 4}"/>'
                     f'<text x="{x + 24}" y="{bottom + 49}" class="tick">{escape(name)}</text>')
    if count == 1:
        parts += _place([(*xy(0, row[0]), f"{name} {row[0]:.5g}") for name, row in series.items()
                         if row and math.isfinite(row[0])])
    return "".join([*parts, "</svg>"])


def _place(points: Sequence[tuple[float, float, str]]) -> list[str]:
    """Places texts to the right of their points (x, y), from the top down, without overlaps."""
    lowest, parts = 0.0, []
    for x, y, text in sorted(points, key=lambda point: point[1]):
        lowest = max(y + 4, lowest + 15)
        parts.append(f'<text x="{x + 10:.1f}" y="{lowest:.1f}" class="label beside">{escape(text)}</text>')
    return parts


def _ticks(low: float, high: float) -> list[float]:
    """Returns three to eight round numbers between `low` and `high`, at equal distances."""
    power = 10.0 ** math.floor(math.log10((high - low) / 4))
    step = next(power * n for n in (10, 5, 2, 1) if (high - low) / (power * n) >= 3)
    return [round(step * i, 12) for i in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _open(title: str, height: float) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape(title)}">'
