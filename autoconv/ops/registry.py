"""The list of all ops, and how one is declared."""

from collections.abc import Callable
from typing import Any

from ..device import Device

OPS: dict[str, "Op"] = {}


class Op:
    """A differentiable function on raw arrays: `fn(k, *arrays, **parameters) -> (y, backward)`.

    `k` holds the kernels of the op's room for the arrays' device. `backward(dy, needs)` returns one gradient an array
    (None where `needs` is False). Where `needs[i]` is an array, the gradient may be written straight into it.
    """

    def __init__(self, fn: Callable, kernels: str) -> None:
        self.fn, self.kernels, self.name, self.__doc__ = fn, kernels, fn.__name__, fn.__doc__

    def __call__(self, device: Device, *arrays: Any, **parameters: Any) -> tuple[Any, Callable]:
        return self.fn(device.room(self.kernels), *arrays, **parameters)

    def __repr__(self) -> str:
        return f"<op {self.name}>"


def op(kernels: str) -> Callable[[Callable], Op]:
    """Registers a function as the op of its name, with the room its kernels live in."""

    def register(fn: Callable) -> Op:
        OPS[fn.__name__] = Op(fn, kernels)
        return OPS[fn.__name__]

    return register


def gradient_buffer(k: Any, need: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """Where a gradient is written: the array that the caller asked for, else a new one."""
    return k.empty(shape, dtype) if need is True else need
