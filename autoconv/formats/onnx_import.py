"""Imports an ONNX file as an `OnnxModel`, which runs the file's nodes with `onnx_ops.OPS`."""

import os
import re
from collections.abc import Callable
from functools import partial
from math import inf
from time import thread_time
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from ..arguments import names
from ..engine.symbolic import is_shape
from ..engine.tensor import Tensor, no_grad
from ..engine.variable import Variable
from ..kernels import device as devices
from ..kernels import trace
from ..kernels.device import Device
from ..models import Model
from . import onnx_file
from .onnx_builder import FIRST, LAST
from .onnx_file import File, RawNode
from .onnx_ops import OPS, OnnxOp
from .onnx_values import KNOWN, LARGEST, cast, check_size, limit_arrays, to_device

if TYPE_CHECKING:
    from ..engine.costs.profile import Profile

# A class name in the metadata entry "names", after its number: {0: 'cat', 1: "dog's"}, {"0": "cat"} or ["cat"].
_CLASS_NAME = re.compile(r"""[\s,]*(?:["']?(\d{1,6})["']?\s*:\s*)?('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")""", re.DOTALL)

SECONDS = 0.5  # time limit of the dry run, without kernels, that checks a file
ALL_KNOWN = 2 * KNOWN  # maximum elements of all results that do not depend on input data


def from_onnx(source: str | os.PathLike[str] | bytes) -> "OnnxModel":
    """Implements `formats.from_onnx`. Ignores nodes that no output needs."""
    file = onnx_file.read_file(source)
    for node in file.nodes:
        if node.attributes.op not in OPS:
            raise ValueError(f"The op {node.attributes.op!r} of node {node.attributes.name!r} is "
                             f"not supported. Supported ops: {', '.join(sorted(OPS))}.")
    return OnnxModel(file)


class Layouts:
    """A tensor with channels first (as in ONNX) or last. The other layout is computed on demand."""

    def __init__(self, first: Tensor | None, last: Tensor | None = None) -> None:
        self._first = first
        self._last = last

    @property
    def first(self) -> Tensor:
        if self._first is None:
            self._first = self._last.transpose(FIRST)  # type: ignore[union-attr]
        return self._first

    @property
    def last(self) -> Tensor:
        if self._last is None:
            self._last = self.first.transpose(LAST)
        return self._last

    @property
    def is_last(self) -> bool:
        """Whether the tensor is available with channels last."""
        return self._last is not None

    @property
    def shape(self) -> tuple[int, ...]:
        """The tensor's shape in ONNX's layout."""
        if self._first is not None:
            return self._first.shape
        n, h, w, channels = self._last.shape  # type: ignore[union-attr]
        return n, channels, h, w

    @property
    def tensor(self) -> Tensor:
        """The tensor in an available layout: channels first if both layouts are available."""
        return self._last if self._first is None else self._first  # type: ignore[return-value]

    @property
    def nbytes(self) -> int:
        return self.tensor.size * self.tensor.dtype.itemsize


Compute = Callable[[list[Any]], list[Any]]  # computes a node's results from its inputs
Observer = Callable[[int, RawNode, list[Any], Compute], list[Any]]


