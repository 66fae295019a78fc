"""Plans the calls of a graph and fuses operations: `fuse(graph)` returns the plan.

Results with and without fusion agree up to rounding. AUTOCONV_FUSION=0 in the environment turns fusion off.
"""

import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from ...layers import Add
from ..symbolic import Node, SymbolicTensor, flatten
from ..tape import DroppedPart, drop
from ..tensor import Tensor
from .graph import Graph
from .patterns import LONGEST, Fusion, find_pattern


class Call:
    """One call in a plan. It runs one operation or several fused operations. To run it: `call.keep(values,
    call.operation(*args, **kwargs))` with `args, kwargs = call.arguments(values)`.

    `nodes` are the graph nodes that the call computes, and `reads` the symbolic tensors that these nodes
    read from other nodes. `inputs`, `outputs` and `last_uses` are the indices of the values that the
    call reads, that it writes, and that no later call reads. `shape` is the first output's shape.
    """

    def __init__(self, operation: Any, nodes: Sequence[Node], number: Callable[[SymbolicTensor], int]) -> None:
        first = nodes[0]
        node = nodes[-1]
        self.operation = operation
        self.nodes = nodes
        inner = {id(tensor) for node in nodes[:-1] for tensor in node.outputs}
        extra = [tensor for node in nodes[1:] for tensor in node.inputs if id(tensor) not in inner]
        self.reads = [*first.inputs, *extra]
        self.inputs = [number(tensor) for tensor in self.reads]
        self._extra_inputs = [number(tensor) for tensor in extra]
        self.outputs = [number(tensor) for tensor in node.outputs]
        self.last_uses: list[int] = []
        self.shape = node.outputs[0].shape
        self._number = number
        self._node = first
        is_unary = not extra and len(first.args) == 1 and not first.kwargs
        self._simple = is_unary and all(isinstance(item, SymbolicTensor) for item in (first.args[0], node.structure))

    def arguments(self, values: list[Any]) -> tuple[tuple, dict[str, Any]]:
        """Returns the operation's arguments, taken from the list of all values."""
        if self._simple:
            return (values[self.inputs[0]],), {}
        args, kwargs = self._node.arguments(lambda tensor: values[self._number(tensor)])
        return (*args, *(values[index] for index in self._extra_inputs)), kwargs

    def keep(self, values: list[Any], result: Any) -> None:
        """Stores the results in `values`, and frees the values that no later call reads."""
        if self._simple:
            values[self.outputs[0]] = result
        else:
            for index, value in zip(self.outputs, flatten(result)):
                values[index] = value
        for index in self.last_uses:
            value = values[index]
            values[index] = None
            drop(value, values)


class FusionPlan:
    """The calls that compute a graph, in order. A value is freed after the last call that reads it."""

    def __init__(self, graph: Graph, groups: Sequence[tuple[Any, Sequence[Node]]]) -> None:
        indices: dict[int, int] = {}

        def number(tensor: SymbolicTensor) -> int:
            return indices.setdefault(id(graph.resolve(tensor)), len(indices))

        self.graph = graph
        self.inputs = [number(tensor) for tensor in graph.inputs]
        self.calls = [Call(operation, nodes, number) for operation, nodes in groups]
        self.outputs = [number(tensor) for tensor in graph.outputs]
        self.size = len(indices)
        needed = {*self.inputs, *self.outputs}  # the caller owns the inputs
        for call in reversed(self.calls):
            call.last_uses = [i for i in {*call.inputs, *call.outputs} if i not in needed]
            needed.update(call.inputs)

    @property
    def operations(self) -> list[Any]:
        """All operations of the plan in order: layers, functions, and fused operations."""
        return [call.operation for call in self.calls]

    def divide(self, values: list[Tensor | None],
               remat: bool) -> Iterator[tuple[AbstractContextManager, list[Call]]]:
        """Yields parts of the calls, each with the context in which it runs. Without `remat`, there
        is only one part. With it, there are about sqrt(n) parts of n calls, and the context drops
        what only the backward pass needs; that pass begins with the last part, which drops nothing.

        A part ends where later calls read few numbers. `values` are the values of the run.
        """
        if not remat:
            yield nullcontext(), self.calls
            return
        live: dict[int, int] = {}  # the size, per sample, of each value that later calls read
        sizes = []
        for call in self.calls:
            live.update(dict.fromkeys(call.outputs, math.prod(n or 1 for n in call.shape)))
            for index in call.last_uses:
                live.pop(index, None)
            sizes.append(sum(live.values()))
        first = 0
        length = math.isqrt(len(self.calls)) + 1
        while len(self.calls) - first > 2 * length:
            candidates = range(first + length // 2, first + 3 * length // 2)
            end = min(candidates, key=sizes.__getitem__) + 1
            yield DroppedPart(values), self.calls[first:end]
            first = end
        yield nullcontext(), self.calls[first:]

    def begin(self, inputs: Iterable[Tensor]) -> list[Any]:
        """Returns the list of values before the first call of a run: the inputs, and None for all results."""
        values: list[Any] = [None] * self.size
        for index, value in zip(self.inputs, inputs):
            values[index] = value
        return values


def fuse(graph: Graph) -> FusionPlan:
    """Returns a graph's plan, in which consecutive layers that a single op can compute are fused. A
    fused call runs in the position of its last layer, where all its inputs exist.
    """
    is_off = os.environ.get("AUTOCONV_FUSION", "1") == "0"
    groups: dict[int, tuple[Any, Sequence[Node]]] = {}
    members: set[int] = set()
    consumers = graph.consumers()
    outputs = {id(tensor) for tensor in graph.outputs}
    for node in graph.nodes:
        if not node.inputs or id(node) in members:
            continue
        chain = [node] if is_off else _chain(node, consumers, outputs, members)
        longest = (n for n in range(len(chain), 1, -1) if find_pattern([member.operation for member in chain[:n]]))
        nodes = chain[: next(longest, 1)]
        operation = node.operation
        if not is_off and find_pattern([member.operation for member in nodes]):
            inner = [id(member.outputs[0]) for member in nodes]
            operation = Fusion([member.operation for member in nodes],
                               any(len(member.inputs) == 2 and id(member.inputs[1]) in inner for member in nodes[1:]))
        groups[id(nodes[-1])] = (operation, nodes)
        members.update(map(id, nodes))
    return FusionPlan(graph, [groups[id(node)] for node in graph.nodes if id(node) in groups])


def _chain(node: Node, consumers: dict[int, list[Node]], outputs: set[int], members: set[int]) -> list[Node]:
    """Returns a node and its successors, up to the length of the longest pattern. Each successor is
    the only reader of the node before it. An addition may read a second tensor; if two chains meet
    in an addition, the addition belongs to the first chain.
    """
    chain = [node]
    while len(chain) < LONGEST and len(node.outputs) == 1 and id(node.outputs[0]) not in outputs:
        readers = consumers.get(id(node.outputs[0]), [])
        if len(readers) != 1 or chain[0].kwargs or readers[0].kwargs:  # the call may set `training` for one layer
            break
        node = readers[0]
        if id(node) in members or len(node.inputs) != (2 if isinstance(node.operation, Add) else 1):
            break
        chain.append(node)
    return chain
