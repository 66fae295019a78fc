"""What a layer's definition asks for: multiply-adds, and which layers give a view of what they got."""

from math import prod
from typing import Any

from ... import layers
from ..graph.graph import Graph
from ..symbolic import Node, SymbolicTensor

Shapes = list[tuple[int, ...]]
IN_TRAINING = (  # layers that outside of training give what they got
    layers.ActivityRegularization, layers.AlphaDropout, layers.Dropout, layers.GaussianDropout,
    layers.GaussianNoise, layers.Identity, layers.RandomBrightness, layers.RandomContrast, layers.RandomFlip,
    layers.RandomRotation, layers.RandomTranslation, layers.RandomZoom, layers.SpatialDropout2D)


def multiply_adds(operation: Any, inputs: Shapes, outputs: Shapes) -> int:
    """The products that are added up in one call of a layer on arrays of these shapes; 0 where they do not matter."""
    if isinstance(operation, layers.Conv2D):
        return prod(outputs[0]) * prod(operation.kernel.shape[:3])
    if isinstance(operation, layers.DepthwiseConv2D):
        return prod(outputs[0]) * prod(operation.kernel.shape[:2])
    if isinstance(operation, layers.Conv2DTranspose):  # every pixel of the input meets every number of the kernel
        return prod(inputs[0][:3]) * operation.kernel.size
    if isinstance(operation, layers.Dense):
        return prod(outputs[0]) * operation.kernel.shape[0]
    inner = getattr(operation, "_graph", None)
    return _within(inner, inputs) if inner is not None else 0


def _within(graph: Graph, inputs: Shapes) -> int:
    """Of a model that is called as a layer."""
    known = shapes_in(graph, inputs)
    return sum(multiply_adds(node.operation, *shapes_of(graph, node, known)) for node in graph.nodes if node.inputs)


def shapes_in(graph: Graph, inputs: Shapes) -> dict[int, tuple[int, ...]]:
    """Returns the shapes of a graph's tensors by id, for inputs of these shapes.

    Raises ValueError if the inputs do not fit or a size stays unknown.
    """
    tensors = tensors_of(graph)
    shapes: list[Any] = [(inputs[0][0], *tensor.shape[1:]) for tensor in tensors]
    if shapes[: len(inputs)] != [tuple(shape) for shape in inputs]:  # sizes that were open, or do not fit
        known = Graph(graph.input_structure, tensors).output_shapes([tuple(shape) for shape in inputs])
        shapes = [tuple(shape) for shape in known]
    return {id(tensor): shape for tensor, shape in zip(tensors, shapes)}


def tensors_of(graph: Graph) -> list[SymbolicTensor]:
    """All values in a graph: its inputs and what its calls give."""
    return list({id(t): t for t in (*graph.inputs, *(t for node in graph.nodes for t in node.outputs))}.values())


def shapes_of(graph: Graph, node: Node, shapes: dict[int, tuple[int, ...]]) -> tuple[Shapes, Shapes]:
    """The shapes of what a call reads and of what it gives."""
    return [shapes[id(graph.resolve(t))] for t in node.inputs], [shapes[id(t)] for t in node.outputs]


def is_view(node: Node, training: bool) -> bool:
    """Whether a call gives the array that it got, in another shape at most, and so takes no memory of its own."""
    operation = node.operation
    if isinstance(operation, IN_TRAINING):
        return not training
    if isinstance(operation, layers.Activation):
        return getattr(operation.activation, "__name__", "") == "linear"
    is_view = isinstance(operation, layers.Flatten | layers.InputLayer)
    return is_view or getattr(operation, "short", "") in ("reshape", "flatten")
