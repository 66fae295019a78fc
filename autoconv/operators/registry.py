"""The list of all ops, and how one is declared."""

from collections.abc import Callable, Sequence
from typing import Any

from ..arguments.shapes import Window
from ..kernels import trace
from ..kernels.device import Device

OPS: dict[str, "Op"] = {}
KEPT = 256  # shapes and parameters that an op remembers


class Masked:
    """A gradient of a ReLU's result that is 0 already where that result is, so the ReLU leaves it as it is."""

    __slots__ = ("array",)

    def __init__(self, array: Any) -> None:
        self.array = array


MASKED = Masked(None)  # what an op is asked for, in `needs`


class Op:
    """A differentiable function on raw arrays: `fn(k, *arrays, **parameters) -> (y, backward)`.

    `k` holds the kernels of the op's module for the arrays' device. `backward(dy, needs)` returns
    one gradient an array (None where `needs` is False). Where `needs[i]` is an array, the gradient
    may be written straight into it. With `takes_two` dy may be a pair of arrays, whose sum is
    meant: an op that reads dy once adds them as it does so. With `masks` the first of `needs` may
    be MASKED where that array is a ReLU's result: the gradient is then given as `Masked`, with the
    ReLU's own done. Such an op takes one as it is, if it is called with `relu=True`; through an op
    that only makes a `view` it passes. A `flat` op has no gradient: its result requires none, and
    its backward is None. Both are kernels and views alone: what computes in another way is not
    recorded, so a step with it runs eagerly.
    """

    def __init__(self, fn: Callable, kernels: str, takes_two: bool = False, masks: bool = False,
                 view: bool = False, flat: bool = False) -> None:
        self.fn = fn
        self.kernels = kernels
        self.name = fn.__name__
        self.__doc__ = fn.__doc__
        self.takes_two = takes_two
        self.masks = masks
        self.view = view
        self.flat = flat
        self.inference: Callable | None = None  # computes y alone, if that may leave something out
        self._prepared: set[tuple] = set()  # what it ran on: devices, dtypes and shapes, with gradients and without

    def __call__(self, device: Device, *arrays: Any, **parameters: Any) -> tuple[Any, Callable]:
        return self.fn(self.prepared_kernels(device, arrays, parameters, True), *arrays, **parameters)

    def prepared_kernels(self, device: Device, arrays: Sequence[Any], parameters: dict[str, Any],
                         gradients: bool) -> Any:
        """The kernels for arrays on a device. Before the first run on arrays of these shapes: if
        several of the kernels, backward as well, are not compiled yet, begins to compile them together.
        """
        k = device.kernels(self.kernels)
        key = (device, gradients, *((a.dtype, a.shape) for a in arrays if a is not None), *_hashable(parameters))
        if key in self._prepared or isinstance(trace.current(), trace.DryRun):
            return k  # whoever began a dry run compiles them
        if len(self._prepared) == KEPT:
            self._prepared.clear()
        self._prepared.add(key)
        dry = trace.DryRun()
        try:
            with dry.record():
                if not gradients and self.inference is not None:
                    self.inference(k, *arrays, **parameters)
                else:
                    y, backward = self.fn(k, *arrays, **parameters)
                    if gradients:
                        backward(y, tuple(a is not None and a.dtype.kind == "f" for a in arrays))
        except Exception:  # the run itself will say what is wrong
            return k
        missing = [(kernel, dtype) for kernel, dtype in dry.found if not kernel.compiled_before(dtype)]
        if len(missing) > 1:
            device.begin(missing)
        return k

    def without_gradients(self, fn: Callable) -> Callable:
        """Registers a function that computes y alone, and may leave out what only the gradients need."""
        self.inference = fn
        return fn

    def __repr__(self) -> str:
        return f"<op {self.name}>"


def _hashable(parameters: dict[str, Any]) -> list[Any]:
    """Those that can decide by which kernels an op computes."""
    return [value for value in parameters.values() if isinstance(value, (bool, int, Window))]


def op(kernels: str, takes_two: bool = False, masks: bool = False, view: bool = False,
       flat: bool = False) -> Callable[[Callable], Op]:
    """Registers a function as the op of its name, with the module its kernels live in."""

    def register(fn: Callable) -> Op:
        OPS[fn.__name__] = Op(fn, kernels, takes_two, masks, view, flat)
        return OPS[fn.__name__]

    return register


def gradient_buffer(k: Any, need: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """Where a gradient is written: the array that the caller asked for, else a new one."""
    return k.empty(shape, dtype) if need is True or need is MASKED else need
