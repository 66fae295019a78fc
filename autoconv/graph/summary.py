"""The table that `model.summary()` prints, laid out as Keras 3 does."""

import shutil
import textwrap
from collections.abc import Iterable
from typing import Any

# The lines of the box: (left, filling, between, right) above the header, below it, between rows and at the end.
_EDGES = ("┏━┳┓", "┡━╇┩", "├─┼┤", "└─┴┘")
_PLAIN = str.maketrans("┏━┳┓┡╇┩├─┼┤└┴┘┃│…", "+=++++++-++++" + "+||.")


def text(model: Any, line_length: int | None = None) -> str:
    """The summary of a Sequential, `line_length` characters wide: by default 88, or what the terminal has."""
    length = line_length or min(88, shutil.get_terminal_size().columns - 4)
    rows = [
        (f"{layer.name} ({type(layer).__name__})", *_shape_and_size(model, i)) for i, layer in enumerate(model.layers)
    ]
    lines = [f'Model: "{model.name}"', *_table(("Layer (type)", "Output Shape", "Param #"), rows, length)]
    kinds = {"Total": model.weights, "Trainable": model.trainable_weights, "Non-trainable": model.non_trainable_weights}
    for kind, weights in kinds.items():
        count, size = sum(w.size for w in weights), sum(w.size * w.dtype.itemsize for w in weights)
        lines.append(f" {kind} params: {count:,} ({readable_size(size)})")
    return "\n".join(lines)


def plain(summary: str) -> str:
    """The same table in ASCII, for terminals that have no box characters."""
    return summary.translate(_PLAIN)


def readable_size(size: float) -> str:
    """A number of bytes as "364.54 KB"."""
    for unit in ("B", "KB", "MB", "GB"):
        if size < 1024:
            return f"{size:.2f} {unit}"
        size /= 1024
    return f"{size:.2f} TB"


def _shape_and_size(model: Any, index: int) -> tuple[str, str]:
    layer = model.layers[index]
    if not layer.built or not model.built:
        return "?", "0 (unbuilt)"
    return str(model.layer_shapes[index + 1]), f"{layer.count_params():,}"


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]], length: int) -> list[str]:
    """A box of three columns that take 45, 35 and 20 percent of the line; the last one is aligned right."""
    first, second = int(0.45 * length), int(0.8 * length)
    widths = (first - 1, second - first - 2, length - second - 1)
    if min(widths) < 6:
        raise ValueError(f"line_length must be at least 40 to print a summary. Received: {length}.")
    ends = [edge[0] + edge[2].join(edge[1] * w for w in widths) + edge[3] for edge in _EDGES]
    lines = [ends[0], *_row(header, widths, "┃"), ends[1]]
    for row in rows:
        lines += [*_row(row, widths, "│"), ends[2]]
    lines[-1] = ends[3]
    return lines


def _row(cells: tuple[str, ...], widths: tuple[int, ...], bar: str) -> list[str]:
    """One row, of as many lines as its longest cell needs; a word longer than its column is cut with an ellipsis."""
    columns = []
    for cell, width in zip(cells, widths):
        words = textwrap.wrap(cell, width - 2, break_long_words=False, break_on_hyphens=False)
        columns.append([w if len(w) <= width - 2 else w[: width - 3] + "…" for w in words])
    lines = []
    for i in range(max(map(len, columns))):
        name, shape, size = (c[i] if i < len(c) else "" for c in columns)
        cells_of_line = (f" {name:<{widths[0] - 2}} ", f" {shape:<{widths[1] - 2}} ", f" {size:>{widths[2] - 2}} ")
        lines.append(bar + bar.join(cells_of_line) + bar)
    return lines
