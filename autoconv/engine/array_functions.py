"""The table of array functions by name, the tensor methods that call them, and NumPy's functions on tensors.

Inside a layer, `np.tanh(x)` calls autoconv's function, so that gradients are kept. A NumPy function without
a counterpart would lose the gradient, so it raises an error, unless its results never have a gradient.
"""

import inspect
from collections.abc import Callable, Mapping
from numbers import Number
from typing import Any, ClassVar, Self, TypeVar

import numpy as np

from ..arguments import names

T = TypeVar("T")

# All functions that a graph node may compute, by name: tensor operators and methods such as "add" and "sum",
# and public functions such as "functional.relu" and "ops.sum". `tensor.py` adds entries, some with `record_nodes`.
FUNCTIONS: dict[str, Callable] = {}

# NumPy functions that implement Python's array operators: `array * tensor` is `np.multiply(array, tensor)`.
OPERATORS: set[Callable] = set()


def broadcasting(function: Callable) -> Callable:
    """Marks a function whose operands broadcast. Graphs then infer its result's shape even for unknown sizes."""
    function.broadcasting = True  # type: ignore[attr-defined]
    return function


def _operator(name: str) -> tuple[Callable[[T, Any], T], Callable[[T, Any], T]]:
    """Returns two methods for a binary operator: one for a tensor on its left side, one for a tensor on its right."""
    OPERATORS.add(getattr(np, name))

    def compute(self: Any, operand: Any) -> Any:
        return self._functions[name](self, operand)

    def compute_reflected(self: Any, operand: Any) -> Any:
        return self._functions[name](operand, self)

    return compute, compute_reflected


def comparison(name: str) -> Callable[[T, Any], T]:
    """Returns a comparison method. The method's result is a boolean tensor without a gradient."""
    OPERATORS.add(getattr(np, name))

    def compare(self: Any, operand: Any) -> Any:
        if not isinstance(operand, (ArrayMethods, np.ndarray, np.generic, Number, list, tuple)):
            return NotImplemented
        return self._functions[name](self, operand)

    return compare


class ArrayMethods:
    """The operators and methods of tensors. Each method calls the function with its name in the table
    `_functions`. The function of a `Tensor` computes a result; the function of a `SymbolicTensor` adds a node
    to the graph. Numbers and lists are converted to the tensor's dtype if that dtype can hold them.
    """

    __slots__ = ()
    _functions: ClassVar[Mapping[str, Callable]]

    __add__, __radd__ = _operator("add")
    __sub__, __rsub__ = _operator("subtract")
    __mul__, __rmul__ = _operator("multiply")
    __truediv__, __rtruediv__ = _operator("true_divide")
    __pow__, __rpow__ = _operator("power")
    __mod__, __rmod__ = _operator("mod")
    __floordiv__, __rfloordiv__ = _operator("floor_divide")
    __matmul__, __rmatmul__ = _operator("matmul")
    __and__, __rand__ = _operator("bitwise_and")
    __or__, __ror__ = _operator("bitwise_or")
    __xor__, __rxor__ = _operator("bitwise_xor")
    __lt__ = comparison("less")
    __le__ = comparison("less_equal")
    __gt__ = comparison("greater")
    __ge__ = comparison("greater_equal")

    def __neg__(self) -> Self:
        return self._functions["negative"](self)

    def __abs__(self) -> Self:
        return self._functions["absolute"](self)

    def __invert__(self) -> Self:
        return self._functions["bitwise_not"](self)

    def __getitem__(self, index: Any) -> Self:
        return self._functions["get_item"](self, index)

    def reshape(self, *shape: Any) -> Self:
        """Returns the same elements in another shape, `reshape(2, -1)` or `reshape((2, -1))`. One size may be -1."""
        return self._functions["reshape"](self, *shape)

    def transpose(self, *axes: Any) -> Self:
        """Permutes the axes; without arguments, reverses their order."""
        return self._functions["transpose"](self, *axes)

    def sum(self, axis: Any = None, keepdims: bool = False) -> Self:
        """Returns the sum over one, several or all axes. Integers are summed as int64."""
        return self._functions["sum"](self, axis=axis, keepdims=keepdims)

    def mean(self, axis: Any = None, keepdims: bool = False) -> Self:
        """Returns the mean over one, several or all axes. The mean of integers is float32."""
        return self._functions["mean"](self, axis=axis, keepdims=keepdims)

    def max(self, axis: Any = None, keepdims: bool = False) -> Self:
        """Returns the maximum over `axis`. The gradient goes to the first maximum in scan order; NaNs propagate."""
        return self._functions["max"](self, axis=axis, keepdims=keepdims)

    def exp(self) -> Self:
        """Returns e to the power of each element."""
        return self._functions["exp"](self)

    def log(self) -> Self:
        """Returns the natural logarithm of each element."""
        return self._functions["log"](self)

    def sqrt(self) -> Self:
        """Returns the square root of each element. The gradient at 0 is infinite."""
        return self._functions["sqrt"](self)

    def clip(self, x_min: float | None = None, x_max: float | None = None) -> Self:
        """Limits the elements to x_min..x_max. Only elements in that range, limits included, receive a gradient."""
        return self._functions["clip"](self, x_min, x_max)

    def argmax(self, axis: int | None = None, keepdims: bool = False) -> Self:
        """Returns the index of the first maximum in scan order. The index has no gradient."""
        return self._functions["argmax"](self, axis=axis, keepdims=keepdims)

    def detach(self) -> Self:
        """Returns a tensor with the same values that is detached from the tape."""
        return self._functions["detach"](self)


