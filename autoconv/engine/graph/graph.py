"""`Graph` holds the nodes between a model's inputs and outputs, in execution order."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ...arguments import names
from ...layers import InputLayer, Layer
from ...layers.policy import DTYPES, INTEGERS
from ..symbolic import Node, Shape, SymbolicTensor, flatten, map_shapes, map_structure, pack


class Graph:
    """A model's computation from symbolic inputs to symbolic outputs (single, or in lists, tuples or dicts).

    `nodes` is sorted so that each node follows the nodes that it needs. `operations` are the
    graph's layers and functions in Keras's order, by their distance from the outputs. `layers`
    contains only the layers. Raises ValueError for an output that is not connected to the inputs,
    for a cycle, and for two operations with the same name.
    """

    def __init__(self, inputs: Any, outputs: Any) -> None:
        for name, structure in (("inputs", inputs), ("outputs", outputs)):
            for item in flatten(structure):
                if not isinstance(item, SymbolicTensor):
                    raise ValueError(
                        f"All `{name}` values must be symbolic tensors, such as the result of "
                        "layers.Input(shape) or of a layer called on such a tensor. Received: "
                        f"{name}={structure!r} including invalid value {item!r} of type {type(item).__name__}."
                    )
            if not flatten(structure):
                raise ValueError(f"`{name}` argument cannot be empty. Received: inputs={inputs!r}, "
                                 f"outputs={outputs!r}.")
        self._new_inputs: dict[int, SymbolicTensor] = {}  # inputs that replace another graph's tensors, by tensor id
        self.input_structure = map_structure(self._input, inputs)
        self.inputs: list[SymbolicTensor] = flatten(self.input_structure)
        self.output_structure = outputs
        self.outputs = flatten(outputs)
        sequence, first_seen = self._order_nodes()
        self.nodes, self.operations = _sort_by_depth(sequence, first_seen, self.inputs, self.parents)
        self.layers: list[Layer] = [operation for operation in self.operations if isinstance(operation, Layer)]
        for name, count in Counter(operation.name for operation in self.operations).items():
            if count > 1:
                raise ValueError(f'The name "{name}" is used {count} times in the model. All layers and '
                                 "functions of a model must have different names. Pass another name= to one of them.")

    def _input(self, tensor: SymbolicTensor) -> SymbolicTensor:
        """Returns the tensor if an Input created it, else a new Input that replaces the tensor in this graph."""
        if tensor.node is not None and not tensor.node.inputs:
            return tensor
        if id(tensor) not in self._new_inputs:
            layer = InputLayer(tensor.shape[1:], dtype=tensor.dtype, name=f"{tensor.name}_input")
            self._new_inputs[id(tensor)] = layer.output
        return self._new_inputs[id(tensor)]

    def resolve(self, tensor: SymbolicTensor) -> SymbolicTensor:
        """Returns the tensor that represents `tensor` in this graph: `tensor` itself, or the input that replaces it."""
        return self._new_inputs.get(id(tensor), tensor)

    def parents(self, node: Node) -> Iterator[Node]:
        """Yields the nodes whose results `node` reads."""
        for tensor in node.inputs:
            yield self._node(tensor)

    def _node(self, tensor: SymbolicTensor) -> Node:
        """Returns the node that computes a tensor. Raises ValueError if there is none."""
        node = self.resolve(tensor).node
        if node is None:
            raise ValueError(f"Graph disconnected: no layer computes {tensor!r}, and this tensor "
                             "is not an input of the model.")
        return node

    def _order_nodes(self) -> tuple[list[Node], dict[int, int]]:
        """Returns the nodes that the outputs need, in topological order, and each operation's place in the search."""
        finished_ids: set[int] = set()
        ordered: list[Node] = []
        first_seen: dict[int, int] = {}
        input_ids = {id(tensor.node) for tensor in self.inputs}
        for number, output in enumerate(self.outputs):
            path: dict[int, Node] = {}  # the nodes from the output to the current node of the search
            stack: list[tuple[Node, Iterator[Node]]] = []

            def enter(node: Node, path: dict = path, stack: list = stack, number: int = number) -> None:
                if id(node) in finished_ids:
                    return
                if id(node) in path:
                    raise ValueError(f"The graph has a cycle: {node.operation.name!r} depends on "
                                     "its own result. Received: the path "
                                     f"{' <- '.join(repr(n.operation.name) for n in path.values())}.")
                if not node.inputs and id(node) not in input_ids:
                    raise ValueError(
                        f"Graph disconnected: output {number} ({self.outputs[number].name!r}) is not connected to "
                        f"`inputs`. It is computed from the input {node.operation.name!r}, and the model's inputs "
                        f"are {[tensor.name for tensor in self.inputs]}. Add that input to `inputs`, or pass other "
                        "outputs."
                    )
                first_seen.setdefault(id(node.operation), len(first_seen))
                path[id(node)] = node
                stack.append((node, self.parents(node)))

            enter(self._node(output))
            while stack:
                node, parents = stack[-1]
                parent = next(parents, None)
                if parent is not None:
                    enter(parent)
                    continue
                stack.pop()
                del path[id(node)]
                finished_ids.add(id(node))
                ordered.append(node)
        return ordered, first_seen

    @property
    def input_names(self) -> list[str]:
        return [tensor.name for tensor in self.inputs]

    @property
    def output_names(self) -> list[str]:
        """The names of the operations that computed the outputs."""
        return [self.resolve(tensor).node.operation.name for tensor in self.outputs]

    @property
    def output_keys(self) -> list[str]:
        """The keys of a dict of outputs. If the outputs are not in a dict, the names of the operations."""
        structure = self.output_structure
        plain = isinstance(structure, dict) and len(structure) == len(self.outputs)
        return sorted(structure) if plain else self.output_names

    def consumers(self) -> dict[int, list[Node]]:
        """Returns the nodes that read each tensor, keyed by the tensor's id."""
        readers: dict[int, list[Node]] = {}
        for node in self.nodes:
            for tensor in node.inputs:
                readers.setdefault(id(self.resolve(tensor)), []).append(node)
        return readers

    def is_chain(self) -> bool:
        """Whether each node reads only the previous node's result, and no operation is called twice."""
        pairs = zip(self.nodes, self.nodes[1:])
        return len({id(node.operation) for node in self.nodes}) == len(self.nodes) and all(
            len(second.inputs) == 1 and self.resolve(second.inputs[0]).node is first for first, second in pairs)

    # Inputs and outputs.

    def match(self, values: Any, layer_name: str, is_item: Callable[[Any], bool] = lambda item: True) -> list[Any]:
        """Returns the items of `values`, one per input, in the order of `inputs`.

        The keys of a dict are input names. Raises ValueError if the number of items differs from the number of inputs.
        """
        if isinstance(values, dict):
            keys = sorted(self.input_structure) if isinstance(self.input_structure, dict) else self.input_names
            missing = [name for name in keys if name not in values]
            if missing:
                raise ValueError(f"Missing data for input {missing[0]!r} of model {layer_name!r}. Received a dict with "
                                 f"keys {list(values)}. Expected the keys: {keys}.")
            items = [item for name in keys for item in _flatten_items(values[name], is_item)]
        else:
            items = _flatten_items(values, is_item)
        if len(items) != len(self.inputs):
            raise ValueError(f"Layer {layer_name!r} expects {len(self.inputs)} input(s) "
                             f"({', '.join(self.input_names)}), but it received {len(items)} input tensors.")
        return items

    def results(self, values: list[Any]) -> Any:
        """Returns output values in the graph's output structure. A list of one output is unpacked."""
        structure = self.output_structure
        if isinstance(structure, (list, tuple)) and len(structure) == 1:
            structure = structure[0]
        return pack(structure, values)

    def output_shapes(self, shapes: list[Shape]) -> Any:
        """Returns the outputs' shapes for inputs of these shapes, in the structure of `outputs`."""
        tensor_shapes = {id(tensor): tuple(shape) for tensor, shape in zip(self.inputs, shapes)}
        if all(tensor_shapes[id(tensor)] == tensor.shape for tensor in self.inputs):
            return self.results([self.resolve(tensor).shape for tensor in self.outputs])
        for node in self.nodes:
            if not node.inputs:
                continue
            if isinstance(node.operation, Layer):
                args, _ = node.arguments(lambda tensor: tensor_shapes[id(self.resolve(tensor))])
                node.operation.check_input(args[0])
                result = node.operation.compute_output_shape(args[0])
            else:
                result = map_structure(lambda tensor: tensor.shape, node.operation.compute_output(*node.arguments(
                    lambda t: SymbolicTensor(tensor_shapes[id(self.resolve(t))], t.dtype, name=t.name))))
            flat: list[Shape] = []
            map_shapes(flat.append, result)
            tensor_shapes.update((id(tensor), shape) for tensor, shape in zip(node.outputs, flat))
        return self.results([tensor_shapes[id(self.resolve(tensor))] for tensor in self.outputs])

    # Conversion of a graph to records and back, for files and copies.

    def records(self) -> dict[str, Any]:
        """Returns the graph as `{"layers": [{"layer", "name", "inbound_nodes"}, ...],
        "input_layers", "output_layers"}`.

        A tensor is `[name of the operation, number of its call in this graph, index of the output]`.
        """
        groups: dict[int, list[Node]] = {}
        for node in self.nodes:
            groups.setdefault(id(node.operation), []).append(node)
        for nodes in groups.values():  # sort by call number
            nodes.sort(key=lambda node: node.number)
        numbers = {id(node): n for nodes in groups.values() for n, node in enumerate(nodes)}

        def reference(tensor: SymbolicTensor) -> list[Any]:
            node = self.resolve(tensor).node
            return [node.operation.name, numbers[id(node)], self.resolve(tensor).index]

        def calls(operation: Any) -> list[dict[str, Any]]:
            return [{"args": _encode(list(node.args), reference),
                     "kwargs": {key: _encode(value, reference) for key, value in node.kwargs.items()}}
                    for node in groups[id(operation)] if node.inputs]

        return {
            "layers": [{"layer": operation, "name": operation.name, "inbound_nodes": calls(operation)}
                       for operation in self.operations],
            "input_layers": _encode(self.input_structure, reference),
            "output_layers": _encode(self.output_structure, reference),
        }

    @classmethod
    def from_records(cls, records: dict[str, Any]) -> "Graph":
        """Rebuilds a graph from `records` by calling the layers again. Raises ValueError for invalid records."""
        operations = {entry["name"]: entry["layer"] for entry in records["layers"]}
        calls = {name: [] if not isinstance(operation, InputLayer) else [operation._nodes[0]]
                 for name, operation in operations.items()}
        pending = [(entry["name"], call) for entry in records["layers"] for call in entry["inbound_nodes"]]

        def tensor(name: str, node: int, output: int) -> SymbolicTensor:
            names.lookup("layer", name, operations)
            return calls[name][node].outputs[output]

        def decode(item: Any) -> Any:
            return _decode(item, tensor)

        while pending:
            postponed = []
            blocked_names = set()
            for name, call in pending:
                if name in blocked_names:  # calls of one operation keep their order
                    postponed.append((name, call))
                    continue
                try:
                    args = decode(call["args"])
                    kwargs = {key: decode(value) for key, value in call["kwargs"].items()}
                except IndexError:
                    postponed.append((name, call))
                    blocked_names.add(name)
                    continue
                operations[name](*args, **kwargs)
                calls[name].append(operations[name]._nodes[-1])
            if len(postponed) == len(pending):
                raise ValueError("The graph of the model has loops or disconnected nodes. The inputs of these layers "
                                 f"and functions cannot be computed: {sorted({name for name, _ in pending})}.")
            pending = postponed
        try:
            return cls(decode(records["input_layers"]), decode(records["output_layers"]))
        except IndexError as error:
            raise ValueError("The inputs or outputs of the model's graph are not among its nodes.") from error


