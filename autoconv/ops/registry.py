"""The list of all ops, and how one is declared."""

from collections.abc import Callable
from typing import Any

from ..backend.device import Device

OPS: dict[str, "Op"] = {}


class Op:
    """A differentiable function on raw arrays: `fn(k, *arrays, **parameters) -> (y, backward)`.

    `k` holds the kernels of the op's module for the arrays' device. `backward(dy, needs)` returns one gradient an array
    (None where `needs` is False). Where `needs[i]` is an array, the gradient may be written straight into it.
    Both are kernels and views alone: what computes in another way is not recorded, so a step with it runs eagerly.
    """

    def __init__(self, fn: Callable, kernels: str) -> None:
        self.fn, self.kernels, self.name, self.__doc__ = fn, kernels, fn.__name__, fn.__doc__
        self._infer: Callable | None = None

    def __call__(self, device: Device, *arrays: Any, **parameters: Any) -> tuple[Any, Callable]:
        return self.fn(device.room(self.kernels), *arrays, **parameters)

    def infer(self, device: Device, *arrays: Any, **parameters: Any) -> Any:
        """y alone, where nobody will ask for gradients."""
        if self._infer is None:
            return self(device, *arrays, **parameters)[0]
        return self._infer(device.room(self.kernels), *arrays, **parameters)

    def without_gradients(self, fn: Callable) -> Callable:
        """Registers a function that computes y alone, and may leave out what only the gradients need."""
        self._infer = fn
        return fn

    def __repr__(self) -> str:
        return f"<op {self.name}>"


def op(kernels: str) -> Callable[[Callable], Op]:
    """Registers a function as the op of its name, with the module its kernels live in."""

    def register(fn: Callable) -> Op:
        OPS[fn.__name__] = Op(fn, kernels)
        return OPS[fn.__name__]

    return register


def gradient_buffer(k: Any, need: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """Where a gradient is written: the array that the caller asked for, else a new one."""
    return k.empty(shape, dtype) if need is True else need
