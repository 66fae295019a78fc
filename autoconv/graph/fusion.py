"""Which operations of a graph run as one kernel, and how a graph runs: `fuse(graph)` gives the plan.

Fused or not, results agree up to rounding; AUTOCONV_FUSION=0 in the environment turns fusion off.
"""

import os
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from .. import functional
from ..arguments import shapes
from ..layers import Activation, BatchNormalization, Conv2D, Dense, Layer, MaxPooling2D, ReLU
from ..layers.base import in_training
from ..ops import conv, dense, fused
from ..symbolic import Node, SymbolicTensor, flatten
from ..tensor import Tensor, apply
from .graph import Graph


class Step:
    """One call in a plan: an operation, or several that run as one.

    `nodes` are the calls that it makes; `inputs` and `outputs` the numbers of the values it reads and makes, `last` of
    those that nobody reads later; `shape` is that of the first output.
    """

    def __init__(self, operation: Any, first: Node, node: Node, number: Callable[[SymbolicTensor], int]) -> None:
        self.operation, self.nodes = operation, [first] if first is node else [first, node]
        self.inputs = [number(tensor) for tensor in first.inputs]
        self.outputs = [number(tensor) for tensor in node.outputs]
        self.last: list[int] = []
        self.shape = node.outputs[0].shape
        self._number, self._node = number, first
        self._simple = len(first.args) == 1 and isinstance(first.args[0], SymbolicTensor) and not first.kwargs and (
            isinstance(node.structure, SymbolicTensor))

    def run(self, values: list[Any]) -> None:
        """Reads its inputs from the values, and writes what it computes there."""
        if self._simple:
            values[self.outputs[0]] = self.operation(values[self.inputs[0]])
        else:
            args, kwargs = self._node.arguments(lambda tensor: values[self._number(tensor)])
            for place, value in zip(self.outputs, flatten(self.operation(*args, **kwargs))):
                values[place] = value
        for place in self.last:
            values[place] = None


class Plan:
    """The steps that compute a graph, one after the other. Values are let go after the last step that reads them."""

    def __init__(self, graph: Graph, groups: list[tuple[Any, Node, Node]]) -> None:
        places: dict[int, int] = {}

        def number(tensor: SymbolicTensor) -> int:
            return places.setdefault(id(graph.resolve(tensor)), len(places))

        self.graph = graph
        self.inputs = [number(tensor) for tensor in graph.inputs]
        self.steps = [Step(operation, first, last, number) for operation, first, last in groups]
        self.outputs = [number(tensor) for tensor in graph.outputs]
        self.size, needed = len(places), set(self.outputs)
        for step in reversed(self.steps):
            step.last = [place for place in {*step.inputs, *step.outputs} if place not in needed]
            needed.update(step.inputs)

    @property
    def operations(self) -> list[Any]:
        """What runs, in order: layers, functions, and fused ones."""
        return [step.operation for step in self.steps]

    def run(self, inputs: list[Tensor]) -> list[Tensor]:
        """The outputs for these inputs, both in the order that the graph has them in."""
        values: list[Any] = [None] * self.size
        for place, value in zip(self.inputs, inputs):
            values[place] = value
        for step in self.steps:
            step.run(values)
        return [values[place] for place in self.outputs]


def fuse(graph: Graph) -> Plan:
    """The plan of a graph, in which operations that have a kernel in common are one step."""
    off = os.environ.get("AUTOCONV_FUSION", "1") == "0"
    groups: list[tuple[Any, Node, Node]] = []
    taken: set[int] = set()
    consumers, outputs = graph.consumers(), {id(tensor) for tensor in graph.outputs}
    for node in graph.nodes:
        if not node.inputs or id(node) in taken:
            continue
        following = None
        if len(node.outputs) == 1 and id(node.outputs[0]) not in outputs:
            readers = consumers.get(id(node.outputs[0]), [])
            following = readers[0] if len(readers) == 1 else None
        operation = None if off else pattern(node.operation, None if following is None else following.operation)
        if operation is None:
            groups.append((node.operation, node, node))
        elif len(operation.layers) == 1 or following is None:
            groups.append((operation, node, node))
        else:
            groups.append((operation, node, following))
            taken.add(id(following))
    return Plan(graph, groups)


def pattern(operation: Any, following: Any = None) -> "Fused | None":
    """The fused operation that begins with this layer, and may take in the one that alone reads its result."""
    kinds = (ConvReluPool, ConvRelu, DenseRelu, BatchNormRelu, BatchNormActivation)
    layers = (operation,) if following is None else (operation, following)
    for kind in kinds:
        if len(layers) >= len(kind.kinds) and kind.fits(*layers[:len(kind.kinds)]):
            return kind(*layers[:len(kind.kinds)])
    return None


