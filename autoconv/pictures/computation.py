"""Records how a net computes its answer for one image: each op with its inputs and its result."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from ..engine.symbolic import SymbolicTensor, flatten
from ..engine.tape import TapeNode
from ..engine.tensor import Tensor, no_grad
from ..layers.function import get_kind
from ..models import Model
from ..operators.registry import Op
from .inside import batch_of_one
from .reading import ImageLike

if TYPE_CHECKING:
    from ..formats.onnx_file import RawNode
    from ..formats.onnx_import import Compute, OnnxModel

_numbers = itertools.count()
_MARK = Op(lambda k, x: (x, None), "arith")  # a tape node that passes a layer's output and its gradient on
CONSTANT = "constant"
Place = tuple[int, ...]  # an index into a result's array, with the batch's index 0


@dataclass(eq=False, repr=False)
class Result:
    """An array that a net computed for one image, and how: the op, the results that it read and its parameters.

    layer, kind: the name and class of the layer that computed it; is_output: whether the layer returned it. number: a
    result has a higher number than its inputs. gradient: the change of the answer per change of each element.
    """

    array: np.ndarray
    op: str
    inputs: tuple["Result | None", ...] = ()
    parameters: dict[str, Any] = field(default_factory=dict)
    layer: str = ""
    kind: str = ""
    is_output: bool = True
    number: int = field(default_factory=lambda: next(_numbers))
    gradient: np.ndarray | None = None
    sources: "list[Result]" = field(init=False)
    is_constant: bool = field(init=False)

    def __post_init__(self) -> None:
        """Sets `sources`, the inputs that depend on the image, and `is_constant`, whether the result does not."""
        self.sources = [each for each in self.inputs if each is not None and not each.is_constant]
        self.is_constant = self.op == CONSTANT or (bool(self.inputs) and not self.sources)

    def __repr__(self) -> str:
        return f"<Result {self.title} {self.array.shape}>"

    @property
    def title(self) -> str:
        """The layer's name; for a result within a layer, followed by the op, such as dense/dense."""
        return self.layer if self.is_output else f"{self.layer}/{self.op}"

    @cached_property
    def copied_indices(self) -> np.ndarray:
        """For a result of `reshape`, `transpose`, `getitem` or `pad`, the index of each element in the flat input, or
        -1 for padding.
        """
        x = self.sources[0].array
        indices = np.arange(x.size).reshape(x.shape)
        if self.op == "reshape":
            return indices.reshape(self.array.shape)
        if self.op == "transpose":
            return indices.transpose(self.parameters["axes"])
        if self.op == "pad":
            return np.pad(indices, self.parameters["widths"], constant_values=-1)
        return np.asarray(indices[self.parameters["index"]])


class Element(NamedTuple):
    """One element of a result, and the weight that multiplies it."""

    result: Result
    place: Place
    weight: float = 1.0

    @property
    def value(self) -> float:
        return float(self.result.array[self.place])

    @property
    def product(self) -> float:
        return self.value * self.weight + 0.0  # not -0.0

    @property
    def label(self) -> str:
        """The number's name, which is a value of --at for an output of a layer, such as conv2d_1:5,7,3."""
        return f"{self.result.title}:{','.join(map(str, self.place[1:]))}"

    @property
    def key(self) -> tuple[int, Place]:
        return self.result.number, self.place