class GraphRunner:
    """Runs an ONNX file's nodes. constants: known arrays; parameters: whether a weight is trainable, by name."""

    def __init__(self, file: File) -> None:
        self.file = file
        self.releases = _releases(file)
        self.constants: dict[str, np.ndarray] = {}
        self.parameters: dict[str, bool] = {}
        uses: dict[str, list[tuple[OnnxOp, int]]] = {}
        for node in file.nodes:
            for index, name in enumerate(node.inputs):
                uses.setdefault(name, []).append((OPS[node.attributes.op], index))
        for name, array in file.constants.items():
            indices = uses.get(name, [])
            if array.dtype.kind != "f" or array.ndim == 0 or all(index in op.host for op, index in indices):
                self.constants[name] = array
            else:
                self.parameters[name] = not any(index in op.constants for op, index in indices)

    def run(self, inputs: list[Tensor], weights: dict[str, Any], device: Device,
            deadline: float = inf, observe: Observer | None = None) -> list[Tensor]:
        """Returns the outputs, or [] after `deadline`. Raises ValueError if a node cannot run.

        observe: if given, it is called with each node's number, the node, its inputs and a function that computes its
        results from them. It returns the results.
        """
        values: dict[str, Any] = {port.name: Layouts(x) for port, x in zip(self.file.inputs, inputs, strict=True)}
        values.update(self.constants)
        values.update((name, Layouts(weight)) for name, weight in weights.items())
        budget = ALL_KNOWN
        for number, node in enumerate(self.file.nodes):
            attrs = node.attributes
            if thread_time() > deadline:
                return []
            try:
                with limit_arrays(LARGEST):
                    args = [values[name] if name else None for name in node.inputs]
                    compute = partial(self._results, OPS[attrs.op], node, device, budget)
                    results = compute(args) if observe is None else observe(number, node, args, compute)
                if len(results) < len(node.outputs):
                    raise ValueError(f"the number of outputs must be at most {len(results)}. "
                                     f"Received: {len(node.outputs)}.")
            except Exception as error:  # a node's numbers may cause any exception
                cause = str(error)[:1000] or type(error).__name__
                raise ValueError(f"Node {attrs.name!r} ({attrs.op}) cannot run: {cause}") from error
            if attrs.op != "Constant":  # constants are in the file itself
                budget -= sum(each.size for each in results if isinstance(each, np.ndarray))
            values.update((name, result) for name, result in zip(node.outputs, results) if name)
            for name in self.releases.get(number, ()):
                values.pop(name, None)
        return [to_device(values[name], device) if isinstance(values[name], np.ndarray)
                else values[name].first for name in (port.name for port in self.file.outputs)]

    def _results(self, op: OnnxOp, node: RawNode, device: Device, budget: int, inputs: list[Any]) -> list[Any]:
        """Returns a node's results: arrays if all its inputs are known arrays, else `Layouts`."""
        attrs = node.attributes
        if node.inputs and not node.inputs[0]:
            raise ValueError("the first input is missing.")
        if attrs.op in ("Constant", "Shape", "Size"):
            return [op.function(attrs, *inputs)]
        for index in op.host:
            if index < len(inputs) and isinstance(inputs[index], Layouts):
                if all(i is None or isinstance(i, np.ndarray) or p in op.host for p, i in enumerate(inputs)):
                    inputs[index] = inputs[index].first.detach().numpy()
                    continue
                raise ValueError(f"input {index} (counted from 0) must be a constant. Received: "
                                 f"{node.inputs[index]!r}, which depends on the model's inputs or "
                                 "is a trained weight.")
        if not any(isinstance(each, Layouts) for each in inputs) and not (op.images or op.long):
            with limit_arrays(min(KNOWN, budget)):
                return _compute_constants(op, node, inputs)
        results = (_images if op.images else _tensors)(op, node, inputs, device)
        for value in results:
            check_size(value.shape)
        return results


def _compute_constants(op: OnnxOp, node: RawNode, inputs: list[Any]) -> list[np.ndarray]:
    """Computes a node's constant results, unrecorded because they are the same in every replay."""
    with trace.suspend_recording(), no_grad():
        args = [each if each is None or index in op.host else to_device(each, devices.get("cpu"))
                for index, each in enumerate(inputs)]
        result = op.function(node.attributes, *args)
    results = result if isinstance(result, list) else [result]
    return [np.asarray(each.numpy() if isinstance(each, Tensor) else each) for each in results]


def _prepare_inputs(op: OnnxOp, device: Device, inputs: list[Any], last: bool = False) -> list[Any]:
    return [each if each is None or index in op.host else to_device(each, device) if isinstance(each, np.ndarray)
            else each.last if last else each.first for index, each in enumerate(inputs)]


def _tensors(op: OnnxOp, node: RawNode, inputs: list[Any], device: Device) -> list[Layouts]:
    """Runs an op in ONNX's layout. An elementwise op also runs on images with channels last."""
    values = [each for each in inputs if isinstance(each, Layouts)]
    last = op.alike and all(value.is_last and len(value.shape) == 4 for value in values) and all(
        each is None or isinstance(each, Layouts) or each.ndim == 0 for each in inputs)
    result = op.function(node.attributes, *_prepare_inputs(op, device, inputs, last))
    results = result if isinstance(result, list) else [result]
    return [Layouts(None, y) if last else Layouts(y if isinstance(y, Tensor)
                                                  else to_device(y, device)) for y in results]


