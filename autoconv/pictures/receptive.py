"""Finds the pixels that a number of a net depends on, from the ops that computed the number."""

from typing import NamedTuple

import numpy as np

from ..arguments.shapes import Window
from ..models import Model
from .computation import Computation, Result
from .derivations import COPIES, ROUNDING, RULES
from .inside import select_nodes

Box = tuple[tuple[int, int], ...]  # for each axis of a result, the first and the last index


class ReceptiveField(NamedTuple):
    """A rectangle of pixels, `image[top:bottom, left:right]`."""

    top: int
    bottom: int
    left: int
    right: int


def receptive_field(model: Model, layer: str, row: int, column: int) -> ReceptiveField:
    """Returns the rectangle of input pixels that the numbers of a layer's output at (row, column)
    depend on.

    It is computed from the windows, strides, dilation and padding of all ops and branches before it,
    and contains no padding. An op that is not known to be local depends on all pixels. Raises
    ValueError for a layer without feature maps, a position outside them, and a model without a fixed
    image size.
    """
    tensor = select_nodes(model, layer)[-1].outputs[0]
    if len(tensor.shape) != 4 or len(model.inputs) != 1 or None in (*tensor.shape[1:], *model.inputs[0].shape[1:]):
        raise ValueError("receptive_field() needs a model with one input of a fixed size, and a layer with feature "
                         f"maps (OH, OW, K). Received: layer {layer!r} with the output shape {tensor.shape}, in a "
                         f"model with the input shape {model.input_shape}.")
    rows, columns = (n or 0 for n in tensor.shape[1:3])
    if not (0 <= row < rows and 0 <= column < columns):
        raise ValueError(f"row must be in 0..{rows - 1}, column in 0..{columns - 1}. Received: "
                         f"row={row}, column={column}.")
    computation = Computation(Model(model.inputs, tensor), np.zeros(model.input_shape[1:]))
    result = computation.answer.result
    box = (0, 0), (row, row), (column, column), (0, result.array.shape[3] - 1)
    return find_pixels(computation, result, box) or ReceptiveField(0, 0, 0, 0)


def find_pixels(computation: Computation, result: Result, box: Box) -> ReceptiveField | None:
    """Returns the rectangle of the picture's pixels that the numbers of `result` in `box` depend on,
    or None.
    """
    boxes = {result.number: (result, box)}
    while boxes:
        last, box = boxes.pop(max(boxes))
        if last is computation.picture:
            return ReceptiveField(box[1][0], box[1][1] + 1, box[2][0], box[2][1] + 1) if len(box) == 4 else None
        for source in last.sources:
            read = _input_box(last, source, box)
            if any(a > b for a, b in read):  # only padding
                continue
            if source.number in boxes:
                read = tuple((min(a, c), max(b, d)) for (a, b), (c, d) in zip(read, boxes[source.number][1]))
            boxes[source.number] = source, read
    return None


def _find_sides(result: Result, box: Box) -> list[tuple[int, int]] | None:
    """Returns the first and last row, and the first and last column, that `box` reads through windows or a resize,
    including padding; None for other ops.
    """
    window = result.parameters.get("window")
    if isinstance(window, Window):
        sides = ((window.sh, window.top, window.span_h), (window.sw, window.left, window.span_w))
        if result.op == "conv2d_transpose":
            return [(-((span - 1 - a - before) // stride), (b + before) // stride)
                    for (a, b), (stride, before, span) in zip(box[1:3], sides)]
        return [(a * stride - before, b * stride - before + span - 1)
                for (a, b), (stride, before, span) in zip(box[1:3], sides)]
    transform = result.parameters["transform"][0] if result.op == "affine_transform" else np.ones(8)
    if np.any(transform[[1, 3, 6, 7]]):  # not a resize
        return None
    is_nearest = result.parameters["interpolation"] == "nearest"
    low, high = (np.round, np.round) if is_nearest else (np.floor, np.ceil)
    return [(int(low(step * a + first + ROUNDING)), int(high(step * b + first - ROUNDING)))
            for (a, b), step, first in zip(box[1:3], transform[[4, 0]], transform[[5, 2]])]


def _input_box(result: Result, source: Result, box: Box) -> Box:
    """Returns the range of the numbers of `source` that the numbers of `result` in `box` depend on."""
    shape = source.array.shape
    whole = tuple((0, n - 1) for n in shape)
    sides = _find_sides(result, box)
    if sides is not None:
        return (box[0], *((max(a, 0), min(b, n - 1)) for (a, b), n in zip(sides, shape[1:3])), whole[3])
    if result.op == "pad":
        widths = result.parameters["widths"]
        return tuple((max(a - before, 0), min(b - before, n - 1)) for (a, b), (before, _), n in zip(box, widths, shape))
    if result.op in COPIES:
        indices = result.copied_indices[tuple(slice(a, b + 1) for a, b in box)]
        places = np.unravel_index(indices, shape)
        return tuple((int(axis.min(initial=n)), int(axis.max(initial=-1))) for axis, n in zip(places, shape))
    if result.op not in RULES or result.op == "affine_transform" or len(shape) != len(box) or (
            result.op == "matmul" and source is result.inputs[1]):
        return whole
    mixed = {"dense": -1, "matmul": -1, "softmax": result.parameters.get("axis")}.get(result.op)
    mixed = None if mixed is None else mixed % len(shape)  # the axis whose elements all count
    return tuple(box[i] if shape[i] == result.array.shape[i] and i != mixed else whole[i] for i in range(len(shape)))
