"""`Graph`: the nodes between a model's inputs and outputs, in execution order."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ...arguments import names
from ...layers import InputLayer, Layer
from ...layers.policy import DTYPES, INTEGERS
from ..symbolic import Node, Shape, SymbolicTensor, flatten, map_shapes, map_structure, pack


class Graph:
    """A model's computation, from symbolic inputs to symbolic outputs (single, or in lists, tuples or dicts).

    nodes: sorted so that each comes after the nodes that it needs; operations: the layers and functions in it, in
    Keras's order: by their distance from the outputs; layers: only the layers among them.
    Raises ValueError for an output that is not connected to the inputs, for a cycle, and for two operations with one
    name.
    """

    def __init__(self, inputs: Any, outputs: Any) -> None:
        for what, structure in (("inputs", inputs), ("outputs", outputs)):
            for item in flatten(structure):
                if not isinstance(item, SymbolicTensor):
                    raise ValueError(
                        f"All `{what}` values must be symbolic tensors, such as layers.Input(shape) and layers called "
                        f"on it give. Received: {what}={structure!r} including invalid value {item!r} of type "
                        f"{type(item).__name__}."
                    )
            if not flatten(structure):
                raise ValueError(f"`{what}` argument cannot be empty. Received: inputs={inputs!r}, "
                                 f"outputs={outputs!r}.")
        self._begins: dict[int, SymbolicTensor] = {}  # inputs that replace another graph's tensors
        self.input_structure = map_structure(self._input, inputs)
        self.inputs: list[SymbolicTensor] = flatten(self.input_structure)
        self.output_structure = outputs
        self.outputs = flatten(outputs)
        found, first_seen = self._find()
        self.nodes, self.operations = _by_depth(found, first_seen, self.inputs, self.parents)
        self.layers: list[Layer] = [operation for operation in self.operations if isinstance(operation, Layer)]
        for name, count in Counter(operation.name for operation in self.operations).items():
            if count > 1:
                raise ValueError(f'The name "{name}" is used {count} times in the model. All layers and '
                                 "functions of a model must have different names: pass name= to one of them.")

    def _input(self, tensor: SymbolicTensor) -> SymbolicTensor:
        """Returns the tensor if an Input made it, else a new Input that replaces it in this graph."""
        if tensor.node is not None and not tensor.node.inputs:
            return tensor
        if id(tensor) not in self._begins:
            fresh = InputLayer(tensor.shape[1:], dtype=tensor.dtype, name=f"{tensor.name}_input")
            self._begins[id(tensor)] = fresh.output
        return self._begins[id(tensor)]

    def resolve(self, tensor: SymbolicTensor) -> SymbolicTensor:
        """Returns the graph's tensor for this one: itself, or an input."""
        return self._begins.get(id(tensor), tensor)

    def parents(self, node: Node) -> Iterator[Node]:
        """Yields the nodes whose results a node reads."""
        for tensor in node.inputs:
            yield self._node(tensor)

    def _node(self, tensor: SymbolicTensor) -> Node:
        """Returns the call that computes a tensor in this graph."""
        node = self.resolve(tensor).node
        if node is None:
            raise ValueError(f"Graph disconnected: no layer computes {tensor!r}, and it is not an input.")
        return node

    def _find(self) -> tuple[list[Node], dict[int, int]]:
        """Returns the nodes that the outputs need, in topological order, and when each operation was first seen."""
        finished: set[int] = set()
        found: list[Node] = []
        first_seen: dict[int, int] = {}
        begins = {id(tensor.node) for tensor in self.inputs}
        for place, output in enumerate(self.outputs):
            path: dict[int, Node] = {}  # the nodes from the output to the current node of the search
            waiting: list[tuple[Node, Iterator[Node]]] = []

            def enter(node: Node, path: dict = path, waiting: list = waiting, place: int = place) -> None:
                if id(node) in finished:
                    return
                if id(node) in path:
                    raise ValueError(f"The graph has a cycle: {node.operation.name!r} needs, through "
                                     f"{', '.join(repr(n.operation.name) for n in path.values())}, its own result.")
                if not node.inputs and id(node) not in begins:
                    raise ValueError(
                        f"Graph disconnected: output {place} ({self.outputs[place].name!r}) is not connected to "
                        f"`inputs`. It is computed from the input {node.operation.name!r}, and the model's inputs are "
                        f"{[tensor.name for tensor in self.inputs]}: pass that one too, or outputs of this model."
                    )
                first_seen.setdefault(id(node.operation), len(first_seen))
                path[id(node)] = node
                waiting.append((node, self.parents(node)))

            enter(self._node(output))
            while waiting:
                node, parents = waiting[-1]
                parent = next(parents, None)
                if parent is not None:
                    enter(parent)
                    continue
                waiting.pop()
                del path[id(node)]
                finished.add(id(node))
                found.append(node)
        return found, first_seen

    @property
    def input_names(self) -> list[str]:
        return [tensor.name for tensor in self.inputs]

    @property
    def output_names(self) -> list[str]:
        """The names of the layers that made the outputs."""
        return [self.resolve(tensor).node.operation.name for tensor in self.outputs]

    @property
    def output_keys(self) -> list[str]:
        """The keys of a dict of outputs, else the layers' names."""
        structure = self.output_structure
        plain = isinstance(structure, dict) and len(structure) == len(self.outputs)
        return sorted(structure) if plain else self.output_names

    def consumers(self) -> dict[int, list[Node]]:
        """The nodes that read each tensor, by the tensor's id."""
        found: dict[int, list[Node]] = {}
        for node in self.nodes:
            for tensor in node.inputs:
                found.setdefault(id(self.resolve(tensor)), []).append(node)
        return found

    def is_chain(self) -> bool:
        """Whether each node reads only the previous node's result, and no operation occurs twice."""
        pairs = zip(self.nodes, self.nodes[1:])
        return len({id(node.operation) for node in self.nodes}) == len(self.nodes) and all(
            len(after.inputs) == 1 and self.resolve(after.inputs[0]).node is before for before, after in pairs)

    # Inputs and outputs.

    def match(self, given: Any, layer_name: str, is_item: Callable[[Any], bool] = lambda item: True) -> list[Any]:
        """Returns the items of `given`, one per input, in the order of `inputs`.

        A dict is read by input names. Raises ValueError for more or fewer items than inputs.
        """
        if isinstance(given, dict):
            wanted = sorted(self.input_structure) if isinstance(self.input_structure, dict) else self.input_names
            missing = [name for name in wanted if name not in given]
            if missing:
                raise ValueError(f"Missing data for input {missing[0]!r} of model {layer_name!r}. Received a dict with "
                                 f"keys {list(given)}. Expected the keys: {wanted}.")
            items = [item for name in wanted for item in _flat(given[name], is_item)]
        else:
            items = _flat(given, is_item)
        if len(items) != len(self.inputs):
            raise ValueError(f"Layer {layer_name!r} expects {len(self.inputs)} input(s) "
                             f"({', '.join(self.input_names)}), but it received {len(items)} input tensors.")
        return items

    def results(self, values: list[Any]) -> Any:
        """Returns the outputs' values in the structure of `outputs`; a list of one is unpacked."""
        structure = self.output_structure
        if isinstance(structure, (list, tuple)) and len(structure) == 1:
            structure = structure[0]
        return pack(structure, values)

    def output_shapes(self, shapes: list[Shape]) -> Any:
        """Returns the outputs' shapes for inputs of these shapes, in the structure of `outputs`."""
        known = {id(tensor): tuple(shape) for tensor, shape in zip(self.inputs, shapes)}
        if all(known[id(tensor)] == tensor.shape for tensor in self.inputs):
            return self.results([self.resolve(tensor).shape for tensor in self.outputs])
        for node in self.nodes:
            if not node.inputs:
                continue
            if isinstance(node.operation, Layer):
                args, _ = node.arguments(lambda tensor: known[id(self.resolve(tensor))])
                node.operation.check_input(args[0])
                found = node.operation.compute_output_shape(args[0])
            else:
                found = map_structure(lambda tensor: tensor.shape, node.operation.compute_output(*node.arguments(
                    lambda tensor: SymbolicTensor(known[id(self.resolve(tensor))], tensor.dtype, name=tensor.name))))
            flat: list[Shape] = []
            map_shapes(flat.append, found)
            known.update((id(tensor), shape) for tensor, shape in zip(node.outputs, flat))
        return self.results([known[id(self.resolve(tensor))] for tensor in self.outputs])

    # Records of a graph, for files and copies.

    def records(self) -> dict[str, Any]:
        """The graph as `{"layers": [{"layer", "name", "inbound_nodes"}, ...], "input_layers", "output_layers"}`.

        A tensor is `[name of the operation, number of its node in this graph, number of the output]`.
        """
        own: dict[int, list[Node]] = {}
        for node in self.nodes:
            own.setdefault(id(node.operation), []).append(node)
        for nodes in own.values():  # in the order in which the operation was called
            nodes.sort(key=lambda node: node.number)
        place = {id(node): number for nodes in own.values() for number, node in enumerate(nodes)}

        def reference(tensor: SymbolicTensor) -> list[Any]:
            node = self.resolve(tensor).node
            return [node.operation.name, place[id(node)], self.resolve(tensor).index]

        def calls(operation: Any) -> list[dict[str, Any]]:
            return [{"args": _plain(list(node.args), reference),
                     "kwargs": {key: _plain(value, reference) for key, value in node.kwargs.items()}}
                    for node in own[id(operation)] if node.inputs]

        return {
            "layers": [{"layer": operation, "name": operation.name, "inbound_nodes": calls(operation)}
                       for operation in self.operations],
            "input_layers": _plain(self.input_structure, reference),
            "output_layers": _plain(self.output_structure, reference),
        }

    @classmethod
    def from_records(cls, records: dict[str, Any]) -> "Graph":
        """Rebuilds the graph from `records` by calling its layers again. Raises ValueError for invalid records."""
        operations = {entry["name"]: entry["layer"] for entry in records["layers"]}
        calls = {name: [] if not isinstance(operation, InputLayer) else [operation._nodes[0]]
                 for name, operation in operations.items()}
        left = [(entry["name"], call) for entry in records["layers"] for call in entry["inbound_nodes"]]

        def tensor(name: str, node: int, output: int) -> SymbolicTensor:
            names.lookup("layer", name, operations)
            return calls[name][node].outputs[output]

        def known(item: Any) -> Any:
            return _read(item, tensor)

        while left:
            later = []
            blocked = set()
            for name, call in left:
                if name in blocked:  # calls of one operation keep their order
                    later.append((name, call))
                    continue
                try:
                    args = known(call["args"])
                    kwargs = {key: known(value) for key, value in call["kwargs"].items()}
                except IndexError:
                    later.append((name, call))
                    blocked.add(name)
                    continue
                operations[name](*args, **kwargs)
                calls[name].append(operations[name]._nodes[-1])
            if len(later) == len(left):
                raise ValueError("The graph of the model either has loops or disconnected nodes. These calls never get "
                                 f"their inputs: {sorted({name for name, _ in left})}.")
            left = later
        try:
            return cls(known(records["input_layers"]), known(records["output_layers"]))
        except IndexError as error:
            raise ValueError("The inputs or outputs of the model's graph are not among its nodes.") from error