def _encode(item: Any, reference: Callable[[SymbolicTensor], list[Any]]) -> Any:
    """Converts a call's argument to plain data. A value that JSON lacks becomes a dict whose key names its type."""
    if isinstance(item, SymbolicTensor):
        return {"tensor": reference(item)}
    if isinstance(item, slice):
        return {"slice": [item.start, item.stop, item.step]}
    if item is Ellipsis:
        return {"ellipsis": True}
    if isinstance(item, np.ndarray):
        return {"array": [item.tolist(), item.dtype.name]}
    if isinstance(item, dict):
        return {"dict": {key: _encode(part, reference) for key, part in item.items()}}
    if isinstance(item, list | tuple):
        parts = [_encode(part, reference) for part in item]
        return {"tuple": parts} if isinstance(item, tuple) else parts
    return item


def _decode(item: Any, tensor: Callable[..., SymbolicTensor]) -> Any:
    """Converts data from `_encode` back to a call's argument. `tensor` returns the tensor for a reference."""
    if isinstance(item, list):
        return [_decode(part, tensor) for part in item]
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
        return _decode_array(value)
    if kind == "tuple":
        return tuple(_decode(part, tensor) for part in value)
    return {key: _decode(part, tensor) for key, part in value.items()} if kind == "dict" else item


