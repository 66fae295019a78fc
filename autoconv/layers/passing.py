"""Layers that return their input unchanged, or your own function of the input."""

from collections.abc import Callable, Mapping
from inspect import Parameter, signature
from typing import Any

from .. import activations, functional, regularizers
from ..arguments.serialization import Registry
from ..engine.symbolic import flat_shapes, map_shapes
from . import checks
from .layer import Layer


class Identity(Layer):
    """Returns its input unchanged. Use this layer to name a tensor in a model."""

    kept_kinds = "biu"
    symbolic_integers = True
    keeps_shape = True
    built_at_once = True
    supports_masking = True
    recordable = True

    def call(self, inputs: Any) -> Any:
        return inputs


class ActivityRegularization(Layer):
    """Returns its input, and adds l1 sum(|x|) + l2 sum(x^2), averaged over the batch, to the loss."""

    kept_kinds = "biu"
    keeps_shape = True
    built_at_once = True
    supports_masking = True
    recordable = True

    def __init__(self, l1: float = 0.0, l2: float = 0.0, **kwargs: Any) -> None:
        super().__init__(activity_regularizer=regularizers.L1L2(l1, l2), **kwargs)
        self.l1, self.l2 = l1, l2

    @classmethod
    def config_parameters(cls) -> dict[str, Parameter]:
        """Returns the constructor's parameters by name, without the regularizer that l1 and l2 define."""
        return {name: p for name, p in super().config_parameters().items() if name != "activity_regularizer"}

    def call(self, inputs: Any) -> Any:
        return inputs


_functions = Registry("function", "keras.ops", names={
    **{name: getattr(functional, name) for name in functional.__all__}, **activations.ACTIVATIONS})


class Lambda(Layer):
    """Computes `function(inputs, **arguments)` for a function composed of `ops`. The function receives `training` if
    it has a parameter of this name. Steps with a Lambda are not recorded, so each step runs the layers' Python code.

    output_shape: the result's shape without the batch, a structure of shapes for several outputs, or a function of the
    input's shape; by default a run on zeros finds it. A Lambda can be saved if its function is registered. Your own
    layer with a `call` is saved and replayed like any other layer.
    """

    mask = checks.KerasDefault(None)

    def __init__(self, function: Callable | str, output_shape: Any = None, mask: None = None,
                 arguments: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mask = mask
        if isinstance(function, str):  # a registered name from a file
            function = _functions.find(function)
        if not callable(function):
            raise TypeError(f"function must be a callable that accepts the layer's inputs. Received: {function!r}.")
        self.function, self._wanted_shape, self.arguments = function, output_shape, dict(arguments or {})
        self._takes_training = "training" in signature(function).parameters

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        extra = {**self.arguments, "training": training} if self._takes_training else self.arguments
        return self.function(inputs, **extra)

    def compute_output_shape(self, input_shape: Any) -> Any:
        if callable(self._wanted_shape):
            return self._wanted_shape(input_shape)
        if self._wanted_shape is not None:
            batch = flat_shapes(input_shape)[0][0]
            return map_shapes(lambda shape: (batch, *shape), self._wanted_shape)
        return super().compute_output_shape(input_shape)
