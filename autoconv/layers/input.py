"""Where the data of a model come in."""

from typing import Any, ClassVar

from ..symbolic import Node, Shape, SymbolicTensor
from ..tensor import Tensor
from . import checks
from .base import Layer


class InputLayer(Layer):
    """What a model takes: `InputLayer((28, 28, 1))`, the shape without the batch; None is a size that may vary."""

    one_input = True
    recordable = True
    unsupported: ClassVar[dict[str, Any]] = {
        "sparse": None, "ragged": None, "tensor": None, "input_tensor": None, "optional": False,
    }

    def __init__(
        self, shape: Shape | None = None, batch_size: int | None = None, dtype: Any = None, *,
        batch_shape: Shape | None = None, name: str | None = None, **kwargs: Any,
    ) -> None:
        if shape is None and batch_shape is not None:
            batch_size, shape = batch_shape[0], tuple(batch_shape[1:])
        super().__init__(name=name, dtype=dtype, **kwargs)
        self._keras_default("batch_size", batch_size, None)
        if isinstance(shape, int) or shape is None:
            raise ValueError(f"shape must be a tuple such as (28, 28, 1), without the batch. Received: {shape!r}.")
        self.shape = tuple(None if n is None else checks.positive(n, "Each size in shape") for n in shape)
        self.given_input_shape = (None, *self.shape)
        self._dtype_is_open = dtype is None
        self.build(self.given_input_shape)
        self._begin()

    def _begin(self) -> None:
        """The node that has no inputs: its output is what the model is later given."""
        Node(self, (), {}, SymbolicTensor(self.given_input_shape or (), self.dtype, self.name))

    def settle_dtype(self, dtype: str) -> None:
        """Takes the dtype of the first layer that reads it, where none was given."""
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
    """The symbolic tensor that a model begins with: `x = Input((28, 28, 1))`, then `Model(x, layers.Dense(10)(...))`.

    shape: without the batch; None is a size that may vary. `Sequential([Input(shape), ...])` takes it as well.
    """
    return InputLayer(shape, batch_size, dtype, batch_shape=batch_shape, name=name, **kwargs).output
