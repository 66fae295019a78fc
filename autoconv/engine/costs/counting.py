"""Counts a layer's multiply-adds from its definition, and finds layers that return a view of their input."""

from math import prod
from typing import Any

from ... import layers
from ..graph.graph import Graph
from ..symbolic import Node, SymbolicTensor

Shapes = list[tuple[int, ...]]
TRAINING_LAYERS = (  # layers that return their input unchanged outside training
    layers.ActivityRegularization, layers.AlphaDropout, layers.Dropout, layers.GaussianDropout,
    layers.GaussianNoise, layers.Identity, layers.RandomBrightness, layers.RandomContrast, layers.RandomFlip,
    layers.RandomRotation, layers.RandomTranslation, layers.RandomZoom, layers.SpatialDropout2D)


def multiply_adds(operation: Any, inputs: Shapes, outputs: Shapes) -> int:
    """Counts the multiply-adds in one call of a layer on arrays of these shapes. A layer without products has none."""
    if isinstance(operation, layers.Conv2D):
        return prod(outputs[0]) * prod(operation.kernel.shape[:3])
    if isinstance(operation, layers.DepthwiseConv2D):
        return prod(outputs[0]) * prod(operation.kernel.shape[:2])
    if isinstance(operation, layers.Conv2DTranspose):  # every input pixel is multiplied by every kernel element
        return prod(inputs[0][:3]) * operation.kernel.size
    if isinstance(operation, layers.Dense):
        return prod(outputs[0]) * operation.kernel.shape[0]
    inner = getattr(operation, "_graph", None)
    if inner is None:
        return 0
    shapes = infer_shapes(inner, inputs)
    return sum(multiply_adds(node.operation, *call_shapes(inner, node, shapes)) for node in inner.nodes if node.inputs)


def infer_shapes(graph: Graph, inputs: Shapes) -> dict[int, tuple[int, ...]]:
    """Returns the shapes of a graph's tensors, keyed by the tensors' ids, for inputs of these shapes.

    Raises ValueError if the inputs do not fit the graph or a size stays unknown.
    """
    tensors = list_tensors(graph)
    shapes: list[Any] = [(inputs[0][0], *tensor.shape[1:]) for tensor in tensors]
    if shapes[: len(inputs)] != [tuple(shape) for shape in inputs]:  # some sizes were unknown, or the inputs do not fit
        output_shapes = Graph(graph.input_structure, tensors).output_shapes([tuple(shape) for shape in inputs])
        shapes = [tuple(shape) for shape in output_shapes]
    return {id(tensor): shape for tensor, shape in zip(tensors, shapes)}


def list_tensors(graph: Graph) -> list[SymbolicTensor]:
    """Returns all tensors of a graph, each once: its inputs and the results of its calls."""
    return list({id(t): t for t in (*graph.inputs, *(t for node in graph.nodes for t in node.outputs))}.values())


def call_shapes(graph: Graph, node: Node, shapes: dict[int, tuple[int, ...]]) -> tuple[Shapes, Shapes]:
    """Returns the shapes of a call's input tensors and the shapes of its output tensors."""
    return [shapes[id(graph.resolve(t))] for t in node.inputs], [shapes[id(t)] for t in node.outputs]


def is_view(node: Node, training: bool) -> bool:
    """Whether a call returns its input array, possibly reshaped, and so needs no memory for its output."""
    operation = node.operation
    if isinstance(operation, TRAINING_LAYERS):
        return not training
    if isinstance(operation, layers.Activation):
        return getattr(operation.activation, "__name__", "") == "linear"
    is_view = isinstance(operation, layers.Flatten | layers.InputLayer)
    return is_view or getattr(operation, "short", "") in ("reshape", "flatten")
