"""The input layer of a model."""

import warnings
from collections.abc import Mapping
from typing import Any

from ..engine.symbolic import Node, Shape, SymbolicTensor
from ..engine.tensor import Tensor
from ..files.json_text import JsonObject
from . import checks
from .layer import Layer
from .policy import INTEGERS
from .spec import sample_shape


class InputLayer(Layer):
    """A model's input, such as `InputLayer((28, 28, 1))`. The shape excludes the batch; None is a variable size.

    dtype: the dtype of the data. Integer data, such as "uint8", is converted to floating point.
    """

    one_input = True
    recordable = True
    sparse = checks.KerasDefault(False)
    ragged = checks.KerasDefault(False)
    optional = checks.KerasDefault(False)
    tensor = checks.KerasDefault(None)
    input_tensor = checks.KerasDefault(None)

    def __init__(
        self, shape: Shape | None = None, batch_size: int | None = None, dtype: Any = None, *,
        batch_shape: Shape | None = None, name: str | None = None, **kwargs: Any,
    ) -> None:
        if "input_shape" in kwargs:
            warnings.warn("Argument `input_shape` is deprecated. Use `shape` instead.", stacklevel=3)
            shape = kwargs.pop("input_shape")
        batch_shape = kwargs.pop("batch_input_shape", batch_shape)
        if batch_shape is not None and (shape is not None or batch_size is not None):
            key = "shape" if shape is not None else "batch_size"
            raise ValueError(f"You cannot pass both `{key}` and `batch_shape` at the same time.")
        if batch_shape is not None and isinstance(batch_shape, tuple | list) and len(batch_shape):
            batch_size, shape = batch_shape[0], tuple(batch_shape[1:])
        if hasattr(shape, "__index__") and batch_size is not None:
            sizes = [size for size in (shape, batch_size, dtype) if hasattr(size, "__index__")]
            raise ValueError("shape must be one tuple of sizes without the batch axis, such as (28, 28, 1). Received: "
                             f"shape={shape!r}, batch_size={batch_size!r}, dtype={dtype!r}. Put the sizes into "
                             f"one tuple: Input({tuple(sizes)}).")
        is_integer = dtype is not None and not isinstance(dtype, Mapping) and str(dtype) in INTEGERS
        super().__init__(name=name, dtype=None if is_integer else dtype, **kwargs)
        if shape is None:
            raise ValueError("You must pass a `shape` argument. Pass a tuple of sizes without the "
                             "batch axis, such as (28, 28, 1).")
        self.shape = tuple(None if n is None else checks.positive(n, "shape")
                           for n in sample_shape(shape, "shape"))
        self.batch_size = None if batch_size is None else checks.positive(batch_size, "batch_size")
        self.given_input_shape = (self.batch_size, *self.shape)
        self._dtype_is_open, self._given_dtype = dtype is None, str(dtype) if is_integer else None
        self.build(self.given_input_shape)
        self._begin()

    def _begin(self) -> None:
        """Creates a node without inputs, whose output is the model's symbolic input."""
        dtype = self._given_dtype or self.dtype
        Node(self, (), {}, SymbolicTensor(self.given_input_shape or (), dtype, name=self.name))

    @property
    def batch_shape(self) -> Shape:
        """The shape with the batch first."""
        return self.given_input_shape or ()

    def get_config(self) -> JsonObject:
        """Returns the constructor's arguments."""
        return {"batch_shape": self.batch_shape, "dtype": self._given_dtype or self.dtype, "sparse": False,
                "ragged": False, "name": self.name, "optional": False}

    def settle_dtype(self, dtype: str) -> None:
        """Adopts the dtype of the first layer that reads the input, if the constructor received none."""
        if self._dtype_is_open:
            self._dtype = self.output.dtype = dtype
            self._dtype_is_open = False

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._begin()

    def call(self, x: Tensor) -> Tensor:
        return x

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape


def Input(  # noqa: N802 (Keras's name)
    shape: Shape | None = None, batch_size: int | None = None, dtype: Any = None, *,
    batch_shape: Shape | None = None, name: str | None = None, **kwargs: Any,
) -> SymbolicTensor:
    """Returns the symbolic tensor at a model's start: `x = Input((28, 28, 1))`, then `Model(x, layers.Dense(10)(...))`.

    shape: the input's shape without the batch; None is a size that may vary.
    `Sequential([Input(shape), ...])` accepts the tensor as well.
    """
    return InputLayer(shape, batch_size, dtype, batch_shape=batch_shape, name=name, **kwargs).output
