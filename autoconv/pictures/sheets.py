"""Lays out panels on matplotlib figures, in columns, so that each figure fits on a screen. Needs
the extra `plots`.
"""

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from ..arguments import extras
from .panels import Panel, Scores

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .notebook import Figure

# All lengths are in pixels, at 100 pixels per inch.
HEIGHT = 860  # maximum height of a figure
COLUMNS = 3  # maximum number of columns of a figure
COLUMN = 430  # width of a column if there are several panels
WIDEST = 1320  # maximum width of a single panel
GAP = 14
LINE = 13  # height of a line of text
BAR = 17  # height of a class in the chart of scores
LETTER = 5.2  # mean width of a letter
MOST_BARS = 10


def sheets(parts: Sequence[Panel | Scores], height: float = HEIGHT) -> "list[Figure]":
    """Draws panels in columns from top to bottom. Returns as many figures as are needed, each at
    most `height` pixels high.
    """
    columns = _columns(parts, height)
    return [_draw(columns[i : i + COLUMNS], _column_width(parts), height) for i in range(0, len(columns), COLUMNS)]


def one_sheet(parts: Sequence[Panel | Scores]) -> "Figure":
    """Draws all panels in one figure, which is higher than a screen if there are many panels."""
    if not parts:
        raise ValueError("There is nothing to draw, because the model has no convolutional layer.")
    height = float(HEIGHT)
    while len(_columns(parts, height)) > COLUMNS:
        height *= 1.1
    return sheets(parts, height)[0]


def new_figure(width: float, height: float, layout: Literal["constrained"] | None = "constrained") -> "Figure":
    """Returns an empty figure, width and height in inches of 100 pixels."""
    extras.load("matplotlib.figure", "matplotlib", "plots", "Drawing figures")
    from .notebook import Figure

    return Figure(figsize=(width, height), dpi=100, layout=layout)


def _column_width(parts: Sequence[Panel | Scores]) -> int:
    widths = [part.pixels.shape[1] if isinstance(part, Panel) else COLUMN for part in parts]
    return min(max(COLUMN, *widths), WIDEST) if len(parts) < COLUMNS else COLUMN


def _text(part: Panel | Scores, width: float) -> list[str]:
    """Returns the lines of a panel's heading and note."""
    return [part.title, *textwrap.wrap(part.note if isinstance(part, Panel) else "", int(width / LETTER))]


def _size(part: Panel | Scores, width: float, height: float) -> tuple[float, float]:
    """Returns a panel's width and height below its text: at most its own size."""
    if isinstance(part, Scores):
        return 0.7 * width, BAR * min(len(part.values), MOST_BARS)
    high, wide = part.pixels.shape[:2]
    scale = min(1, width / wide, (height - GAP - LINE * len(_text(part, width))) / high)
    return scale * wide, scale * high


def _full_height(part: Panel | Scores, width: float, height: float) -> float:
    ticks = 2 * LINE if isinstance(part, Scores) else 0
    return _size(part, width, height)[1] + LINE * len(_text(part, width)) + ticks + GAP


def _columns(parts: Sequence[Panel | Scores], height: float) -> list[list[Panel | Scores]]:
    """Distributes panels among columns of at most this height."""
    columns: list[list[Panel | Scores]] = [[]]
    used = 0.0
    for part in parts:
        needed = _full_height(part, _column_width(parts), height)
        if columns[-1] and used + needed > height:
            columns.append([])
            used = 0.0
        columns[-1].append(part)
        used += needed
    return columns


def _draw(columns: list[list[Panel | Scores]], width: float, height: float) -> "Figure":
    high = max(sum(_full_height(part, width, height) for part in column) for column in columns) + GAP
    wide = len(columns) * (width + GAP) + GAP
    sheet = new_figure(wide / 100, high / 100, None)
    for number, column in enumerate(columns):
        left = GAP + number * (width + GAP)
        top = high - GAP
        for part in column:
            for i, line in enumerate(_text(part, width)):
                sheet.text(left / wide, (top - LINE * i) / high, line, va="top", fontsize=7.5, parse_math=False,
                           weight="normal" if i else "bold", color="#444444" if i else "black")
            below = top - LINE * len(_text(part, width)) - 2
            w, h = _size(part, width, height)
            indent = 0.25 * width if isinstance(part, Scores) else 0
            axes = sheet.add_axes(((left + indent) / wide, (below - h) / high, w / wide, h / high))
            _fill(axes, part)
            top -= _full_height(part, width, height)
    return sheet


def _fill(axes: "Axes", part: Panel | Scores) -> None:
    axes.set_label(part.title)
    if isinstance(part, Panel):
        axes.imshow(part.pixels.squeeze(), cmap="gray", vmin=0, vmax=255, aspect="auto")
        axes.set_axis_off()
        return
    best = sorted(part.values, key=lambda name: -part.values[name])[:MOST_BARS]
    rows = [name for name in part.values if name in best][::-1]  # in the order of the classes
    axes.barh(rows, [part.values[name] for name in rows], color="#0b6e4f")
    axes.set_xlim(0, 1)
    axes.tick_params(labelsize=7, length=2)
    for label in axes.get_yticklabels():
        label.set_parse_math(False)  # a $ in a class name must not start a formula
    axes.spines[["top", "right"]].set_visible(False)
