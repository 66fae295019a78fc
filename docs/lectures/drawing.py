"""Draws the pictures of these pages as SVG: grids of numbers next to each other, and a window that moves over them."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

CELL, GAP, TITLE = 36, 40, 26  # pixels
SECONDS = 1.2  # time that the window stays at each position
BLUE, ORANGE, GRAY = "#3f51b5", "#ef6c00", "#9e9e9e"


@dataclass
class Grid:
    """A two-dimensional array with a title. `shade` colours each cell by its number, from black for the smallest to
    white for the largest. `frame` is the number of outer rows and columns to draw in gray. `marked` maps cells to
    colours.
    """

    values: np.ndarray
    title: str = ""
    shade: bool = False
    frame: int = 0
    marked: dict = field(default_factory=dict)


def matrix(text):
    """Converts a text such as `1 2 / 3 4` to an array."""
    return np.array([[float(number) for number in row.split()] for row in text.split("/")])


def written(number):
    """Formats a number with at most two decimals."""
    return f"{number:.2f}".rstrip("0").rstrip(".").replace("-", "−") if abs(number) >= 0.005 else "0"


def draw(file, *grids, scenes=(), text_width=0):
    """Writes an SVG with the grids next to each other. `scenes` are pieces of SVG, shown in turn three times."""
    x, parts, height = GAP // 2, [], 0
    for grid in grids:
        rows, columns = np.shape(grid.values)
        parts.append(_grid(grid, x))
        x += max(columns * CELL, len(grid.title) * 8) + GAP
        height = max(height, TITLE + rows * CELL)
    duration = len(scenes) * SECONDS
    for number, scene in enumerate(scenes):
        times = [n / len(scenes) for n in (0, number, number + 1) if n < len(scenes)]
        shown = ["hidden", "visible", "hidden"][: len(times)]
        if number == 0:
            times, shown = times[1:], shown[1:]
            shown = ["visible", "hidden"][: len(times)]
        parts.append(
            f'<g visibility="{"hidden" if number else "visible"}">{scene}<animate attributeName="visibility" '
            f'calcMode="discrete" values="{";".join(shown)}" keyTimes="{";".join(f"{t:.4f}" for t in times)}" '
            f'dur="{duration}s" repeatCount="3"/></g>')
    width, height = max(x - GAP // 2, text_width), height + (TITLE + 14 if scenes else 12)
    Path(file).write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'font-family="ui-monospace, Menlo, Consolas, monospace" font-size="13"><rect width="100%" height="100%" '
        f'fill="#fff"/>{"".join(parts)}</svg>\n', encoding="utf-8")


def convolution(file, image, kernel, result, strides=1, same=False, dilation=1):
    """Writes an animation of a convolution: image, kernel, result, and for each window the products and their sum."""
    size, frame = kernel.shape[0], (kernel.shape[0] // 2 if same else 0)
    padded = np.pad(image, frame)
    left = GAP // 2
    to_kernel = left + padded.shape[1] * CELL + GAP
    to_result = to_kernel + max(kernel.shape[1] * CELL, 6 * 8) + GAP
    scenes, longest = [], 0
    for i, j in np.ndindex(result.shape):
        taps = [(i * strides + u * dilation, j * strides + v * dilation) for u, v in np.ndindex(kernel.shape)]
        boxes = "".join(box(left, row, column, BLUE) for row, column in taps)
        products = [f"{_bracketed(w)}·{written(padded[tap])}" for w, tap in zip(kernel.ravel(), taps)]
        line = " + ".join(products) + f" = {written(result[i, j])}" if size <= 3 else f"sum = {written(result[i, j])}"
        longest = max(longest, len(line))
        below = TITLE + max(len(padded), len(result)) * CELL + 20
        text = f'<text x="{left}" y="{below}" font-size="12">{line}</text>'
        scenes.append(boxes + box(to_result, i, j, ORANGE) + text)
    draw(file, Grid(padded, "image", frame=frame), Grid(kernel, "kernel"), Grid(result, "result"), scenes=scenes,
         text_width=left + int(longest * 7.3) + 10)


def box(x, row, column, colour):
    """Returns a coloured frame around one cell of the grid whose left edge is at x."""
    return (f'<rect x="{x + column * CELL + 1.5}" y="{TITLE + row * CELL + 1.5}" width="{CELL - 3}" '
            f'height="{CELL - 3}" fill="{colour}" fill-opacity="0.18" stroke="{colour}" stroke-width="3"/>')


def _grid(grid, x):
    values = np.asarray(grid.values, float)
    low, high = values.min(), values.max()
    parts = [f'<text x="{x}" y="16" font-weight="bold">{grid.title}</text>']
    for (i, j), value in np.ndenumerate(values):
        inside = all(grid.frame <= n < size - grid.frame for n, size in zip((i, j), values.shape))
        level = 255 if not grid.shade else round(255 * (value - low) / ((high - low) or 1))
        fill = f"rgb({level},{level},{level})" if grid.shade else "#fff" if inside else "#eceff1"
        ink = "#fff" if level < 128 else "#000" if inside else GRAY
        parts.append(
            f'<rect x="{x + j * CELL}" y="{TITLE + i * CELL}" width="{CELL}" height="{CELL}" fill="{fill}" '
            f'stroke="{GRAY}"/><text x="{x + (j + 0.5) * CELL}" y="{TITLE + (i + 0.5) * CELL + 4.5}" fill="{ink}" '
            f'text-anchor="middle">{written(value)}</text>')
    return "".join(parts) + "".join(box(x, i, j, colour) for (i, j), colour in grid.marked.items())


def _bracketed(number):
    return f"({written(number)})" if number < 0 else written(number)
