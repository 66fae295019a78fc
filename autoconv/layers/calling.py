"""Calls of a layer with more than one tensor: which argument is which, and their shapes."""

from collections.abc import Callable
from functools import cache
from inspect import Parameter as Argument
from inspect import signature
from typing import Any

import numpy as np

from ..symbolic import SymbolicTensor, flatten, map_structure
from ..tensor import Tensor

NOTHING = object()  # in the place of a first argument that is given by name

_ARRAYS = (Tensor, SymbolicTensor, np.ndarray)


_UNTOLD = Argument("training", Argument.KEYWORD_ONLY, default=None)


@cache
def training_argument(layer: Any) -> Argument | None:
    """The argument `training` of a layer's `call`, with None where it has no default; None where it takes none."""
    arguments = signature(layer.call).parameters
    of_any_name = any(a.kind is Argument.VAR_KEYWORD for a in arguments.values())
    argument = arguments.get("training", _UNTOLD if of_any_name else None)
    return _UNTOLD if argument is not None and argument.default is Argument.empty else argument


def holds_tensors(value: Any) -> bool:
    """Whether this is a tensor or an array, or a structure with one."""
    return any(isinstance(item, _ARRAYS) or hasattr(item, "__array__") for item in flatten(value))


def bind(layer: Any, given: tuple, named: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a layer's `call` by their names, in its order. Keras's name of the first one, `inputs`, is
    known to all layers.

    Raises ValueError for a value by its place that is no tensor, TypeError for arguments that `call` does not take.
    """
    wanted = signature(type(layer).call)
    first = list(wanted.parameters)[1:2]
    if "inputs" in named and first and first[0] != "inputs" and not given:
        named = {first[0]: named["inputs"], **{name: value for name, value in named.items() if name != "inputs"}}
    for value in given[1:]:
        if value is not None and not holds_tensors(value):
            raise ValueError("Only input tensors may be passed as positional arguments. The following argument value "
                             f"should be passed as a keyword argument: {value!r} (of type {type(value)})")
    try:
        arguments = dict(wanted.bind(layer, *given, **named).arguments)
    except TypeError as error:
        raise TypeError(f"Layer {layer.name!r} cannot be called so: {error}. Its call is call{wanted}.") from None
    arguments.pop(next(iter(wanted.parameters)))
    for name, parameter in wanted.parameters.items():
        if parameter.kind is Argument.VAR_KEYWORD:
            arguments.update(arguments.pop(name, {}))
        if parameter.kind is Argument.VAR_POSITIONAL and name in arguments:
            raise TypeError(f"A layer's call takes its inputs by name or as a list, not as *{name}: {layer.name!r}.")
    return arguments


def shapes_of(arguments: dict[str, Any]) -> dict[str, Any]:
    """The shapes of those arguments that are tensors, or structures of them, as `build` names them: x_shape."""
    return {f"{name}_shape": map_structure(lambda item: tuple(item.shape), value)
            for name, value in arguments.items() if holds_tensors(value)}


def fitting(function: Callable, shapes: dict[str, Any]) -> dict[str, Any] | None:
    """The shapes that a `build` or `compute_output_shape` of several inputs takes by their names; None where it takes
    one shape alone.
    """
    names = list(signature(function).parameters)
    return shapes if len(names) > 1 and set(names) <= set(shapes) else None
