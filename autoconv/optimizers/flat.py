"""All parameters of a model in one flat array, and their gradients in another: an update is then a single pass."""

from collections.abc import Sequence
from typing import Any

from ..engine.tensor import Tensor, no_grad
from ..engine.variable import Variable
from ..kernels import device as devices


class FlatParameters:
    """Makes the `.data` of parameters views into one flat array `data`; `gradient` is a second one of that layout.

    Every view starts on a cache line. What lies between two views is zero and stays zero.
    Raises ValueError where the parameters differ in dtype or device.
    """

    def __init__(self, parameters: Sequence[Variable]) -> None:
        self.parameters = list(parameters)
        kinds = {(p.dtype, p.device) for p in self.parameters}
        if len(kinds) != 1:
            raise ValueError("An optimizer updates parameters of one dtype on one device. "
                             f"Received: {sorted(f'{dtype} on {device}' for dtype, device in kinds)}.")
        (self.dtype, self.device), = kinds
        step = devices.ALIGNMENT // self.dtype.itemsize
        self.starts, self.size = [], 0
        for p in self.parameters:
            self.starts.append(self.size)
            self.size += -(-p.size // step) * step
        self.data, self.gradient = self.zeros(), self.zeros()
        self.views, self.gradients = self.split(self.data), self.split(self.gradient)
        self.bind()

    def __reduce__(self) -> tuple:
        return FlatParameters, (self.parameters,)  # a copy lays the copied parameters out anew, as views of its own

    def zeros(self) -> Any:
        """A flat array of this layout: a slot of an optimizer."""
        array = self.device.empty((self.size,), self.dtype)
        array[...] = 0
        return array

    def split(self, flat: Any) -> list[Any]:
        """The part of each parameter in a flat array, in the parameter's shape."""
        return [flat[start : start + p.size].reshape(p.shape) for start, p in zip(self.starts, self.parameters)]

    def bind(self) -> None:
        """Makes each parameter's array its part of `data`: at first, and when another optimizer had taken it over."""
        for p, view in zip(self.parameters, self.views):
            if p.data is not view:
                view[...] = p.data
                p.data = view

    def bind_gradients(self) -> None:
        """Before a backward walk: each parameter's first gradient shall be written straight into its part."""
        for p, gradient in zip(self.parameters, self.gradients):
            p.grad, p._grad_buffer = None, gradient

    def release_gradients(self) -> None:
        """After the backward walk: the next step writes into these arrays again, so no parameter may hold them."""
        for p in self.parameters:
            p.grad = p._grad_buffer = None

    def collect(self, gradients: Sequence[Any]) -> None:
        """Copies gradients that lie elsewhere into their parts; a parameter without one gets zeros."""
        copy = self.device.kernels("arith").copy
        for p, gradient, part in zip(self.parameters, gradients, self.gradients, strict=True):
            if gradient is None:
                copy(0, part)
            elif gradient is not part:
                if gradient.shape != part.shape:
                    raise ValueError(f"The gradient of {p.name or 'a parameter'} must have its shape {p.shape}. "
                                     f"Received: {gradient.shape}.")
                copy(self.device.asarray(gradient), part)

    def constrain(self) -> None:
        """Makes the parameters with a constraint what that says, by kernels."""
        copy = self.device.kernels("arith").copy
        for p, view in zip(self.parameters, self.views):
            if p.constraint is not None:
                with no_grad():
                    copy(p.constraint(Tensor(view, device=self.device)).data, view)
