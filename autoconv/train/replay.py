"""A pass through a model as the list of kernel calls it comes down to.

Shapes, layers, dispatch and buffers are the same whenever inputs of one shape pass through a model that nobody changed.
So they are settled once; what is left for the next inputs are the calls of the kernels, on arrays that stay.
"""

from collections.abc import Sequence
from operator import is_
from typing import Any

import numpy as np

from ..backend import device as devices
from ..backend.precision import get_precision
from ..backend.recording import Recording
from ..optimizers.flat import FlatParameters
from ..tensor import Tensor, no_grad, watching

KEPT = 4  # passes: whole batches and what is left at the end, in training and in validation


class Replays:
    """A model's passes by the shape of their input. A copy starts empty."""

    def __init__(self) -> None:
        self._kept: dict[tuple, Pass] = {}

    def __reduce__(self) -> tuple:
        return Replays, ()

    def of(self, model: Any, shape: tuple[int, ...], training: bool) -> "Pass":
        """The pass for inputs of this shape: the one that is kept, if the model is still what it was."""
        key = (training, *shape)
        kept = self._kept.get(key)
        if kept is None or not kept.fits():
            self._kept.pop(key, None)
            while len(self._kept) >= KEPT:
                self._kept.pop(next(iter(self._kept)))
            kept = self._kept[key] = Pass(model, shape, training)
        return kept


class Pass:
    """Forward, and in training backward, for inputs of one shape.

    The first pass goes through the layers and notes the kernels that run. Later ones run those alone, unless there is
    more to it: a layer or an activation function of yours, which may do anything; an op that does more than to call
    kernels, such as dropout; a change of dtype on the way.
    """

    def __init__(self, model: Any, shape: tuple[int, ...], training: bool) -> None:
        self._model, self._training = model, training
        self._device, self._pool = model.device, devices.Pool()
        self._input = self._device.empty(shape, np.dtype(model.dtype))
        self._whole: bool | None = None  # not known yet
        self._model_then = Remembered(model)
        self._forward: Recording | None = None
        self._backward: Recording | None = None
        self._output: Tensor
        self._gradient: Any

    def fits(self) -> bool:
        """Whether the model is still what it was when the kernels were noted."""
        return self._model_then.is_now()

    def forward(self, x: Any) -> Any:
        """The outputs for x, of any dtype; like all that a pass hands out, they are never written to again."""
        if self._whole and self._training and self._backward is None:
            self._whole = None  # the first backward pass was interrupted: all is noted again
        if self._whole:
            self._input[...] = x
            self._forward.again()  # type: ignore[union-attr]
        elif self._whole is None:
            self._input[...] = x
            with devices.reusing(self._pool), watching() as ops, self._device.recording() as self._forward:
                self._output = self._through_the_layers(self._input)
            self._whole = self._is_whole(ops)
            self._model_then = Remembered(self._model)  # the first pass may have built something
        else:
            with devices.reusing(self._pool):
                self._output = self._through_the_layers(self._device.asarray(x, self._input.dtype))
        return self._output.data.copy() if self._whole else self._output.data

    def backward(self, dy: Any, flat: FlatParameters) -> Sequence[Any]:
        """The gradients of flat's parameters, in their order, from dy, that of the last forward pass's outputs."""
        if self._whole and self._backward is not None:
            self._gradient[...] = dy
            self._backward.again()
            return flat.gradients
        flat.lend()
        try:
            with devices.reusing(self._pool):
                if not self._whole:
                    self._output.backward(dy)
                    return [p.grad for p in flat.parameters]
                self._gradient = self._device.empty(dy.shape, dy.dtype)
                self._gradient[...] = dy
                with self._device.recording() as backward:
                    self._output.backward(self._gradient)
                self._backward = backward  # all of it: nothing interrupted it
            gradients = [p.grad for p in flat.parameters]
            self._whole = backward.whole and all(a is b for a, b in zip(gradients, flat.gradients))
            return gradients
        finally:
            flat.take_back()

    def _through_the_layers(self, array: Any) -> Tensor:
        x = Tensor(array, device=self._device)
        if self._training:
            return self._model(x, training=True)
        with no_grad():
            return self._model(x, training=False)

    def _is_whole(self, ops: Sequence[Any]) -> bool:
        noted = bool(self._forward) and self._forward.whole  # type: ignore[union-attr]
        return noted and is_plain(self._model) and all(op.repeatable for op in ops)


_SETTINGS = ("activation", "scale", "offset", "rate", "momentum", "epsilon", "_trainable", "_steps")  # of layers


class Remembered:
    """What noted kernels of a model hang on: its layers' weights, functions, numbers and plans, and the precision."""

    def __init__(self, model: Any) -> None:
        self._model, self._device, layers = model, model.device, list(model._walk())
        self._precision = get_precision()
        self._attributes = [(vars(layer), name, vars(layer)[name]) for layer in layers
                            for name in _SETTINGS if name in vars(layer)]
        self._lists = [(layer._weights, tuple(layer._weights)) for layer in layers if layer._weights]
        self._weights = [(w, w.data, w.requires_grad) for _, held in self._lists for w in held]

    def is_now(self) -> bool:
        """Whether all of it is still the same."""
        if self._device is not self._model.device or self._precision != get_precision():
            return False
        return all(of.get(name) is value for of, name, value in self._attributes) and all(
            w.data is data and w.requires_grad is trained for w, data, trained in self._weights
        ) and all(len(held) == len(had) and all(map(is_, held, had)) for held, had in self._lists)


def is_plain(model: Any) -> bool:
    """Whether all layers, and their activation functions, come with autoconv and have the model's dtype."""
    return all(comes_with_autoconv(type(layer)) and comes_with_autoconv(getattr(layer, "activation", None))
               and layer.dtype == model.dtype for layer in model._walk())


def comes_with_autoconv(of: Any) -> bool:
    """Whether a class or a function is autoconv's own, so that it is known what it does; None is."""
    return of is None or str(getattr(of, "__module__", "")).startswith("autoconv.")