def _images(op: OnnxOp, node: RawNode, inputs: list[Any], device: Device) -> list[Layouts]:
    """Runs an image op on its inputs with channels last."""
    x, *operands = inputs
    x = x if isinstance(x, Layouts) else Layouts(to_device(x, device))
    rank = len(x.shape)
    rest = _prepare_inputs(op, device, [None, *operands])[1:]
    if rank == 4:
        return [Layouts(None, op.function(node.attributes, x.last, *rest))]
    if rank == 2 and node.attributes.op == "BatchNormalization":
        return [Layouts(op.function(node.attributes, x.first, *rest))]
    if rank != 3:
        raise ValueError(f"Images must have the axes (N, C, H, W) or (N, C, W). Received shape: {x.shape}.")
    y = op.function(node.attributes, Layouts(x.first.reshape(*x.shape[:2], 1, x.shape[2])).last, *rest)
    n, _, width, channels = y.shape
    return [Layouts(y.reshape(n, width, channels).transpose(0, 2, 1))]


class OnnxModel(Model):
    """A model that `formats.from_onnx` returns. Its weights are the float tensors of the ONNX file,
    with "." for "/" in their names.

    Even in training, normalization uses the moving averages and dropout has no effect. `save_weights` saves the model's
    weights; its architecture is stored only in the ONNX file. `metadata` is the text that the exporter added to the
    file, by key; its entry `names` becomes `class_names`.
    """

    recordable = True

    def __init__(self, file: File) -> None:
        name = "".join(c if c.isalnum() or c == "_" else "_" for c in file.name)
        super().__init__(name=names.snake_case(name)[:60] or None, dtype=_dtype(file))
        self._runner = GraphRunner(file)
        self._ports = file.inputs
        self.metadata = file.metadata
        self.class_names = _class_names(file.metadata.get("names", "").strip())
        self.parameters: dict[str, Variable] = {}
        for key, trainable in self._runner.parameters.items():
            array = file.constants.pop(key)
            self.parameters[key] = self.add_weight(array.shape, lambda shape, dtype,
                                                   array=array: array, name=key.replace("/", "."),
                                                   trainable=trainable, dtype=array.dtype.name)
        self.built = True
        shapes = [port.shape for port in file.inputs]
        if shapes and None not in shapes:
            self._build_shape = _several([(None, *shape[1:]) for shape in shapes])  # type: ignore[index]
            if all(None not in shape[1:] for shape in shapes):  # type: ignore[index]
                self._check_nodes()

    def _check_nodes(self) -> None:
        """Checks the nodes in a dry run of at most half a second. Raises ValueError if a node cannot run."""
        shapes = [port.shape for port in self._ports]
        for shape in shapes:
            check_size([1 if n is None else n for n in shape])  # type: ignore[union-attr]
        with no_grad(), trace.DryRun().record():
            inputs = [Tensor(np.zeros([1 if n is None else n for n in shape], port.dtype))  # type: ignore[union-attr]
                      for shape, port in zip(shapes, self._ports)]
            self._run(inputs, thread_time() + SECONDS)

    @property
    def input_names(self) -> list[str]:
        """The names of the model's inputs in the ONNX file."""
        return [port.name for port in self._ports]

    @property
    def output_names(self) -> list[str]:
        """The names of the model's outputs in the ONNX file."""
        return [port.name for port in self._runner.file.outputs]

    @property
    def batch_size(self) -> int | None:
        """The batch size that the ONNX file specifies for the first input; None for any batch size."""
        return (self._ports[0].shape or (None,))[0]

    @property
    def channels_first(self) -> bool:
        """Whether the first input's axes are (N, C, H, W), not (N, H, W, C): the axis of the channels is the shorter
        one. An unknown size counts as long.
        """
        shape = self._ports[0].shape or ()
        return len(shape) == 4 and (shape[1] or inf) <= (shape[3] or inf)

    def takes_bytes(self) -> bool:
        """Whether the model expects pixels 0..255: its input is uint8, or its first nodes divide the input by more than
        10, as Keras's `Rescaling(1 / 255)` does.
        """
        name, dtype, _ = self._ports[0]
        known: dict[str, Any] = {**self._runner.constants, **self.parameters}
        scale = 1.0
        for node in self._runner.file.nodes:
            attrs = node.attributes
            if attrs.op == "Constant":
                known[node.outputs[0]] = attrs.get("value", attrs.get("value_float", 1.0))
            elif name in node.inputs:
                if attrs.op in ("Mul", "Div") and (factors := [known[x] for x in node.inputs if x in known]):
                    factor = float(np.abs(np.asarray(factors[0])).max(initial=0)) or 1.0
                    scale = scale * factor if attrs.op == "Mul" else scale / factor
                elif attrs.op not in ("Add", "Sub", "Cast", "Identity", "Transpose"):
                    break
                name = node.outputs[0]
        return dtype == "uint8" or scale < 1 / 10

    def returns_logits(self) -> bool:
        """Whether the first output is not the result of a softmax or sigmoid, possibly reshaped."""
        nodes = {name: node for node in self._runner.file.nodes for name in node.outputs}
        node = nodes.get(self.output_names[0])
        while node is not None and node.attributes.op in ("Cast", "Flatten", "Identity", "Reshape", "Squeeze"):
            node = nodes.get(node.inputs[0])
        return node is None or node.attributes.op not in ("Softmax", "Sigmoid")

    def profile(self, batch_size: int = 1, input_shape: Any = None, measure: bool = True) -> "Profile":
        """Returns the costs of each node that computes a tensor, see `Model.profile`. Shapes are in ONNX's layout."""
        from .onnx_profile import profile

        return profile(self, self._check_shapes(batch_size, input_shape), measure)

    def get_config(self) -> NoReturn:
        raise ValueError(f"The architecture of {self.name!r} is stored only in its ONNX file. Save the weights with "
                         "save_weights. To restore the model, call from_onnx, then load_weights.")

    def call(self, x: Any, training: bool | None = None) -> Any:
        inputs = [x[name] for name in self.input_names] if isinstance(x, dict) else (
            list(x) if isinstance(x, (list, tuple)) else [x])
        return _several(self._run([cast(t, port.dtype) for t, port in zip(inputs, self._ports)]))

    def _run(self, inputs: list[Tensor], deadline: float = inf) -> list[Tensor]:
        return self._runner.run(inputs, self.parameters, self.device, deadline)

    def check_input(self, shape: Any) -> None:
        """Raises ValueError if inputs of this shape, or these shapes, do not match the file."""
        if isinstance(shape, dict):
            shape = [shape.get(name) for name in self.input_names]
        shapes: list[Any] = [shape] if is_shape(shape) else list(shape)
        if len(shapes) != len(self._ports):
            raise ValueError(f"The number of inputs of model {self.name!r} must be {len(self._ports)} "
                             f"({', '.join(self.input_names)}). Received: {len(shapes)}.")
        for port, actual in zip(self._ports, shapes):
            if port.shape is None:
                continue
            if actual is None or len(actual) != len(port.shape) or any(
                    n is not None and size not in (None, n) for n, size in zip(port.shape[1:], actual[1:])):
                raise ValueError(f"Input {port.name!r} of model {self.name!r} must have the shape {port.shape} that "
                                 f"the ONNX file specifies. Received shape: {actual}.")


