"""The registry of all ops, and the decorator that registers an op."""

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from ..arguments.shapes import Window
from ..kernels import trace
from ..kernels.device import Device

OPS: dict[str, "Op"] = {}
KEPT = 256  # maximum number of prepared calls that an op remembers


class Masked:
    """The gradient of a ReLU's result, already set to 0 where the result is 0. The ReLU's backward
    function returns such a gradient unchanged.
    """

    __slots__ = ("array",)

    def __init__(self, array: Any) -> None:
        self.array = array


MASKED = Masked(None)  # an entry of `needs` that requests a `Masked` gradient


class Op:
    """A differentiable function on raw arrays: `fn(k, *arrays, **parameters) -> (y, backward)`.

    `k` is the module with the op's kernels for the arrays' device. `backward(dy, needs)` returns
    one gradient per array, or None for an array whose `needs` is False. If `needs[i]` is an array,
    the gradient may be written to it directly.

    - takes_two: dy may be a pair of arrays, which represents their sum. The op adds the two arrays
      while it reads them.
    - masks: needs[0] may be MASKED if the first array is a ReLU's result. The op then returns that
      gradient as `Masked`, with the ReLU's own gradient included. An op called with the
      activation "relu" uses a `Masked` dy unchanged.
    - rereads: backward receives the first array as its third argument, and `fn` does not keep it.
      So the array may be dropped, and computed again before that call.
    - forgets: `fn` keeps none of the arrays.
    - view: the op only creates a view of its array, and passes a `Masked` gradient on.
    - flat: the op has no gradient. Its result does not require gradients, and its backward is None.

    `fn` and `backward` each consist either only of kernels and views, or only of NumPy code, which
    runs eagerly. NumPy code between kernels is not recorded, so a replay leaves it out. If y can be
    computed again in one pass, `backward.restore()` does so.
    """

    def __init__(self, fn: Callable, kernels: str, takes_two: bool = False, masks: bool = False,
                 rereads: bool = False, forgets: bool = False, view: bool = False,
                 flat: bool = False) -> None:
        self.fn = fn
        self.kernels = kernels
        self.name = fn.__name__
        self.__doc__ = fn.__doc__
        self.takes_two = takes_two
        self.masks = masks
        self.rereads = rereads
        self.forgets = forgets
        self.view = view
        self.flat = flat
        self.inference: Callable | None = None  # computes only y; may skip work that only gradients need
        # devices, dtypes, shapes and parameters that the op has run with
        self._prepared_keys: set[tuple] = set()

    def __call__(self, device: Device, *arrays: Any, **parameters: Any) -> tuple[Any, Callable]:
        return self.fn(self.prepared_kernels(device, arrays, parameters, True), *arrays, **parameters)

    def prepared_kernels(self, device: Device, arrays: Sequence[Any], parameters: dict[str, Any],
                         gradients: bool) -> Any:
        """Returns the kernels for arrays on a device. The first call for arrays of these shapes
        also starts to compile the needed kernels, including backward kernels, together in the
        background, if several of them are not compiled yet.
        """
        k = device.kernels(self.kernels)
        key = (device, gradients, *((a.dtype, a.shape) for a in arrays if a is not None), *_hashable(parameters))
        if key in self._prepared_keys or isinstance(trace.current(), trace.DryRun):
            return k  # the caller of the dry run compiles the kernels
        if len(self._prepared_keys) == KEPT:
            self._prepared_keys.clear()
        self._prepared_keys.add(key)
        dry = trace.DryRun()
        try:
            with dry.record():
                if not gradients and self.inference is not None:
                    self.inference(k, *arrays, **parameters)
                else:
                    y, backward = self.fn(k, *arrays, **parameters)
                    if gradients:
                        needs = tuple(a is not None and a.dtype.kind == "f" for a in arrays)
                        backward(y, needs, *arrays[:self.rereads])
        except Exception:  # the run itself will report the error
            return k
        missing = [(kernel, dtype) for kernel, dtype in dry.kernels if not kernel.is_compiled(dtype)]
        if len(missing) > 1:
            device.begin(missing)
        return k

    def without_gradients(self, fn: Callable) -> Callable:
        """Registers a function that computes only y, and may skip work that only gradients need.
        Calls that need no gradients use this function.
        """
        self.inference = fn
        return fn

    def __repr__(self) -> str:
        return f"<op {self.name}>"


def _hashable(parameters: dict[str, Any]) -> list[Any]:
    """Returns the parameters that may determine which kernels an op uses."""
    return [value for value in parameters.values() if isinstance(value, (bool, int, str, Window))]


def op(kernels: str, takes_two: bool = False, masks: bool = False, rereads: bool = False,
       forgets: bool = False, view: bool = False, flat: bool = False) -> Callable[[Callable], Op]:
    """Returns a decorator that registers a function as an op under its name. `kernels` is the name
    of the module with the op's kernels.
    """

    def register(fn: Callable) -> Op:
        OPS[fn.__name__] = Op(fn, kernels, takes_two, masks, rereads, forgets, view, flat)
        return OPS[fn.__name__]

    return register


def gradient_buffer(k: ModuleType, need: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """Returns the array for a gradient: the caller's array if `need` is one, otherwise a new array.
    """
    return k.empty(shape, dtype) if need is True or need is MASKED else need