class Fused:
    """Layers that run as one op, as long as they are what the op computes. They are asked at each call, so a layer that
    was changed, not built, or is given another dtype runs by itself, with the checks of its own.
    """

    kinds: tuple[type[Layer], ...] = ()
    activated = 0  # which of the layers brings the ReLU

    def __init__(self, *layers: Any) -> None:
        self.layers = layers

    def __call__(self, x: Tensor, training: bool | None = None) -> Tensor:
        self.layers[0].check_input(x.shape)
        if self.fits(*self.layers) and self.ready(x):
            y = self.fused(x, in_training.get() if training is None else bool(training))
            if y is not None:
                return y
        for layer in self.layers:
            x = layer(x, training)
        return x

    @classmethod
    def fits(cls, *layers: Any) -> bool:
        """Whether these are layers of ours, not of classes derived from them, with the attributes of the pattern."""
        return all(type(layer) is kind and "call" not in vars(layer) for layer, kind in zip(layers, cls.kinds)) and (
            layers[cls.activated].activation is functional.relu)

    def ready(self, x: Tensor) -> bool:
        """Whether the weights are there and go together with x."""
        return _weights_fit(self.layers[0], x)

    def fused(self, x: Tensor, training: bool) -> Tensor | None:
        """The result for x, or None where the op cannot compute it."""
        raise NotImplementedError

    def window(self, x: Tensor) -> shapes.Window:
        """The convolution's window over x."""
        c = self.layers[0]
        return _window(x.shape[1:3], c.kernel.shape[:2], *map(_hashable, (c.strides, c.padding, c.dilation_rate)))


class ConvReluPool(Fused):
    """Conv2D with a ReLU, then the usual max pooling: 2x2 windows side by side, no padding."""

    kinds = (Conv2D, MaxPooling2D)

    @classmethod
    def fits(cls, *layers: Any) -> bool:
        convolution, pooling = layers
        return super().fits(*layers) and convolution.groups == 1 and (
            _hashable(pooling.pool_size) == _hashable(pooling.strides) == (2, 2) and pooling.padding == "valid")

    def fused(self, x: Tensor, training: bool) -> Tensor | None:
        layer, window = self.layers[0], self.window(x)
        if min(window.output_size(*x.shape[1:3])) < 2:
            return None  # the pooling says that its window does not fit
        return apply(fused.conv2d_relu_pool, x, layer.kernel, layer.bias, window=window)


class ConvRelu(Fused):
    """Conv2D with a ReLU."""

    kinds = (Conv2D,)

    def fused(self, x: Tensor, training: bool) -> Tensor:
        layer = self.layers[0]
        return apply(conv.conv2d, x, layer.kernel, layer.bias, window=self.window(x), groups=layer.groups, relu=True)


class DenseRelu(Fused):
    """Dense with a ReLU."""

    kinds = (Dense,)

    def fused(self, x: Tensor, training: bool) -> Tensor | None:
        layer = self.layers[0]
        return apply(dense.dense, x, layer.kernel, layer.bias, relu=True) if x.ndim == 2 else None


class BatchNormRelu(Fused):
    """BatchNormalization, then a ReLU."""

    kinds: tuple[type[Layer], ...] = (BatchNormalization, ReLU)
    activated = 1

    def ready(self, x: Tensor) -> bool:
        return self.layers[0].built and x.dtype == self.layers[0].dtype

    def fused(self, x: Tensor, training: bool) -> Tensor:
        return self.layers[0].normalized(x, training, relu=True)


class BatchNormActivation(BatchNormRelu):
    """BatchNormalization, then a ReLU as `Activation("relu")`."""

    kinds = (BatchNormalization, Activation)


def _weights_fit(layer: Any, x: Tensor) -> bool:
    """Whether the layer's weights are there and go together with x as its function would want it."""
    if not layer.built:
        return False
    w, b, groups = layer.kernel, layer.bias, getattr(layer, "groups", 1)
    tensors = [t for t in (w, b) if t is not None]
    return (
        all(isinstance(t, Tensor) and t.dtype == x.dtype for t in tensors) and isinstance(groups, int) and groups > 0
        and w.ndim == (4 if isinstance(layer, Conv2D) else 2) and w.shape[-2] * groups == x.shape[-1]
        and w.shape[-1] % groups == 0 and (b is None or b.shape == w.shape[-1:])
    )


def _hashable(value: Any) -> Any:
    return tuple(map(_hashable, value)) if isinstance(value, (list, tuple)) else value


@lru_cache(maxsize=256)
def _window(size: tuple[int, int], kernel: Any, strides: Any, padding: Any, dilation_rate: Any) -> shapes.Window:
    return shapes.window(size, kernel, strides, padding, dilation_rate)