_COUNTERPARTS: dict[Callable, Callable] = {}

# Functions whose results are not numeric or are piecewise constant, so that no gradient is lost.
FLAT = frozenset({
    np.shape, np.ndim, np.size, np.zeros_like, np.ones_like, np.empty_like, np.full_like, np.result_type, np.sign,
    np.floor, np.ceil, np.trunc, np.rint, np.round, np.isnan, np.isinf, np.isfinite, np.isclose, np.allclose,
    np.array_equal, np.any, np.all, np.nonzero, np.count_nonzero, np.argwhere, np.argmin, np.argsort, np.signbit,
    np.logical_and, np.logical_or, np.logical_not, np.logical_xor, np.searchsorted, np.may_share_memory,
    np.shares_memory, np.array2string, np.array_repr, np.array_str,
})


def implements(*functions: Callable) -> Callable[[Callable], Callable]:
    """Returns a decorator that registers a function as autoconv's counterpart of these NumPy
    functions. The counterpart may support only some of NumPy's arguments.
    """

    def register(counterpart: Callable) -> Callable:
        _COUNTERPARTS.update(dict.fromkeys(functions, counterpart))
        return counterpart

    return register


def look_up(function: Callable, arguments: tuple, options: dict[str, Any]) -> Callable | None:
    """Returns autoconv's counterpart of a NumPy function, or None if no counterpart accepts these arguments."""
    counterpart = _COUNTERPARTS.get(function)
    if counterpart is not None:
        try:
            inspect.signature(counterpart).bind(*arguments, **options)
        except TypeError:
            return None
    return counterpart


def run_by_numpy(function: Callable, arguments: tuple, options: dict[str, Any], kind: type,
                 values: Callable[[Any, str | None], np.ndarray]) -> Any:
    """Calls a NumPy function after replacing each tensor (an instance of `kind`) in its arguments
    by `values(tensor, name)`.

    `name` is the function's name for the error about a lost gradient, or None if the function has no gradient.
    """
    name = None if function in FLAT else format_name(function)

    def convert(argument: Any) -> Any:
        if isinstance(argument, kind):
            return values(argument, name)
        if type(argument) in (list, tuple):
            return type(argument)(map(convert, argument))
        return argument

    out = options.get("out")
    if any(isinstance(o, kind) for o in (out if isinstance(out, tuple) else (out,))):
        raise TypeError(f"{format_name(function)} cannot write into a tensor. Omit out= and use the returned value.")
    return function(*convert(arguments), **{key: convert(value) for key, value in options.items()})


def lost_gradient_error(operation: str, place: str = "") -> TypeError:
    """Creates the error for an operation that would lose a gradient. `place` is text such as " in layer 'dense'"."""
    supported = sorted({function.__name__ for function in _COUNTERPARTS})
    name = operation.removeprefix("np.")
    if name in supported:
        operation += " with these arguments"
    if name == operation or name == "asarray":
        remedy = " Use tensors' methods and autoconv.functional (maximum, where, concatenate, ...)."
    else:
        hint = "" if name in supported else names.suggestion(name, supported)
        remedy = (f"{hint} Use tensors' methods and autoconv.functional; of NumPy's functions "
                  f"these carry gradients here: {', '.join(supported)}.")
    return TypeError(f"{operation} on a tensor that requires gradients{place} would lose them: nothing below would "
                     f"learn.{remedy} For values without a gradient: x.detach().numpy().")


def format_name(function: Callable) -> str:
    """Returns a function's name as users write it, such as `np.tanh` or `np.add.reduce`."""
    ufunc = getattr(function, "__self__", None)  # the ufunc, if this is a ufunc's method such as np.add.reduce
    return f"np.{f'{ufunc.__name__}.' if isinstance(ufunc, np.ufunc) else ''}{function.__name__}"
