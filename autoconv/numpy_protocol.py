"""What NumPy's functions do with tensors: which of ours stand for which of NumPy's, and what is said of others.

Tensors of every kind share this table. Within a layer `np.tanh(x)` runs ours, so that the gradient goes on. A function
that has none of ours would lose the gradient, so it is refused, unless its results have no gradient anyway.
"""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from .arguments import names

_OURS: dict[Callable, Callable] = {}

# Operators of arrays are these functions, so that `array * tensor` is the same call as `np.multiply(array, tensor)`.
OPERATORS = frozenset({np.add, np.subtract, np.multiply, np.divide, np.matmul, np.equal, np.not_equal, np.less,
                       np.less_equal, np.greater, np.greater_equal, np.power, np.floor_divide, np.remainder,
                       np.bitwise_and, np.bitwise_or, np.bitwise_xor})

# Their results are no numbers that move with their inputs, or move in steps: no gradient is lost.
FLAT = frozenset({
    np.shape, np.ndim, np.size, np.zeros_like, np.ones_like, np.empty_like, np.full_like, np.result_type, np.sign,
    np.floor, np.ceil, np.trunc, np.rint, np.round, np.isnan, np.isinf, np.isfinite, np.isclose, np.allclose,
    np.array_equal, np.any, np.all, np.nonzero, np.count_nonzero, np.argwhere, np.argmin, np.argsort, np.signbit,
    np.logical_and, np.logical_or, np.logical_not, np.logical_xor, np.searchsorted, np.may_share_memory,
    np.shares_memory, np.array2string, np.array_repr, np.array_str,
})


def stands_for(*functions: Callable) -> Callable[[Callable], Callable]:
    """Registers a function of ours as what NumPy's functions do with tensors. It takes what they take, or less."""

    def register(ours: Callable) -> Callable:
        _OURS.update(dict.fromkeys(functions, ours))
        return ours

    return register


def ours(function: Callable, arguments: tuple, options: dict[str, Any]) -> Callable | None:
    """Our function for NumPy's, or None where there is none, or none that takes these arguments."""
    found = _OURS.get(function)
    if found is not None:
        try:
            inspect.signature(found).bind(*arguments, **options)
        except TypeError:
            return None
    return found


def run_by_numpy(function: Callable, arguments: tuple, options: dict[str, Any], kind: type,
                 values: Callable[[Any, str | None], np.ndarray]) -> Any:
    """NumPy's function on `values(tensor, name)` for every tensor (an instance of `kind`) among its arguments.

    `name` is what to call the function where the gradient would be lost, None for one that has none.
    """
    name = None if function in FLAT else name_of(function)

    def plain(argument: Any) -> Any:
        if isinstance(argument, kind):
            return values(argument, name)
        if type(argument) in (list, tuple):
            return type(argument)(map(plain, argument))
        return argument

    out = options.get("out")
    if any(isinstance(o, kind) for o in (out if isinstance(out, tuple) else (out,))):
        raise TypeError(f"{name_of(function)} cannot write into a tensor. Leave out= away, and use what it returns.")
    return function(*plain(arguments), **{key: plain(value) for key, value in options.items()})


def refused(what: str, where: str = "") -> TypeError:
    """The error for something that would lose a gradient. `what` was done; `where`, such as " in layer 'dense'"."""
    known = sorted({function.__name__ for function in _OURS})
    bare = what.removeprefix("np.")
    if bare in known:
        what += " with these arguments"
    if bare == what or bare == "asarray":
        remedy = " Use tensors' methods and autoconv.functional (maximum, where, concatenate, ...)."
    else:
        near = "" if bare in known else names.suggestion(bare, known)
        remedy = (f"{near} Use tensors' methods and autoconv.functional; of NumPy's functions these carry gradients "
                  f"here: {', '.join(known)}.")
    return TypeError(f"{what} on a tensor that requires gradients{where} would lose them: nothing below would learn."
                     f"{remedy} For values without a gradient: x.detach().numpy().")


def name_of(function: Callable) -> str:
    """`np.tanh` or `np.add.reduce`, as users write it."""
    of = getattr(function, "__self__", None)  # of a ufunc's method
    return ".".join(["np", *([of.__name__] if isinstance(of, np.ufunc) else []), function.__name__])