def _plain(item: Any, reference: Callable[[SymbolicTensor], list[Any]]) -> Any:
    """Returns a call's argument as plain data; a value that JSON lacks becomes an object with its kind."""
    if isinstance(item, SymbolicTensor):
        return {"tensor": reference(item)}
    if isinstance(item, slice):
        return {"slice": [item.start, item.stop, item.step]}
    if item is Ellipsis:
        return {"ellipsis": True}
    if isinstance(item, np.ndarray):
        return {"array": [item.tolist(), item.dtype.name]}
    if isinstance(item, dict):
        return {"dict": {key: _plain(part, reference) for key, part in item.items()}}
    if isinstance(item, list | tuple):
        parts = [_plain(part, reference) for part in item]
        return {"tuple": parts} if isinstance(item, tuple) else parts
    return item


def _read(item: Any, tensor: Callable[..., SymbolicTensor]) -> Any:
    """Reads an argument that `_plain` wrote; `tensor` finds a tensor by its reference."""
    if isinstance(item, list):
        return [_read(part, tensor) for part in item]
    if not isinstance(item, dict) or len(item) != 1:
        return item
    (kind, value), = item.items()
    if kind == "tensor":
        return tensor(*value)
    if kind == "slice":
        return slice(*value)
    if kind == "ellipsis":
        return Ellipsis
    if kind == "array":
        return _array(value)
    if kind == "tuple":
        return tuple(_read(part, tensor) for part in value)
    return {key: _read(part, tensor) for key, part in value.items()} if kind == "dict" else item


