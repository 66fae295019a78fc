"""Implements ONNX's ops that reshape, slice, copy or cast tensors, or create constants."""

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from .. import functional as F
from ..engine.tensor import Tensor
from .onnx_values import KNOWN, Attributes, cast, check_size, constant, ints, refusal, spread, take


def normalize_axis(axis: int, rank: int) -> int:
    """Returns an axis as a non-negative index. Raises ValueError if the axis does not exist."""
    if not -rank <= axis < rank:
        raise ValueError(f"The axis must be in {-rank}..{rank - 1}. Received: {axis}.")
    return axis % rank


def flatten(node: Attributes, x: Tensor) -> Tensor:
    axis = node.get("axis", 1)
    axis = normalize_axis(axis, x.ndim + (axis >= 0))
    return x.reshape(prod(x.shape[:axis]), prod(x.shape[axis:]))


def reshape(node: Attributes, x: Tensor, shape: np.ndarray) -> Tensor:
    sizes = list(ints(shape))
    if not node.get("allowzero", 0):
        if any(n == 0 and i >= x.ndim for i, n in enumerate(sizes)):
            raise ValueError("A size of 0 keeps the input's size of the same axis, so the input must have this axis. "
                             f"Received: new shape {sizes} for an input of shape {x.shape}.")
        sizes = [x.shape[i] if n == 0 else n for i, n in enumerate(sizes)]
    if sizes.count(-1) > 1 or min(sizes, default=0) < -1:
        raise ValueError("At most one size of the new shape may be -1, and no size may be less "
                         f"than -1. Received: {sizes}.")
    if -1 in sizes and 0 in sizes:
        raise ValueError(f"A size of -1 cannot be inferred if another size is 0. Received: {sizes}.")
    return x.reshape(tuple(sizes))


def transpose(node: Attributes, x: Tensor) -> Tensor:
    order = node.get("perm", list(reversed(range(x.ndim))))
    return x.transpose(tuple(order)) if x.ndim else x


def squeeze(node: Attributes, x: Tensor, axes_array: np.ndarray | None = None) -> Tensor:
    axes = node.get("axes") if axes_array is None else ints(axes_array)
    return F.squeeze(x, None if axes is None else tuple(axes))


def unsqueeze(node: Attributes, x: Tensor, axes_array: np.ndarray | None = None) -> Tensor:
    return F.expand_dims(x, tuple(node.get("axes", ()) if axes_array is None else ints(axes_array)))


def concat(node: Attributes, *xs: Tensor) -> Tensor:
    return F.concatenate(list(xs), node.get("axis", 1))


