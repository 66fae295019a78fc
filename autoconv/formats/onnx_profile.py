"""Reports the costs of an ONNX model, node by node."""

from contextlib import nullcontext
from copy import copy
from math import prod
from typing import Any

import numpy as np

from ..engine.costs import ceilings, measuring
from ..engine.costs.profile import Profile, Row
from ..engine.tensor import Tensor, no_grad
from ..kernels import trace
from ..kernels.device import Pool, reusing
from .onnx_file import RawNode
from .onnx_import import Compute, Layouts, OnnxModel

VIEWS = ("Dropout", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze")  # ops that return their input's array


class _Observer:
    """Collects a row for each node that computes a tensor and, if `measure` is true, its measured times."""

    def __init__(self, model: OnnxModel, inputs: list[Tensor], measure: bool) -> None:
        self.rows: list[Row] = []
        self.work: list[tuple[float, int]] = []  # operations and bytes of each row
        self.shares: list[ceilings.Share] = []
        self.ceiling = ceilings.Ceilings(model.device) if measure else None
        self._weights = {name: weight.size for name, weight in model.parameters.items()}
        self._releases = model._runner.releases
        self._batch_size = inputs[0].shape[0]
        self._alive = {name: Layouts(x).nbytes for name, x in zip(model.input_names, inputs)}

    def __call__(self, number: int, node: RawNode, args: list[Any], compute: Compute) -> list[Any]:
        before = [copy(each) if isinstance(each, Layouts) else each for each in args]  # without layouts computed later
        results = compute(args)
        outputs = {name: y for name, y in zip(node.outputs, results) if name and isinstance(y, Layouts)}
        view = node.attributes.op in VIEWS or any(
            isinstance(x, Layouts) and y.tensor is x.tensor for x in args[:1] for y in outputs.values())
        self._alive.update((name, 0 if view else y.nbytes) for name, y in outputs.items())
        if outputs:
            self._add_row(node, args, list(outputs.values()), view)
            if self.ceiling is not None:
                self.shares.append(ceilings.share(self.ceiling, lambda: compute([copy(each) if isinstance(
                    each, Layouts) else each for each in before]), *self.work[-1], measuring.ROUNDS))
        for name in self._releases.get(number, ()):
            size = self._alive.pop(name, 0)
            if view and name == node.inputs[0] and outputs:
                self._alive[node.outputs[0]] += size
        return results

    def _add_row(self, node: RawNode, args: list[Any], outputs: list[Layouts], view: bool) -> None:
        shape = outputs[0].shape
        written = 0 if view else sum(y.nbytes for y in outputs)
        adds = _multiply_adds(node, [each.shape for each in args if each is not None], shape)
        read = sum(each.nbytes for each in args if isinstance(each, Layouts))
        self.rows.append(Row(
            node.attributes.name, node.attributes.op, shape[1:], sum(self._weights.pop(x, 0) for x in node.inputs),
            adds // self._batch_size, sum(self._alive.values()), written))
        self.work.append((2.0 * adds, 0 if view else read + written))


def profile(model: OnnxModel, shapes: list[tuple[int, ...]], measure: bool) -> Profile:
    """Runs the model once on random inputs of these shapes, batch first. Without `measure`, no kernel runs."""
    device = model.device
    measure = measure and device.is_synchronous
    random = np.random.default_rng(0)
    inputs = [Tensor(device.asarray(random.random(shape), port.dtype), device=device)
              for shape, port in zip(shapes, model._ports)]
    observer = _Observer(model, inputs, measure)
    with no_grad(), reusing(Pool()), nullcontext() if measure else trace.DryRun().record():
        model._runner.run(inputs, model.parameters, device, observe=observer)
    rows = observer.rows
    if observer.ceiling is not None:
        fractions = measuring.settle(observer.ceiling, observer.work, observer.shares)
        rows = [row._replace(seconds=min(each.seconds), share=fraction or None)
                for row, each, fraction in zip(rows, observer.shares, fractions)]
    weights = list(model.parameters.values())
    return Profile(model.name, shapes[0][0], rows, sum(w.size for w in weights),
                   sum(w.size * w.dtype.itemsize for w in weights), sum(Layouts(x).nbytes for x in inputs))


def _multiply_adds(node: RawNode, inputs: list[tuple[int, ...]], output: tuple[int, ...]) -> int:
    """Counts a node's multiply-adds from the shapes of its inputs and of its output, in ONNX's layout."""
    op = node.attributes.op
    if op == "Conv":
        return prod(output) * prod(inputs[1][1:])
    if op == "ConvTranspose":  # every input pixel is multiplied by every kernel element
        return prod(inputs[0]) // inputs[0][1] * prod(inputs[1])
    if op == "Gemm":
        return prod(output) * inputs[0][0 if node.attributes.get("transA", 0) else 1]
    return prod(output) * inputs[0][-1] if op == "MatMul" else 0
