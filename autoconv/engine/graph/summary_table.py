"""Formats the table that `model.summary()` prints, laid out as in Keras 3."""

import re
import shutil
import textwrap
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from ...arguments.names import printable
from ...layers.function import get_kind
from ..symbolic import flat_shapes, map_structure

# The box's horizontal lines (left end, filling, separator, right end): above the header, below the
# header, between two rows, and at the end.
_EDGES = ("┏━┳┓", "┡━╇┩", "├─┼┤", "└─┴┘")
_PLAIN = str.maketrans("┏━┳┓┡╇┩├─┼┤└┴┘┃│…", "+=++++++-++++" + "+||.")


def text(model: Any, line_length: int | None = None, positions: Sequence[float] | None = None,
         expand_nested: bool = False, show_trainable: bool = False, layer_range: Sequence[str] | None = None) -> str:
    """Returns a model's summary, `line_length` characters wide; by default 88 characters, or the
    width of a narrower terminal.

    If the graph is not a chain, the table has one more column and is 108 characters wide.
    `Model.summary` documents the options.
    """
    graph = model._graph
    operations = model.layers if graph is None or model.layers != graph.layers else graph.operations
    chain = graph is None or graph.is_chain()
    header = ["Layer (type)", "Output Shape", "Param #", *([] if chain else ["Connected to"])]
    ends = list(positions or ((0.45, 0.8, 1.0) if chain else (0.3, 0.56, 0.74, 1.0)))
    if show_trainable:
        header, ends = [*header, "Trainable"], [*(0.9 * end for end in ends), 1.0]
    usual = (88 if chain else 108) + 12 * show_trainable
    length = line_length or min(usual, shutil.get_terminal_size().columns - 4)
    first, last = _range(operations, layer_range)
    rows = [row for operation in operations[first:last]
            for row in _rows(model, operation, None if chain else graph, show_trainable, expand_nested)]
    lines = [f'Model: "{printable(model.name)}"', *_table(header, rows, length, ends)]
    optimizer = getattr(model, "optimizer", None)
    slots = optimizer.variables if optimizer is not None and getattr(optimizer, "built", False) else []
    kinds = {"Total": [*model.weights, *slots], "Trainable": model.trainable_weights,
             "Non-trainable": model.non_trainable_weights} | ({"Optimizer": slots} if slots else {})
    for kind, weights in kinds.items():
        count = sum(w.size for w in weights)
        size = sum(w.size * w.dtype.itemsize for w in weights)
        lines.append(f" {kind} params: {count:,} ({readable_size(size)})")
    return printable("\n".join(lines), keep="\n")


def _rows(model: Any, operation: Any, graph: Any, show_trainable: bool, expand: bool, depth: int = 0) -> list[Any]:
    """Returns an operation's row, and with `expand` also the rows of a nested model's layers."""
    prefix = "   " * depth + "└ " if depth else ""
    shape = "?"
    size = "0 (unbuilt)"
    if operation.built and model.built:
        shape = _shape(model, operation)
        size = f"{operation.count_params():,}"
    row = [f"{prefix}{operation.name} ({get_kind(operation)})", shape, size]
    if graph is not None:
        row.append(_connections(graph, operation))
    if show_trainable:
        row.append("-" if not getattr(operation, "weights", None) else "Y" if operation.trainable else "N")
    sublayers = operation.layers if expand and hasattr(operation, "layers") else []
    return [tuple(row), *(nested_row for layer in sublayers
                          for nested_row in _rows(operation, layer, graph, show_trainable, expand, depth + 1))]


def _range(operations: Sequence[Any], layer_range: Sequence[str] | None) -> tuple[int, int]:
    """Returns the range (first, last + 1) of the layers between two patterns of layer names."""
    if layer_range is None:
        return 0, len(operations)
    if len(layer_range) != 2 or not all(isinstance(name, str) for name in layer_range):
        raise ValueError("layer_range must be two strings, the names of the first and the last "
                         f"layer. Received: {layer_range!r}.")
    matches = [[i for i, op in enumerate(operations) if re.match(pattern, op.name)] for pattern in layer_range]
    if not all(matches):
        raise ValueError(f"Each name in layer_range must match a layer of the model. Received: {layer_range!r}. The "
                         f"model's layers: {[operation.name for operation in operations]}.")
    first, last = matches if min(matches[0]) <= max(matches[1]) else matches[::-1]
    return min(first), max(last) + 1


