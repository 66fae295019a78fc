"""Explains one number of a feature map: its window, the products, their sum, bias and ReLU.

NumPy computes each step in float64 from the arrays of one `Look`, so a reader can check it by hand.
The layers' results agree up to float32 rounding.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ...arguments import shapes
from ...files.json_text import JsonObject
from ...layers import Conv2D, Dense, Flatten, Layer, MaxPooling2D, Rescaling

LARGEST = 12  # number of products of a dense layer that are listed individually
Explained = JsonObject


class LayerState(NamedTuple):
    """A layer with its input and output, (H, W, C) or (units,), and copies of its weights."""

    layer: Layer
    x: np.ndarray
    y: np.ndarray
    weights: list[np.ndarray]


def explain(state: LayerState, place: tuple[int, ...]) -> Explained:
    """Explains how the output `y[place]` is computed. Raises ValueError for an invalid index."""
    shape = state.y.shape
    if len(place) != len(shape) or not all(0 <= i < n for i, n in zip(place, shape)):
        raise ValueError(f"The output of {state.layer.name} has the shape {shape}, so the index "
                         f"{place} is out of range.")
    found = _KINDS[type(state.layer)](state, *place)
    return {"layer": state.layer.name, "kind": type(state.layer).__name__, "place": place,
            "value": _number(state.y[place]), **found}


def _convolution(state: LayerState, row: int, column: int, filter: int) -> Explained:
    """Sums the products of window and filter per channel, and adds the channels and the bias."""
    layer: Any = state.layer
    kernel, bias = state.weights
    window = shapes.window(state.x.shape[:2], layer.kernel_size, layer.strides, layer.padding, layer.dilation_rate)
    rows, columns, values = _window(state.x, window, row, column)
    products = values.astype(np.float64) * kernel[..., filter]
    sums = products.sum((0, 1))
    total = float(sums.sum() + bias[filter])
    return {"rows": rows, "columns": columns, "window": _numbers(values),
            "weights": _numbers(kernel[..., filter]), "products": _numbers(products),
            "sums": _numbers(sums), "bias": _number(bias[filter]), "sum": total,
            "activation": layer.activation.__name__}


def _pooling(state: LayerState, row: int, column: int, channel: int) -> Explained:
    """Finds the window's maximum. Of equal maxima, the first receives the gradient."""
    layer: Any = state.layer
    window = shapes.pool_window(state.x.shape[:2], layer.pool_size, layer.strides, layer.padding)
    rows, columns, values = _window(state.x[..., channel : channel + 1], window, row, column, -np.inf)
    winner = np.unravel_index(int(values.argmax()), values.shape)
    return {"rows": rows, "columns": columns, "window": _numbers(values), "winner": [int(i) for i in winner[:2]]}


def _dense(state: LayerState, unit: int) -> Explained:
    """Lists the largest products, the sum of the rest, the bias, and a softmax's exponentials."""
    layer: Any = state.layer
    kernel, bias = state.weights
    products = state.x.astype(np.float64) * kernel[:, unit]
    largest = np.argsort(-np.abs(products), kind="stable")[:LARGEST]
    sums = state.x.astype(np.float64) @ kernel + bias
    found: Explained = {
        "inputs": len(products), "listed": [[int(i), _number(state.x[i]), _number(kernel[i, unit]),
                                             _number(products[i])] for i in largest],
        "others": float(products.sum() - products[largest].sum()), "bias": _number(bias[unit]),
        "sum": float(sums[unit]), "activation": layer.activation.__name__,
    }
    if found["activation"] == "softmax":
        found["powers"] = _numbers(np.exp(sums - sums.max()))
        found["largest"] = float(sums.max())
    return found


def _rescaling(state: LayerState, row: int, column: int, channel: int) -> Explained:
    layer: Any = state.layer
    return {"rows": [row], "columns": [column], "window": _numbers(state.x[row : row + 1, column : column + 1]),
            "scale": float(layer.scale)}


_KINDS: dict[type, Callable[..., Explained]] = {
    Conv2D: _convolution, MaxPooling2D: _pooling, Dense: _dense, Rescaling: _rescaling,
    Flatten: lambda state, item: {"from": [int(i) for i in np.unravel_index(item, state.x.shape)]},
}


def _window(x: np.ndarray, window: shapes.Window, row: int, column: int,
            fill: float = 0.0) -> tuple[list[int], list[int], np.ndarray]:
    """Returns a window's row indices, column indices and values, with `fill` outside the input."""
    rows = [row * window.sh + i * window.dh - window.top for i in range(window.kh)]
    columns = [column * window.sw + j * window.dw - window.left for j in range(window.kw)]
    values = np.full((window.kh, window.kw, x.shape[2]), fill, np.float32)
    for i, r in enumerate(rows):
        for j, c in enumerate(columns):
            if 0 <= r < x.shape[0] and 0 <= c < x.shape[1]:
                values[i, j] = x[r, c]
    return rows, columns, values


def _number(value: Any) -> float:
    """Converts a number to float. A float32 is converted through its shortest decimal form. Raises
    ValueError for NaN and infinity.
    """
    if not np.isfinite(value):
        raise ValueError("A number in this layer is NaN or infinite, so the net can no longer be "
                         "used. Start a new net.")
    return float(str(value)) if isinstance(value, np.float32) else float(value)


def _numbers(values: np.ndarray) -> Any:
    """Returns an array's numbers as nested lists."""
    return [_numbers(part) for part in values] if values.ndim else _number(values[()])
