"""Finds the element order of flattened images: (C, H, W) in PyTorch, (H, W, C) in autoconv."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from math import prod
from typing import Any

import numpy as np

from ..engine.graph.graph import Graph
from ..layers import Concatenate, Dense, Flatten, Permute, Reshape

Order = np.ndarray | None  # autoconv's indices of the elements in PyTorch's order; None if the orders are equal
UNKNOWN = np.empty(0, np.int64)  # marks a value whose order cannot be determined


@dataclass(frozen=True)
class FlatCall:
    """A call in a graph, with the numbers and shapes (without batch axis) of its inputs and outputs."""

    operation: Any
    inputs: list[int]
    outputs: list[int]
    input_shapes: list[tuple]
    output_shapes: list[tuple]


def list_calls(graph: Graph) -> list[FlatCall]:
    """Returns all calls in a graph, in execution order."""
    numbers = count()
    return _expand_calls(graph, [next(numbers) for _ in graph.inputs], numbers)[0]


def _expand_calls(graph: Graph, inputs: list[int], numbers: Iterator[int]) -> tuple[list[FlatCall], list[int]]:
    """Returns a graph's calls and its outputs' value numbers. inputs: its inputs' value numbers."""
    value_numbers = {id(tensor): number for tensor, number in zip(graph.inputs, inputs)}
    calls: list[FlatCall] = []
    for node in graph.nodes:
        if not node.inputs:
            continue
        tensors = [graph.resolve(tensor) for tensor in node.inputs]
        values = [value_numbers[id(tensor)] for tensor in tensors]
        inner = getattr(node.operation, "_graph", None)
        if inner is not None:
            inner_calls, outputs = _expand_calls(inner, values, numbers)
            calls += inner_calls
        else:
            outputs = [next(numbers) for _ in node.outputs]
            calls.append(FlatCall(node.operation, values, outputs, [t.shape[1:] for t in tensors],
                              [t.shape[1:] for t in node.outputs]))
        value_numbers.update((id(tensor), number) for tensor, number in zip(node.outputs, outputs))
    return calls, [value_numbers[id(graph.resolve(tensor))] for tensor in graph.outputs]


def find_flat_orders(calls: list[FlatCall]) -> dict[int, np.ndarray]:
    """Returns the element orders, by value number, of vectors that PyTorch orders differently.

    A missing value has the same order in both libraries. UNKNOWN marks an undetermined order.
    """
    orders: dict[int, np.ndarray] = {}
    targets = _find_target_orders(calls)
    for call in calls:
        order = _find_order(call, [orders.get(number) for number in call.inputs], targets)
        if order is not None:
            orders.update(dict.fromkeys(call.outputs, order))
    return orders


def _find_target_orders(calls: list[FlatCall]) -> dict[int, np.ndarray]:
    """Returns the element orders of vectors that are later reshaped to images, by value number."""
    targets: dict[int, np.ndarray] = {}
    for call in reversed(calls):
        if _is_view(call) and len(call.input_shapes[0]) == 1 and len(call.output_shapes[0]) == 3:
            order: Order = _channels_first(call.output_shapes[0])
        elif _keeps_shape(call) and not isinstance(call.operation, Dense):
            order = targets.get(call.outputs[0])
        else:
            continue
        if order is not None:
            targets.update(dict.fromkeys(call.inputs, order))
    return targets


def _find_order(call: FlatCall, orders: list[Order], targets: dict[int, np.ndarray]) -> Order:
    """Returns the element order of a call's outputs. `orders` are the orders of its inputs."""
    first = orders[0]
    operation = call.operation
    if isinstance(operation, Dense):
        return targets.get(call.outputs[0])
    if _is_view(call):
        return _find_view_order(call, first)
    if isinstance(operation, Permute) and len(call.output_shapes[0]) == 3:
        return UNKNOWN
    if all(order is None for order in orders):
        return None
    if isinstance(operation, Concatenate) and len(call.output_shapes[0]) == 1 and all(o is not UNKNOWN for o in orders):
        begins = np.cumsum([0, *(shape[0] for shape in call.input_shapes[:-1])])
        return np.concatenate([begin + (np.arange(*shape) if order is None else order)
                               for begin, shape, order in zip(begins, call.input_shapes, orders)])
    is_same = all(order is not None and np.array_equal(order, first) for order in orders)  # type: ignore[arg-type]
    return first if is_same and _keeps_shape(call) else UNKNOWN


def _find_view_order(call: FlatCall, order: Order) -> Order:
    """Returns the element order of the output of a Flatten or Reshape."""
    before = call.input_shapes[0]
    after = call.output_shapes[0]
    if order is UNKNOWN or before == after:
        return order
    if len(before) == 3 and len(after) == 1:
        return _channels_first(before)
    if len(before) == 3 and len(after) == 3:
        return None if before[-1] == after[-1] == 1 else UNKNOWN
    if order is not None and len(before) == 1 and len(after) == 3:
        images = _channels_first(after)
        return None if images is not None and np.array_equal(order, images) else UNKNOWN
    return None if order is None else UNKNOWN


def _channels_first(shape: tuple) -> Order:
    """Returns, for each element in (C, H, W) order, its index in an (H, W, C) image."""
    if None in shape:
        return UNKNOWN
    indices = np.arange(prod(shape)).reshape(shape).transpose(2, 0, 1).reshape(-1)
    return None if np.array_equal(indices, np.arange(len(indices))) else indices


def _is_view(call: FlatCall) -> bool:
    has_view_name = getattr(call.operation, "short", "") in ("flatten", "reshape")
    return has_view_name or isinstance(call.operation, Flatten | Reshape)


def _keeps_shape(call: FlatCall) -> bool:
    """Whether all inputs and outputs of a call are vectors of the same size."""
    return len(call.output_shapes[0]) == 1 and len({*call.input_shapes, *call.output_shapes}) == 1