def split(node: Attributes, x: Tensor, sizes_array: np.ndarray | None = None) -> list[Tensor]:
    axis = normalize_axis(node.get("axis", 0), x.ndim)
    sizes = node.get("split") if sizes_array is None else ints(sizes_array)
    total = x.shape[axis]
    count = node.outputs
    if sizes is None:
        part = -(-total // count)
        sizes = [part] * (count - 1) + [total - part * (count - 1)]
    if node.get("num_outputs", count) != count:
        raise ValueError(f"num_outputs must be the number of outputs, {count}. Received: {node.get('num_outputs')}.")
    if sum(sizes) != total or min(sizes) < 0 or len(sizes) != count:
        raise ValueError(f"Split needs one non-negative size for each of its {count} outputs, and the sum of the "
                         f"sizes must be the length of the axis, {total}. Received: {list(sizes)[:9]}.")
    return F.split(x, [int(end) for end in np.cumsum(sizes)[:-1]], axis)


def slice_(node: Attributes, x: Tensor, *bounds: Any) -> Tensor:
    """Slices x. Before opset 10 the bounds are attributes."""
    if bounds:
        starts = ints(bounds[0])
        ends = ints(bounds[1])
        axes, steps = (ints(bounds[i]) if len(bounds) > i and bounds[i] is not None else None for i in (2, 3))
    else:
        starts = node.get("starts")
        ends = node.get("ends")
        axes = node.get("axes")
        steps = None
    axes = tuple(range(len(starts))) if axes is None else axes
    steps = (1,) * len(starts) if steps is None else steps
    index = [slice(None)] * x.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        n = x.shape[normalize_axis(axis, x.ndim)]
        axis = normalize_axis(axis, x.ndim)
        if step == 0:
            raise ValueError("The step of a slice cannot be 0.")
        start, end = (bound + n if bound < 0 else bound for bound in (start, end))
        low, high = (0, n) if step > 0 else (-1, n - 1)
        start = min(max(start, 0), high)
        end = min(max(end, low), n)
        index[axis] = slice(start, None if end < 0 else end, step)
    return x[tuple(index)]


def gather(node: Attributes, x: Tensor, indices: np.ndarray) -> Tensor:
    axis = normalize_axis(node.get("axis", 0), x.ndim)
    index = np.asarray(indices)
    if index.dtype.kind not in "iu" or (index.size and not -x.shape[axis] <= index.min() <= index.max()
                                        < x.shape[axis]):
        raise ValueError(f"Gather needs integer indices in {-x.shape[axis]}..{x.shape[axis] - 1}. "
                         f"Received: {index.dtype} indices from {index.min() if index.size else 0} "
                         f"to {index.max() if index.size else 0}.")
    return x[(*(slice(None),) * axis, int(index))] if index.ndim == 0 else take(x, index.astype(np.int64), axis)


def expand(node: Attributes, x: Tensor, shape: np.ndarray) -> Tensor:
    target = np.broadcast_shapes(x.shape, ints(shape))
    check_size(target)
    return spread(x, target)


def tile(node: Attributes, x: Tensor, repeats: np.ndarray) -> Tensor:
    counts = ints(repeats)
    if len(counts) != x.ndim or min(counts, default=1) < 1:
        raise ValueError(f"Tile needs a repeat count of at least 1 for each of the {x.ndim} axes. Received: {counts}.")
    shape = [n * count for n, count in zip(x.shape, counts)]
    check_size(shape)
    for axis, count in enumerate(counts):
        if count > 1:
            outer = prod(x.shape[:axis])
            inner = prod(x.shape[axis:])
            x = spread(x.reshape(outer, 1, inner), (outer, count, inner)).reshape(*shape[: axis + 1],
                                                                                  *x.shape[axis + 1 :])
    return x


def pad(node: Attributes, x: Tensor, pads: np.ndarray | None = None,
        value: np.ndarray | None = None, axes: np.ndarray | None = None) -> Tensor:
    """Pads x with a constant or, in other modes, with elements of x. Negative widths crop x."""
    widths = ints(pads) if pads is not None else tuple(node.get("pads", ()))
    mode = node.get("mode", "constant")
    number = node.get("value", 0.0) if value is None else np.asarray(value).reshape(-1)[0]
    axes_ = tuple(range(x.ndim)) if axes is None else tuple(normalize_axis(axis, x.ndim) for axis in ints(axes))
    if len(widths) != 2 * len(axes_):
        raise ValueError(f"Pad needs two widths for each of the {len(axes_)} axes. Received: {list(widths)}.")
    pairs = [(0, 0)] * x.ndim
    for i, axis in enumerate(axes_):
        pairs[axis] = widths[i], widths[i + len(axes_)]
    check_size([max(n + sum(pair), 0) for n, pair in zip(x.shape, pairs)])
    x = x[tuple(slice(max(-before, 0), n - max(-after, 0)) for n, (before, after) in zip(x.shape, pairs))]
    pairs = [(max(before, 0), max(after, 0)) for before, after in pairs]
    if mode == "constant":
        return F.pad(x, pairs, constant_values=number.item() if isinstance(number, np.generic) else number)
    if mode not in ("reflect", "edge", "wrap"):
        raise refusal(node, "mode is constant, reflect, edge or wrap", mode)
    for axis, pair in enumerate(pairs):
        if any(pair):
            check_size((x.shape[axis] + sum(pair),), KNOWN)
            x = take(x, np.pad(np.arange(x.shape[axis]), pair, mode), axis)  # type: ignore[call-overload]
    return x


def constant_of_shape(node: Attributes, shape: np.ndarray) -> np.ndarray:
    sizes = ints(shape)
    check_size(sizes, KNOWN)
    return np.full(sizes, node.get("value", np.zeros(1, np.float32)).reshape(-1)[0])


def constant_value(node: Attributes) -> np.ndarray:
    kinds = {"value": None, "value_float": np.float32, "value_floats": np.float32,
             "value_int": np.int64, "value_ints": np.int64}
    name = next((each for each in node.values if each in kinds), None)
    if name is None:
        raise refusal(node, f"it has one of the attributes {', '.join(kinds)}", list(node.values))
    return np.asarray(node.values[name], kinds[name])


def range_(node: Attributes, start: np.ndarray, limit: np.ndarray, delta: np.ndarray) -> np.ndarray:
    first, last, step = (np.asarray(number).reshape(-1)[0] for number in (start, limit, delta))
    if not step or not np.isfinite([float(first), float(last), float(step)]).all():
        raise ValueError("Range needs finite numbers and a delta other than 0. Received: "
                         f"start={first}, limit={last}, delta={step}.")
    count = max(int(np.ceil((float(last) - float(first)) / float(step))), 0)
    check_size((count,), KNOWN)
    return (first + np.arange(count) * step).astype(np.asarray(start).dtype)


def cast_to(node: Attributes, x: Tensor) -> Tensor:
    if node.get("to") not in DTYPES:
        raise refusal(node, f"`to` is one of the ONNX types {DTYPES}", node.get("to"))
    return cast(x, DTYPES[node.get("to")])


def dropout(node: Attributes, x: Tensor, ratio: np.ndarray | None = None,
            training: np.ndarray | None = None) -> Any:
    """Returns x, and an all-true mask if requested, because only inference is supported."""
    if training is not None and bool(np.asarray(training).any()):
        raise refusal(node, "training_mode is false", True)
    return [x, spread(constant(x, np.ones((), np.bool_)), x.shape)] if node.outputs > 1 else x


DTYPES = {1: "float32", 2: "uint8", 3: "int8", 5: "int16", 6: "int32", 7: "int64", 9: "bool", 11: "float64"}

FUNCTIONS: dict[str, tuple[Callable[..., Any], tuple[int, ...]]] = {
    "Flatten": (flatten, ()), "Reshape": (reshape, (1,)), "Transpose": (transpose, ()), "Squeeze": (squeeze, (1,)),
    "Unsqueeze": (unsqueeze, (1,)), "Concat": (concat, ()), "Split": (split, (1,)), "Slice": (slice_, (1, 2, 3, 4)),
    "Gather": (gather, (1,)), "Expand": (expand, (1,)), "Tile": (tile, (1,)), "Pad": (pad, (1, 2, 3)),
    "Shape": (lambda node, x: np.array(x.shape[slice(node.get("start", 0), node.get("end"))], np.int64), ()),
    "Size": (lambda node, x: np.array(prod(x.shape), np.int64), ()), "ConstantOfShape": (constant_of_shape, (0,)),
    "Constant": (constant_value, ()), "Range": (range_, (0, 1, 2)), "Cast": (cast_to, ()), "Dropout": (dropout, (1, 2)),
}