class Computation:
    """The results of all layers of a net for one image, in order and by name, and the answer.

    Nested models and the nodes of ONNX models are layers, too. The answer is the largest number of the last layer; its
    score is the number itself, or, for a softmax or sigmoid, the number before it.
    """

    def __init__(self, model: Model, image: ImageLike) -> None:
        self.layers: dict[str, Result] = {}
        self._found: dict[int, Result] = {}  # results by the ids of their tensors
        self._tensors: list[Tensor] = []  # keeps the ids valid
        self._calls: dict[str, tuple[Model, list[Tensor], SymbolicTensor]] = {}
        device = model.device
        x = Tensor(device.asarray(batch_of_one(model, image), model.dtype), requires_grad=True, device=device)
        self.picture = Result(x.numpy(), "picture", layer="picture", kind="the net's input")
        self._keep(x, self.picture)
        y = self._run(model, [x])[0]
        last = self._found[id(y)]
        place = tuple(map(int, np.unravel_index(int(last.array.argmax()), y.shape)))
        self.answer = Element(last, place)
        self.has_probabilities = y.logits is not None
        (y if y.logits is None else y.logits)[place].backward(inputs=x)
        if x.grad is not None:
            self.picture.gradient = device.numpy(x.grad).copy()

    def predict(self, result: Result) -> np.ndarray | None:
        """Returns a layer's output as computed for a prediction, with fused layers, or None for the nodes of an ONNX
        model, which are never fused.
        """
        if not result.is_output or result.layer not in self._calls:
            return None
        model, inputs, output = self._calls[result.layer]
        with no_grad():
            values = [Tensor(x.data, device=x.device) for x in inputs]
            return Model(model.inputs, output)(values, training=False).numpy()

    def _run(self, model: Model, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Calls a model's layers one by one. Returns the outputs."""
        graph = model.graph
        values = {id(tensor): value for tensor, value in zip(graph.inputs, inputs)}
        for node in graph.nodes:
            if not node.inputs:
                continue
            arguments, options = node.arguments(lambda tensor: values[id(graph.resolve(tensor))])
            layer = node.operation
            read = [each for each in flatten((arguments, options)) if isinstance(each, Tensor)]
            if isinstance(layer, Model) and layer._graph is not None and not layer._has_own_call():
                outputs = self._run(layer, read)
            elif isinstance(layer, Model) and hasattr(layer, "_runner"):
                outputs = self._run_onnx(cast("OnnxModel", layer), read)
            else:
                if hasattr(layer, "get_weights"):
                    options = {"training": False, **options}
                results = flatten(layer(*arguments, **options))
                outputs = [self._add(layer.name, get_kind(layer), y, read) for y in results]
                self._calls[self._found[id(outputs[0])].layer] = model, list(inputs), node.outputs[0]
            values.update((id(tensor), y) for tensor, y in zip(node.outputs, outputs))
        return [values[id(graph.resolve(tensor))] for tensor in graph.outputs]

    def _run_onnx(self, model: "OnnxModel", inputs: Sequence[Tensor]) -> list[Tensor]:
        """Runs an `OnnxModel` node by node. Images are kept with channels last if the node computed them so."""
        from ..formats.onnx_import import Layouts  # imported here because it is slow
        from ..formats.onnx_values import cast as cast_tensor

        def observe(number: int, node: "RawNode", arguments: list, compute: "Compute") -> list:
            results = compute(arguments)
            read = [each.tensor for each in arguments if isinstance(each, Layouts)]
            for i, y in enumerate(results):
                if isinstance(y, Layouts) and any(id(x) in self._found or x._node is not None for x in read):
                    tensor = self._add(node.attributes.name, node.attributes.op, y.tensor, read)
                    results[i] = Layouts(None, tensor) if y.is_last and y.tensor is y.last else Layouts(tensor)
            return results

        cast_inputs = [cast_tensor(x, port.dtype) for x, port in zip(inputs, model._ports)]
        return model._runner.run(cast_inputs, model.parameters, model.device, observe=observe)

    def _add(self, name: str, kind: str, raw: Tensor, read: Sequence[Tensor]) -> Tensor:
        """Adds a layer's output. Returns a tensor with the same values, which stores its gradient in the result."""
        while name in self.layers:
            stem, _, count = name.partition("#")
            name = f"{stem}#{int(count or 1) + 1}"
        if id(raw) in self._found:  # such as the input of a dropout, which the layer returns
            result = Result(raw.numpy(), "identity", (self._found[id(raw)],), layer=name, kind=kind)
        elif raw._node is None:  # not computed by ops
            inputs = tuple(self._found[id(x)] for x in read if id(x) in self._found)
            result = Result(raw.numpy(), "unknown", inputs, layer=name, kind=kind)
        else:
            result = self._trace(raw, name, kind)
            result.is_output = True
        self.layers[name] = result
        marked = Tensor(raw.data, raw.requires_grad, raw.device)
        marked.logits = raw.logits

        def backward(dy: np.ndarray, needs: tuple) -> tuple[np.ndarray]:
            result.gradient = raw.device.numpy(dy).copy()
            return (dy,)

        if raw.requires_grad:
            marked._node = TapeNode(_MARK, (raw,), backward, {})
        return self._keep(marked, result)

    def _trace(self, tensor: Tensor, layer: str, kind: str) -> Result:
        """Returns the result of a tensor that a layer computed, with the results before it up to the layer's inputs."""
        if id(tensor) in self._found:
            return self._found[id(tensor)]
        node = tensor._node
        if node is None:
            result = Result(tensor.numpy(), CONSTANT)
        else:
            inputs = tuple(None if t is None else self._trace(t, layer, kind) for t in node.inputs)
            parameters = {name: tensor.device.numpy(value) if hasattr(value, "dtype") else value
                          for name, value in node.parameters.items()}
            result = Result(tensor.numpy(), node.op.name, inputs, parameters, layer, kind, False)
        self._keep(tensor, result)
        return result

    def _keep(self, tensor: Tensor, result: Result) -> Tensor:
        self._found[id(tensor)] = result
        self._tensors.append(tensor)
        return tensor