def _array(value: Any) -> np.ndarray:
    """Reads an array that `records` wrote. Raises ValueError for non-numeric data."""
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError(f"An array in a graph needs its elements and their dtype. Received: {value!r}.")
    items, dtype = value
    kind = names.lookup("dtype", dtype, {name: np.dtype(name) for name in (*DTYPES, *INTEGERS)})
    try:
        return np.array(items, kind)
    except TypeError as error:
        raise ValueError(f"These are not elements of an array of {dtype}: {error}") from None


def _flat(given: Any, is_item: Callable[[Any], bool]) -> list[Any]:
    if isinstance(given, dict):
        return [item for key in sorted(given) for item in _flat(given[key], is_item)]
    if isinstance(given, (list, tuple)) and not (is_item(given) and not any(map(is_item, given))):
        return [item for part in given for item in _flat(part, is_item)]
    return [given]


def _by_depth(found: list[Node], first_seen: dict[int, int], inputs: list[SymbolicTensor],
              parents: Callable[[Node], Iterator[Node]]) -> tuple[list[Node], list[Any]]:
    """Sorts nodes and operations by their distance from the outputs, farthest first, as in Keras."""
    depths: dict[int, int] = {}
    nodes: dict[int, Node] = {}
    of_operations: dict[int, int] = {}
    operations: dict[int, Any] = {}
    for node in reversed(found):
        operation = node.operation
        depth = max(depths.get(id(node), 0), of_operations.get(id(operation), 0))
        of_operations[id(operation)], operations[id(operation)] = depth, operation
        depths[id(node)], nodes[id(node)] = depth, node
        for parent in parents(node):
            nodes[id(parent)] = parent
            depths[id(parent)] = max(depth + 1, depths.get(id(parent), 0))
    for tensor in inputs:  # an input that no output needs still belongs to the model
        node = tensor.node
        if id(node.operation) not in operations:
            operations[id(node.operation)], nodes[id(node)] = node.operation, node
            of_operations[id(node.operation)] = depths[id(node)] = 0
            first_seen[id(node.operation)] = -1
    ordered = sorted(nodes, key=lambda key: -depths[key])
    named = sorted(operations, key=lambda key: (-of_operations[key], first_seen[key]))
    return [nodes[key] for key in ordered], [operations[key] for key in named]
