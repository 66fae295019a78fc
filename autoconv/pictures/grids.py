"""Draws grids of numbers as SVG: next to each other, and with a window that moves over them."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np

from ..files import atomic

CELL = 36  # pixels, as are the next two
GAP = 40
TITLE = 26
SECONDS = 1.2  # time that the window stays at each position
BLUE = "#3f51b5"
ORANGE = "#ef6c00"
GRAY = "#9e9e9e"


@dataclass
class Grid:
    """A two-dimensional array with a title. `shade` colours each cell by its number, from black for
    the smallest to white for the largest. `frame` is the number of outer rows and columns to draw
    in gray. `marked` maps cells (row, column) to colours, for example BLUE.
    """

    values: np.ndarray
    title: str = ""
    shade: bool = False
    frame: int = 0
    marked: dict[tuple[int, int], str] = field(default_factory=dict)


def matrix(text: str) -> np.ndarray:
    """Converts a text such as `1 2 / 3 4` to an array."""
    return np.array([[float(number) for number in row.split()] for row in text.split("/")])


def draw(file: str | os.PathLike, *grids: Grid, scenes: Sequence[str] = (),
         text_width: int = 0) -> None:
    """Writes an SVG file with the grids next to each other. `scenes` are pieces of SVG that are
    shown one after the other, three times. `text_width` is the least width in pixels.
    """
    parts: list[str] = []
    x = GAP // 2
    height = 0
    for grid in grids:
        rows, columns = np.shape(grid.values)
        parts.append(_grid(grid, x))
        x += max(columns * CELL, len(grid.title) * 8) + GAP
        height = max(height, TITLE + rows * CELL)
    duration = len(scenes) * SECONDS
    for number, scene in enumerate(scenes):
        times = sorted({0, number, number + 1} - {len(scenes)})
        shown = ["visible" if time == number else "hidden" for time in times]
        shares = ";".join(f"{time / len(scenes):.4f}" for time in times)
        parts.append(
            f'<g visibility="{shown[0]}">{scene}<animate attributeName="visibility" '
            f'calcMode="discrete" values="{";".join(shown)}" keyTimes="{shares}" '
            f'dur="{duration}s" repeatCount="3"/></g>')
    width = max(x - GAP // 2, text_width)
    height += TITLE + 14 if scenes else 12
    atomic.write(Path(file), (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="ui-monospace, Menlo, Consolas, monospace" '
        f'font-size="13"><rect width="100%" height="100%" fill="#fff"/>{"".join(parts)}</svg>\n'))


def draw_convolution(file: str | os.PathLike, image: np.ndarray, kernel: np.ndarray,
                     result: np.ndarray, strides: int = 1, same: bool = False,
                     dilation: int = 1) -> None:
    """Writes an animation of a convolution as an SVG file: the image (H, W), the kernel (KH, KW),
    the result (OH, OW), and for each position of the window the products and their sum.

    same: draws the border of zeros of padding="same", for which the kernel must be square with an
    odd size, and the strides and the dilation must be 1; otherwise raises ValueError.
    """
    size = kernel.shape[0]
    if same and (size % 2 == 0 or kernel.shape[1] != size or strides != 1 or dilation != 1):
        raise ValueError("same=True needs a square kernel of odd size, strides=1 and dilation=1. "
                         f"Received: kernel of shape {kernel.shape}, strides={strides}, "
                         f"dilation={dilation}. Pad the image with np.pad, and leave out same.")
    frame = size // 2 if same else 0
    padded = np.pad(image, frame)
    left = GAP // 2
    to_kernel = left + padded.shape[1] * CELL + GAP
    to_result = to_kernel + max(kernel.shape[1] * CELL, 6 * 8) + GAP
    weights = [f"({_format_number(w)})" if w < 0 else _format_number(w) for w in kernel.ravel()]
    scenes: list[str] = []
    longest = 0
    for i, j in np.ndindex(result.shape):
        taps = [(i * strides + u * dilation, j * strides + v * dilation)
                for u, v in np.ndindex(kernel.shape)]
        boxes = "".join(_box(left, row, column, BLUE) for row, column in taps)
        products = [f"{w}·{_format_number(float(padded[tap]))}" for w, tap in zip(weights, taps)]
        total = _format_number(float(result[i, j]))
        line = f"{' + '.join(products)} = {total}" if size <= 3 else f"sum = {total}"
        longest = max(longest, len(line))
        below = TITLE + max(len(padded), len(result)) * CELL + 20
        text = f'<text x="{left}" y="{below}" font-size="12">{line}</text>'
        scenes.append(boxes + _box(to_result, i, j, ORANGE) + text)
    draw(file, Grid(padded, "image", frame=frame), Grid(kernel, "kernel"), Grid(result, "result"),
         scenes=scenes, text_width=left + int(longest * 7.3) + 10)


def _box(x: int, row: int, column: int, colour: str) -> str:
    """Returns a coloured frame around one cell of the grid whose left edge is at x."""
    return (f'<rect x="{x + column * CELL + 1.5}" y="{TITLE + row * CELL + 1.5}" '
            f'width="{CELL - 3}" height="{CELL - 3}" fill="{colour}" fill-opacity="0.18" '
            f'stroke="{colour}" stroke-width="3"/>')


def _grid(grid: Grid, x: int) -> str:
    values = np.asarray(grid.values, float)
    low, high = values.min(), values.max()
    parts = [f'<text x="{x}" y="16" font-weight="bold">{escape(grid.title)}</text>']
    for (i, j), value in np.ndenumerate(values):
        inside = all(grid.frame <= n < size - grid.frame for n, size in zip((i, j), values.shape))
        level = 255 if not grid.shade else round(255 * (value - low) / ((high - low) or 1))
        fill = f"rgb({level},{level},{level})" if grid.shade else "#fff" if inside else "#eceff1"
        ink = "#fff" if level < 128 else "#000" if inside else GRAY
        parts.append(
            f'<rect x="{x + j * CELL}" y="{TITLE + i * CELL}" width="{CELL}" height="{CELL}" '
            f'fill="{fill}" stroke="{GRAY}"/><text x="{x + (j + 0.5) * CELL}" '
            f'y="{TITLE + (i + 0.5) * CELL + 4.5}" fill="{ink}" text-anchor="middle">'
            f'{_format_number(value)}</text>')
    return "".join(parts) + "".join(_box(x, i, j, colour) for (i, j), colour in grid.marked.items())


def _format_number(number: float) -> str:
    """Formats a number with at most two decimals."""
    if abs(number) < 0.005:
        return "0"
    text = f"{number:.2f}".rstrip("0").rstrip(".")
    return text.replace("-", "−")
