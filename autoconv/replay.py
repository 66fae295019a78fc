"""A forward pass as the list of kernel calls it comes down to.

Shapes, layers, dispatch and buffers are the same whenever inputs of one shape pass through a model that nobody changed.
So they are settled once; what is left for the next inputs are the calls of the kernels, on arrays that stay.
"""

from typing import Any

import numpy as np

from . import device as devices
from .layers import Layer
from .tensor import Tensor, no_grad, watching

SHAPES = 2  # of inputs are kept: whole batches and what is left at the end


class Replays:
    """A model's forward passes by the shape of their input, without gradients. A copy starts empty."""

    def __init__(self) -> None:
        self._kept: dict[tuple[int, ...], _Replay] = {}

    def __reduce__(self) -> tuple:
        return Replays, ()

    def __call__(self, model: Any, x: np.ndarray) -> np.ndarray:
        """The outputs of `model` for x, in an array of their own."""
        kept = self._kept.get(x.shape)
        if kept is None or not kept.fits():
            self._kept.pop(x.shape, None)
            while len(self._kept) >= SHAPES:
                self._kept.pop(next(iter(self._kept)))
            kept = self._kept[x.shape] = _Replay(model, x.shape)
            return kept.first(model, x)
        return kept.again(x) if kept.whole else kept.first(model, x)


class _Replay:
    """The passes of inputs of one shape. `whole` is False where kernels are not all there is to it: with a layer or an
    activation function of yours, which may do anything, with ops that do more than to call kernels, and where dtypes
    change on the way.
    """

    def __init__(self, model: Any, shape: tuple[int, ...]) -> None:
        self._layers, self.whole = list(model._walk()), False
        self._device, self._pool = model.device, devices.Pool()
        self._input = self._device.empty(shape, np.dtype(model.dtype))
        self._parts: list[Any] = []

    def fits(self) -> bool:
        """Whether the layers still have the weights' arrays, the activation functions and the plans that they had."""
        parts = self._found()
        return len(parts) == len(self._parts) and all(a is b for a, b in zip(parts, self._parts))

    def first(self, model: Any, x: np.ndarray) -> np.ndarray:
        """A pass through the layers, which notes what runs."""
        self._input[...] = x
        with devices.reusing(self._pool), no_grad(), watching() as ops, self._device.recording() as calls:
            self._output = model(Tensor(self._input, device=self._device), training=False).data
        self._calls, self._parts = calls, self._found()
        plain = all(_is_ours(layer) and layer.dtype == model.dtype for layer in self._layers)
        self.whole = plain and all(op.repeatable for op in ops) and bool(calls)
        return self._device.numpy(self._output).copy()

    def again(self, x: np.ndarray) -> np.ndarray:
        self._input[...] = x
        for kernel, arguments in self._calls:
            kernel(*arguments)
        return self._device.numpy(self._output).copy()

    def _found(self) -> list[Any]:
        parts = [vars(layer).get(name) for layer in self._layers for name in ("activation", "_steps")]
        parts += [weight.data for layer in self._layers for weight in layer._weights]
        return parts


def _is_ours(layer: Layer) -> bool:
    """Whether the layer, and its activation function, come with autoconv."""
    activation = getattr(layer, "activation", None)
    return all(of.__module__.startswith("autoconv.") for of in (type(layer), activation) if of is not None)
