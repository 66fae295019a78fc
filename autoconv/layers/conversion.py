"""What becomes of what a layer is called on: tensors beside the layer, in its dtype."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ..operators import elementwise
from ..symbolic import flatten, map_structure
from ..tensor import Tensor, apply, inside_layer
from ..variable import Variable
from .policy import DTYPES


class Conversion:
    """How a layer takes arrays and tensors of any dtype."""

    keeps_integers = False  # whether integers and booleans stay what they are, as in a layer that only moves items
    autocast: bool  # whether floating inputs are converted to the layer's dtype
    name: str
    dtype: str
    device: Any
    _own_weights: Callable[[], list[Variable]]

    def _tensors(self, x: Any) -> Any:
        """Arrays as tensors beside the layer: one, or those in a list, tuple or dict. A list of numbers is an array."""
        if isinstance(x, Tensor):
            return x
        if x is None or isinstance(x, str | bytes):
            raise ValueError(f"Inputs to a layer should be tensors. Got {x!r} (of type {type(x)}) as input for layer "
                             f"{self.name!r}.")
        if isinstance(x, dict):
            return {key: self._tensors(x[key]) for key in sorted(x)}
        if isinstance(x, (list, tuple)) and any(isinstance(item, (Tensor, np.ndarray, dict)) for item in x):
            return type(x)([self._tensors(item) for item in x])
        given = getattr(x, "dtype", None)
        keeps = self._stays(given) or (not self.autocast and str(given) in DTYPES)
        return Tensor(self.device.asarray(x, None if keeps else self.dtype), device=self.device)

    def _stays(self, dtype: Any) -> bool:
        """Whether items of this dtype are not converted, being integers that a layer called by itself only moves. In a
        model they are converted where they come in: kernels compute in floats.
        """
        return self.keeps_integers and inside_layer.get() is None and getattr(dtype, "kind", "f") in "biu"

    def _of_one_kind(self, inputs: Any) -> Any:
        """Several inputs, of which integers stay only where all are of one type."""
        types = {item.dtype for item in flatten(inputs)}
        if len(types) == 1 or not any(map(self._stays, types)):
            return inputs
        return map_structure(lambda t: t if t.dtype.kind == "f" else self._copied(t), inputs)

    def _converted_inputs(self, x: Any) -> Any:
        """The tensors that a layer of one argument is called on, in the layer's dtype."""
        if isinstance(x, Tensor):
            return x if x.dtype == self.dtype else self._converted(x)
        return map_structure(lambda t: t if t.dtype == self.dtype else self._converted(t), self._of_one_kind(x))

    def _converted(self, x: Tensor, wanted: str = "") -> Tensor:
        """`x` in the layer's dtype, or a wanted one; a layer without weights of its own takes floats as they are."""
        wanted = wanted or self.dtype
        floats_as_they_are = not (self.autocast and self._own_weights()) and wanted in DTYPES
        if self._stays(x.dtype) or (x.dtype.kind == "f" and floats_as_they_are):
            return x
        if x.requires_grad:
            raise TypeError(
                f"Layer {self.name!r} computes in {wanted}. Received a tensor of {x.dtype} that requires "
                f"gradients: convert it first, or make the layer with dtype={x.dtype.name!r}."
            )
        return self._copied(x, wanted)

    def _copied(self, x: Tensor, wanted: str = "") -> Tensor:
        """A copy of `x` in the layer's dtype, or a wanted one."""
        return apply(elementwise.cast, x, dtype=np.dtype(wanted or self.dtype))

    def _all_converted(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """All arguments of a call, with the tensors in the layer's dtype: integers are converted in the first alone."""
        def converted(item: Any, integers_too: bool) -> Any:
            fits = not isinstance(item, Tensor) or item.dtype == self.dtype
            return item if fits or not (integers_too or item.dtype.kind == "f") else self._converted(item)

        first = next(iter(arguments), "")
        return {name: map_structure(partial(converted, integers_too=name == first), value)
                for name, value in arguments.items()}
