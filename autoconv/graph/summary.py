"""The table that `model.summary()` prints, laid out as Keras 3 does."""

import shutil
import textwrap
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

from ..layers.function import kind_of
from ..symbolic import flat_shapes, map_structure

# The lines of the box: (left, filling, between, right) above the header, below it, between rows and at the end.
_EDGES = ("┏━┳┓", "┡━╇┩", "├─┼┤", "└─┴┘")
_PLAIN = str.maketrans("┏━┳┓┡╇┩├─┼┤└┴┘┃│…", "+=++++++-++++" + "+||.")


def text(model: Any, line_length: int | None = None) -> str:
    """The summary of a model, `line_length` characters wide: by default 88, or what the terminal has.

    Of a graph that is more than a chain it has a column more, and 108 characters.
    """
    graph = model._graph
    operations = model.layers if graph is None or model.layers != graph.layers else graph.operations
    chain = graph is None or graph.is_chain()
    length = line_length or min(88 if chain else 108, shutil.get_terminal_size().columns - 4)
    rows = [(f"{operation.name} ({kind_of(operation)})", *_shape_and_size(model, operation))
            for operation in operations]
    if chain:
        table = _table(("Layer (type)", "Output Shape", "Param #"), rows, length, (0.45, 0.8, 1.0))
    else:
        connected = [(*row, _connections(graph, operation)) for row, operation in zip(rows, operations)]
        header = ("Layer (type)", "Output Shape", "Param #", "Connected to")
        table = _table(header, connected, length, (0.3, 0.56, 0.74, 1.0))
    lines = [f'Model: "{model.name}"', *table]
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


def _shape_and_size(model: Any, operation: Any) -> tuple[str, str]:
    if not operation.built or not model.built:
        return "?", "0 (unbuilt)"
    return _shape(model, operation), f"{operation.count_params():,}"


def _shape(model: Any, operation: Any) -> str:
    """The shape of what an operation gives in this model; of several calls the last one's, as in Keras."""
    graph = model._graph
    nodes = [node for node in graph.nodes if node.operation is operation] if graph else []
    if nodes:
        last = max(nodes, key=lambda node: node.number)
        shapes = map_structure(lambda tensor: tensor.shape, last.structure)
    else:
        try:
            shapes = operation.compute_output_shape(operation._build_shape)
        except (TypeError, ValueError):  # it was built without a shape, or runs only on data
            return "?"
    flat = flat_shapes(shapes)
    return str(flat[0]) if len(flat) == 1 else str(shapes).replace("'", "")


def _connections(graph: Any, operation: Any) -> str:
    """The tensors that an operation takes: "conv2d[0][0]" is the first result of conv2d's first call."""
    nodes = sorted((node for node in graph.nodes if node.operation is operation), key=lambda node: node.number)
    tensors = [graph.resolve(tensor) for node in nodes for tensor in node.inputs]
    return ", ".join(f"{t.node.operation.name}[{t.node.number}][{t.index}]" for t in tensors) or "-"


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]], length: int, ends: tuple[float, ...]) -> list[str]:
    """A box of columns that end at these parts of the line; the third one is aligned right."""
    stops = [0, *(int(end * length) for end in ends)]
    widths = [stop - start - 2 for start, stop in pairwise(stops)]
    for i in (0, len(widths) - 1, *range(1, len(widths) - 2)):  # one bar between two columns, as Rich lays them out
        widths[i] += 1
    if min(widths) < 6:
        raise ValueError(f"line_length must be at least 40 to print a summary. Received: {length}.")
    edges = [edge[0] + edge[2].join(edge[1] * w for w in widths) + edge[3] for edge in _EDGES]
    lines = [edges[0], *_row(header, widths, "┃"), edges[1]]
    for row in rows:
        lines += [*_row(row, widths, "│"), edges[2]]
    lines[-1] = edges[3]
    return lines


def _row(cells: tuple[str, ...], widths: list[int], bar: str) -> list[str]:
    """One row, of as many lines as its longest cell needs; a word longer than its column is cut with an ellipsis."""
    columns = []
    for cell, width in zip(cells, widths):
        words = textwrap.wrap(cell, width - 2, break_long_words=False, break_on_hyphens=False)
        columns.append([w if len(w) <= width - 2 else w[: width - 3] + "…" for w in words])
    lines = []
    for i in range(max(map(len, columns))):
        parts = (c[i] if i < len(c) else "" for c in columns)
        aligned = (f"{part:{'>' if n == 2 else '<'}{w - 2}}" for n, (part, w) in enumerate(zip(parts, widths)))
        lines.append(bar + bar.join(f" {part} " for part in aligned) + bar)
    return lines