def _decode_array(value: Any) -> np.ndarray:
    """Converts an array's data from `_encode` back to the array. Raises ValueError for non-numeric data."""
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError(f"An array in a graph must be a list [elements, dtype]. Received: {value!r}.")
    items, dtype = value
    kind = names.lookup("dtype", dtype, {name: np.dtype(name) for name in (*DTYPES, *INTEGERS)})
    try:
        return np.array(items, kind)
    except TypeError as error:
        raise ValueError(f"The elements of an array in a graph cannot be converted to {dtype}: {error}") from None


def _flatten_items(value: Any, is_item: Callable[[Any], bool]) -> list[Any]:
    if isinstance(value, dict):
        return [item for key in sorted(value) for item in _flatten_items(value[key], is_item)]
    if isinstance(value, (list, tuple)) and not (is_item(value) and not any(map(is_item, value))):
        return [item for part in value for item in _flatten_items(part, is_item)]
    return [value]


def _sort_by_depth(sequence: list[Node], first_seen: dict[int, int], inputs: list[SymbolicTensor],
                   parents: Callable[[Node], Iterator[Node]]) -> tuple[list[Node], list[Any]]:
    """Sorts nodes and operations by distance from the outputs, farthest first, as in Keras."""
    depths: dict[int, int] = {}
    nodes: dict[int, Node] = {}
    operation_depths: dict[int, int] = {}
    operations: dict[int, Any] = {}
    for node in reversed(sequence):
        operation = node.operation
        depth = max(depths.get(id(node), 0), operation_depths.get(id(operation), 0))
        operation_depths[id(operation)], operations[id(operation)] = depth, operation
        depths[id(node)], nodes[id(node)] = depth, node
        for parent in parents(node):
            nodes[id(parent)] = parent
            depths[id(parent)] = max(depth + 1, depths.get(id(parent), 0))
    for tensor in inputs:  # an input that no output needs still belongs to the model
        node = tensor.node
        if id(node.operation) not in operations:
            operations[id(node.operation)], nodes[id(node)] = node.operation, node
            operation_depths[id(node.operation)] = depths[id(node)] = 0
            first_seen[id(node.operation)] = -1
    node_keys = sorted(nodes, key=lambda key: -depths[key])
    operation_keys = sorted(operations, key=lambda key: (-operation_depths[key], first_seen[key]))
    return [nodes[key] for key in node_keys], [operations[key] for key in operation_keys]