def _class_names(text: str) -> tuple[str, ...] | None:
    """Returns the class names in a list or dict that is written as in Python or JSON, or None if `text` is neither."""
    names: list[str] = []
    place = 1
    while match := _CLASS_NAME.match(text, place):
        place = match.end()
        if match[1] and int(match[1]) != len(names):
            return None
        names.append(re.sub(r"\\(?:u([0-9a-fA-F]{4})|(.))", lambda m: chr(int(m[1], 16)) if m[1] else m[2],
                            match[2][1:-1], flags=re.DOTALL))
    return tuple(names) if names and text[place:].strip(" ,") in ("]", "}") else None


def _several(values: list[Any]) -> Any:
    return values if len(values) > 1 else values[0]


def _dtype(file: File) -> str:
    """Returns "float64" if a weight or an input is float64 and none is float32, else "float32"."""
    kinds = {array.dtype.name for array in file.constants.values() if array.ndim} | {p.dtype for p in file.inputs}
    return "float64" if "float64" in kinds and "float32" not in kinds else "float32"


def _releases(file: File) -> dict[int, list[str]]:
    """Returns the names of the results to release after each node, by the node's number."""
    last: dict[str, int] = {}
    for number, node in enumerate(file.nodes):
        last.update((name, number) for name in (*node.inputs, *node.outputs) if name)
    outputs = {port.name for port in file.outputs}
    releases: dict[int, list[str]] = {}
    for name, number in last.items():
        if name not in outputs:
            releases.setdefault(number, []).append(name)
    return releases