def plain(summary: str) -> str:
    """Converts a summary to ASCII, for terminals without box-drawing characters."""
    return summary.translate(_PLAIN)


def readable_size(size: float) -> str:
    """Formats a number of bytes as text such as "364.54 KB"."""
    for unit in ("B", "KB", "MB", "GB"):
        if size < 1024:
            return f"{size:.2f} {unit}"
        size /= 1024
    return f"{size:.2f} TB"


def _shape(model: Any, operation: Any) -> str:
    """Returns an operation's output shape in this model as text: the shape of the last call, as in Keras."""
    graph = model._graph
    nodes = [node for node in graph.nodes if node.operation is operation] if graph else []
    if nodes:
        last = max(nodes, key=lambda node: node.number)
        shapes = map_structure(lambda tensor: tensor.shape, last.structure)
    else:
        try:
            shapes = operation.compute_output_shape(operation._build_shape)
            flat_shapes(shapes)
        except (TypeError, ValueError):  # the layer has no known input shape, or runs only on data
            return "?"
    flat = flat_shapes(shapes)
    return str(flat[0]) if len(flat) == 1 else str(shapes).replace("'", "")


def _connections(graph: Any, operation: Any) -> str:
    """Returns an operation's input tensors as text: "conv2d[0][0]" is the first result of conv2d's first call."""
    nodes = sorted((node for node in graph.nodes if node.operation is operation), key=lambda node: node.number)
    tensors = [graph.resolve(tensor) for node in nodes for tensor in node.inputs]
    return ", ".join(f"{t.node.operation.name}[{t.node.number}][{t.index}]" for t in tensors) or "-"


def _table(header: Sequence[str], rows: Iterable[tuple[str, ...]], length: int, ends: Sequence[float]) -> list[str]:
    """Draws a box with columns that end at the fractions `ends` of the line. The third column is
    right-aligned, the column Trainable is centred.
    """
    stops = [0, *(int(end * length) for end in ends)]
    widths = [stop - start - 2 for start, stop in pairwise(stops)]
    for i in (0, len(widths) - 1, *range(1, len(widths) - 2)):  # two neighbouring columns share one bar, as in Rich
        widths[i] += 1
    if min(widths) < 6:
        raise ValueError("Each column of a summary must be at least 6 characters wide. Received: "
                         f"line_length={length}, which gives columns of {widths} characters. Increase line_length.")
    edges = [edge[0] + edge[2].join(edge[1] * w for w in widths) + edge[3] for edge in _EDGES]
    align = ["^" if name == "Trainable" else ">" if n == 2 else "<" for n, name in enumerate(header)]
    lines = [edges[0], *_row(header, widths, "┃", align), edges[1]]
    for row in rows:
        lines += [*_row(row, widths, "│", align), edges[2]]
    lines[-1] = edges[3]
    return lines


def _row(cells: Sequence[str], widths: list[int], bar: str, align: Sequence[str]) -> list[str]:
    """Draws one row, as high as its longest cell. A word wider than its column is truncated with "…"."""
    columns = []
    for cell, width in zip(cells, widths):
        words = textwrap.wrap(cell, width - 2, break_long_words=False, break_on_hyphens=False)
        columns.append([w if len(w) <= width - 2 else w[: width - 3] + "…" for w in words])
    lines = []
    for i in range(max(map(len, columns))):
        parts = (c[i] if i < len(c) else "" for c in columns)
        texts = (f"{part:{alignment}{w - 2}}" for part, w, alignment in zip(parts, widths, align))
        lines.append(bar + bar.join(f" {part} " for part in texts) + bar)
    return lines
